from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "aichat.flags"
    label = "flags"
