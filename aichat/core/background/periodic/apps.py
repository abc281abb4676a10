from django.apps import AppConfig


class PeriodicConfig(AppConfig):
    name = "aichat.core.background.periodic"
    label = "periodic"

    def ready(self) -> None:
        from aichat.core.background.periodic import runner  # noqa: F401  (runs with the server)
