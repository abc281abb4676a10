from django.apps import AppConfig


class PeriodicConfig(AppConfig):
    name = "aichat.periodic"
    label = "periodic"

    def ready(self) -> None:
        from aichat.periodic import runner  # noqa: F401  (runs with the server)
