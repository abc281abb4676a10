"""The audit log: who changed what, from which value to which, in which request. Entries are rows of Django's `LogEntry`.

Admin pages write entries through `core.admin.base.Admin`, REST endpoints through `record`; the entries look the same.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet

from aichat.core.database import batches, clock
from aichat.core.telemetry import tracing

Values = Mapping[str, tuple[Any, Any]]
ADDED, CHANGED, DELETED = "added", "changed", "deleted"
# Changes that have a word of their own, as the detail `act`.
ROTATED, REVOKED = "rotated", "revoked"
PASSWORD_CHANGED, PASSWORD_RESET, RESET_SENT = "password_changed", "password_reset", "reset_mailed"
DELETION_ASKED = "deletion_asked"
PASSKEY_ADDED, PASSKEY_RENAMED, PASSKEY_REMOVED = "passkey_added", "passkey_renamed", "passkey_removed"
APP_ADDED, CODES_RENEWED = "app_added", "recovery_codes_renewed"
ACTS = (
    ROTATED, REVOKED, PASSWORD_CHANGED, PASSWORD_RESET, RESET_SENT, DELETION_ASKED,
    PASSKEY_ADDED, PASSKEY_RENAMED, PASSKEY_REMOVED,
    APP_ADDED, CODES_RENEWED,
)  # fmt: skip
FLAGS = {ADDED: ADDITION, CHANGED: CHANGE, DELETED: DELETION}


def facts(values: Values, **more: str) -> dict[str, Any]:
    """The part of a log entry's message that holds our details; Django's history page ignores it."""
    shown = {name: [_text(before), _text(after)] for name, (before, after) in values.items()}
    origin = {"request_id": tracing.request_id(), "address": tracing.address()}
    return {"audit": {**origin, "values": shown, **more}}


def record(actor: Model, row: Model, verb: str, values: Values, **more: str) -> None:
    """Log that `actor` added, changed or deleted `row`; `values` are (before, after) by field and must hold no secrets."""
    LogEntry.objects.create(
        user_id=actor.pk,
        content_type=ContentType.objects.get_for_model(type(row)),
        object_id=str(row.pk),
        object_repr=str(row)[:200],
        action_flag=FLAGS[verb],
        change_message=json.dumps([{verb: {"fields": list(values)}}, facts(values, **more)]),
    )


def purge() -> int:
    """Delete the entries that are older than AUDIT_RETENTION_DAYS, in small steps; return how many. 0 days keep all."""
    if not settings.AUDIT_RETENTION_DAYS:
        return 0
    old = LogEntry.objects.filter(action_time__lt=clock.shared_now() - timedelta(days=settings.AUDIT_RETENTION_DAYS))
    return batches.delete(old.order_by("action_time"))


def details(entry: LogEntry) -> dict[str, Any]:
    """The details that `facts` stored in a log entry; empty for entries that other code wrote."""
    try:
        parts = json.loads(entry.change_message or "[]")
    except ValueError:
        return {}
    found = [part["audit"] for part in parts if isinstance(part, dict) and "audit" in part]
    return found[-1] if found else {}


def _text(value: Any) -> str | None:
    if isinstance(value, list | tuple | QuerySet):
        return ", ".join(map(str, value))
    return None if value is None else str(value)
