from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "aichat.payments"
    label = "payments"

    def ready(self) -> None:
        from accounts.services import follow_roles
        from aichat.core.background.periodic.runner import register
        from aichat.payments import subscriptions

        follow_roles(subscriptions.follow_hand)
        register("follow_subscriptions", subscriptions.follow_time, every=lambda: 300)
