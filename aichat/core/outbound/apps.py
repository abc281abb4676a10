from django.apps import AppConfig


class OutboundConfig(AppConfig):
    name = "aichat.core.outbound"
    label = "outbound"

    def ready(self) -> None:
        from aichat.core.background.periodic.runner import register
        from aichat.core.outbound import mail

        register("send_mails", mail.send_due, every=lambda: 30)
