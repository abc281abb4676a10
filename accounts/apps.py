from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import caller_cache, leaving
        from aichat.core.background.periodic.runner import register

        caller_cache.watch()
        register("erase_accounts", leaving.erase_due, every=lambda: 600)
