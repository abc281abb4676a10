from django.apps import AppConfig
from django.conf import settings


class AnalyticsConfig(AppConfig):
    name = "aichat.analytics"
    label = "analytics"

    def ready(self) -> None:
        from accounts import leaving
        from aichat.analytics import recorder, retention
        from aichat.core.background.periodic.runner import register
        from aichat.core.telemetry import product_events

        product_events.register(recorder.hear)
        leaving.erases(retention.erase)
        register("prune_events", retention.prune, every=lambda: settings.ANALYTICS_PRUNE_INTERVAL)
