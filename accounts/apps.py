from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import admin_sessions, caller_cache, leaving
        from aichat.core.admin import audit_log
        from aichat.core.background.periodic.runner import register

        caller_cache.watch()
        admin_sessions.watch()
        register("erase_accounts", leaving.erase_due, every=lambda: 600)
        register("purge_audit_log", audit_log.purge, every=lambda: 3600)
