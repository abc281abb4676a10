"""Invalidations of stored answers: target, actor and time. The rows decide; every process keeps the latest in memory."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from aichat.core.database.models import Row


class Invalidation(Row):
    """Ends the use of all answers made for (or by) a target before this row was created.

    Rows are only added, never changed. The ID of a target's latest row is its version, and versions are part of every
    cache key.
    """

    class Scope(models.TextChoices):
        ALL = "all", "all answers"
        ORGANIZATION = "organization"
        USER = "user"
        MODEL = "model"
        PROMPT = "prompt", "system prompt"

    scope = models.CharField(max_length=20, choices=Scope.choices)
    target = models.CharField(
        "ID",
        max_length=100,
        blank=True,
        help_text="Of the organization or user; the model's slug; the system prompt's version. Empty: all.",
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True, editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["scope", "-created_at"], name="invalidations_by_scope")]

    def __str__(self) -> str:
        return f"{self.scope} {self.target}".strip()
