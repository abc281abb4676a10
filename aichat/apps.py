from django.apps import AppConfig
from django.conf import settings


class AichatConfig(AppConfig):
    name = "aichat"

    def ready(self) -> None:
        from aichat.core.config import checks  # noqa: F401  (registers the system checks)
        from aichat.core.telemetry import otlp_metrics, prometheus, sentry, spans, statsd

        if settings.IMAGE_DISPATCHER == "celery":
            from aichat import celery  # noqa: F401  (tasks are sent and found through its app)

        sentry.start()
        spans.start()
        otlp_metrics.start()
        statsd.start()
        prometheus.start()
