from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "aichat.usage"
    label = "usage"

    def ready(self) -> None:
        from aichat.usage import keeping_up  # noqa: F401 -- registers what starts with the server
