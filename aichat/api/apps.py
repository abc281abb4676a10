from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "aichat.api"
    label = "api"
    verbose_name = "API"

    def ready(self) -> None:
        from aichat.api import open_streams  # noqa: F401  (its check starts with the server)
        from aichat.api.openai.responses.kept_items import forget_expired
        from aichat.core.background.periodic.runner import register

        register("forget_response_items", forget_expired, every=lambda: 600)
