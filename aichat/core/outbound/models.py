"""The table of mails that wait to be sent."""

from uuid import uuid4

from django.db import models
from django.utils import timezone

from aichat.core.database.models import Row


class QueuedMail(Row):
    """A mail that no mail server has taken yet. Its text is encrypted, because it may hold a code."""

    sealed = models.TextField(editable=False)
    tries = models.PositiveSmallIntegerField(default=0, editable=False)
    # When the next try is due; while a process sends the mail, when that process counts as dead.
    due_at = models.DateTimeField(db_index=True, editable=False)
    holder = models.UUIDField(default=uuid4, editable=False, help_text="Who sends it, or was to send it last.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"mail {self.pk}"
