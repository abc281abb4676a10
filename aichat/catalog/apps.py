from django.apps import AppConfig


class CatalogConfig(AppConfig):
    name = "aichat.catalog"
    label = "catalog"

    def ready(self) -> None:
        from accounts import registration
        from aichat.catalog import startup, state  # noqa: F401  (`startup` fills the catalog when a server starts)

        registration.close_while(state.has_key)
