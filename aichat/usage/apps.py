from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "aichat.usage"
    label = "usage"
