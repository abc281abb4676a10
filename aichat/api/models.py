"""The tables in which the endpoints of vendors' dialects keep what clients may refer to later."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from aichat.core.database.models import Row


class ResponseItems(Row):
    """The items of one answer of the Responses API, by the ID of the answer; kept for RESPONSE_ITEMS_TTL seconds.

    Some clients (the AI SDK) do not send an item again but refer to it (`item_reference`).
    """

    organization = models.ForeignKey("accounts.Organization", on_delete=models.CASCADE, related_name="+")
    items = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    class Meta:
        verbose_name_plural = "response items"

    def __str__(self) -> str:
        return f"resp_{self.pk.hex}"


class StopRequest(Row):
    """A wish to end an answer that another process writes. That process looks for it every second while it writes any."""

    answer_id = models.UUIDField(db_index=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    def __str__(self) -> str:
        return str(self.answer_id)
