from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "aichat.catalog"
    label = "catalog"

    def ready(self) -> None:
        from aichat.catalog import startup  # noqa: F401  (fills the catalog when a server starts)
