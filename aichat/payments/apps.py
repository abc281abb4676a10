from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "aichat.payments"
    label = "payments"

    def ready(self) -> None:
        from accounts import leaving as leavers
        from accounts.services import follow_roles
        from aichat.core.background.periodic.runner import register
        from aichat.payments import leaving, subscriptions

        leavers.checks(leaving.check)
        leavers.erases(leaving.erase)
        follow_roles(subscriptions.follow_hand)
        register("follow_subscriptions", subscriptions.follow_time, every=lambda: 300)
