from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "aichat.payments"
    label = "payments"

    def ready(self) -> None:
        from accounts import leaving as leavers
        from accounts.services import follow_roles
        from aichat.core.background.periodic.runner import register
        from aichat.payments import alert_delivery, alerts, leaving, stripe_events, subscriptions

        leavers.checks(leaving.check)
        leavers.erases(leaving.erase)
        follow_roles(subscriptions.follow_hand)
        register("follow_subscriptions", subscriptions.follow_time, every=lambda: 300)
        register("sync_payments", stripe_events.sync, every=lambda: 6 * 3600)
        register("check_alerts", alerts.check, every=lambda: 10)
        register("send_alerts", alert_delivery.send_due, every=lambda: 5)
        register("prune_alerts", alert_delivery.prune, every=lambda: 86_400)
