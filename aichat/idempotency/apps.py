from django.apps import AppConfig


class IdempotencyConfig(AppConfig):
    name = "aichat.idempotency"
    label = "idempotency"

    def ready(self) -> None:
        from aichat.core.background.periodic.runner import register
        from aichat.idempotency import renewal  # noqa: F401  (renews what this process is working on)
        from aichat.idempotency.keys import forget_expired

        register("forget_idempotency_keys", forget_expired, every=lambda: 3600)
