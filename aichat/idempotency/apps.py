from django.apps import AppConfig


class IdempotencyConfig(AppConfig):
    name = "aichat.idempotency"
    label = "idempotency"

    def ready(self) -> None:
        from aichat.idempotency import leases  # noqa: F401  (renews what this process is working on)
        from aichat.idempotency.claims import forget_expired
        from aichat.periodic.runner import register

        register("forget_idempotency_keys", forget_expired, every=lambda: 3600)
