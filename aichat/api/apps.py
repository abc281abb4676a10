from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "aichat.api"
    label = "api"
    verbose_name = "API"

    def ready(self) -> None:
        from aichat.api import open_streams, stops  # noqa: F401  (their checks start with the server)
        from aichat.api.openai.responses.kept_items import forget_expired
        from aichat.core.background.periodic.runner import register

        register("forget_response_items", forget_expired, every=lambda: 600)
        register("forget_stop_requests", stops.forget_old, every=lambda: 3600)
