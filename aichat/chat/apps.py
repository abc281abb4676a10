from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "aichat.chat"
    label = "chat"

    def ready(self) -> None:
        from accounts import leaving
        from aichat.chat import retention

        leaving.erases(retention.erase)
