from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "aichat.catalog"
    label = "catalog"
