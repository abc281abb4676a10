from django.apps import AppConfig


class AichatConfig(AppConfig):
    name = "aichat"

    def ready(self) -> None:
        from aichat import checks, metrics, statsd  # noqa: F401  (the first registers the system checks)

        statsd.start()
        metrics.start()
