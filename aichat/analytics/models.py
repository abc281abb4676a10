"""The tables of product events, which `aichat/core/telemetry/product_events.py` emits."""

from typing import Any
from uuid import UUID, uuid5

from django.db import models

from aichat.core.database.models import Row
from aichat.core.money import format_credits
from aichat.core.telemetry import product_events

NAMES = [(name, name.replace("_", " ")) for name in product_events.CATALOG]


class Event(Row):
    """One product event. People and organizations are IDs, no foreign keys: what happened stays true without them."""

    name = models.CharField(max_length=40, choices=NAMES)
    user_id = models.UUIDField(null=True, blank=True)
    organization_id = models.UUIDField(null=True, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    facts = models.JSONField(default=dict, help_text="Identifiers and numbers.")
    created_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="events_by_time"),
            models.Index(fields=["name", "-created_at"], name="events_by_name"),
            models.Index(fields=["user_id", "-created_at"], name="events_of_user"),
            models.Index(fields=["organization_id", "-created_at"], name="events_of_organization"),
            models.Index(fields=["request_id"], name="events_of_request"),
        ]

    def __str__(self) -> str:
        return str(self.name)

    @property
    def told(self) -> dict[str, Any]:
        """The event's facts for readers: amounts in credits, which are stored in microcredits."""
        return {
            name: format_credits(value) if name in product_events.AMOUNTS else value
            for name, value in self.facts.items()
        }

    def body(self) -> dict[str, Any]:
        """The event as a JSON object, for other systems."""
        return {
            "id": str(self.pk),
            "name": self.name,
            "user": str(self.user_id),
            "organization": str(self.organization_id) if self.organization_id else None,
            "request_id": self.request_id,
            "facts": self.told,
            "created_at": self.created_at.isoformat(),
        }


class FirstTime(models.Model):
    """A user's first event of a name, kept when the event itself is pruned, so that it is told once.

    The key is made of the user and the event's name, so that of many processes one can write it.
    """

    id = models.UUIDField(primary_key=True, editable=False, db_column="_id")

    def __str__(self) -> str:
        return str(self.pk)


def first_time_key(user_id: UUID, name: str) -> UUID:
    return uuid5(user_id, name)
