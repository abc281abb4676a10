from django.apps import AppConfig
from django.conf import settings


class CreditsConfig(AppConfig):
    name = "credits"

    def ready(self) -> None:
        from aichat.core.background.periodic.runner import register
        from credits.allowances import grant_allowances
        from credits.lots import account_lots, expire_credits
        from credits.services import expire_holds

        register("expire_holds", expire_holds, every=lambda: settings.EXPIRE_HOLDS_INTERVAL)
        register("expire_credits", expire_credits, every=lambda: 60)
        register("account_lots", account_lots, every=lambda: 900)
        register("grant_allowances", grant_allowances, every=lambda: 3600)
