from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "aichat.portal"
    label = "portal"
