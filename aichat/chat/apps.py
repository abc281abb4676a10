from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "aichat.chat"
    label = "chat"

    def ready(self) -> None:
        from accounts import leaving
        from aichat.chat import retention
        from aichat.core.background.periodic.runner import register

        leaving.erases(retention.erase)
        register("purge_conversations", retention.purge, every=lambda: 3600)
