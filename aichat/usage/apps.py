from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "aichat.usage"
    label = "usage"

    def ready(self) -> None:
        from aichat.core.background.periodic.runner import register
        from aichat.usage.rollup import roll_up

        register("roll_up_usage", roll_up, every=lambda: 300)
