from django.apps import AppConfig


class AichatConfig(AppConfig):
    name = "aichat"

    def ready(self) -> None:
        from aichat import checks  # noqa: F401  (registers the system checks)
