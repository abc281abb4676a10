from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "aichat.chat"
    label = "chat"
