from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "aichat.payments"
    label = "payments"
