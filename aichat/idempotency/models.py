"""Requests with an Idempotency-Key, and their answers."""

from django.db import models


class IdempotentRequest(models.Model):
    """One key of one organization, whose request is running or answered.

    An attempt claims the key by inserting the row, or by a conditional UPDATE once `lease_until` is past because the
    earlier attempt's process died. `attempt` is the fence: only the attempt that still has the row can complete it, in the
    commit that charges, so that a request is charged and replayable, or neither.
    """

    class State(models.TextChoices):
        RUNNING = "RUNNING"
        ANSWERED = "ANSWERED"

    id = models.UUIDField(primary_key=True, editable=False, db_column="_id", help_text="Of organization and key.")
    organization = models.ForeignKey("accounts.Organization", on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="Of user, method, path and body.")
    state = models.CharField(max_length=16, choices=State.choices, default=State.RUNNING)
    attempt = models.UUIDField()
    lease_until = models.DateTimeField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)

    status = models.PositiveSmallIntegerField(default=0)
    content_type = models.CharField(max_length=100, blank=True)
    headers = models.JSONField(default=dict)
    body = models.TextField(blank=True)

    def __str__(self) -> str:
        return f"{self.key} ({self.state.lower()})"
