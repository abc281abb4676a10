"""Collects everything recorded under one request ID."""

from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.db.models import Model

from accounts.models import Organization
from aichat.chat.models import Message
from aichat.core.admin import audit_log
from aichat.core.money import format_credits
from aichat.images.models import ImageJob
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry

MOST = 200  # rows of each kind: a client may send the same ID with every request


# The path from a row of each kind to the organization it belongs to; a client chooses its request IDs, so two
# organizations may use the same one.
OWNER = {
    "usage": "organization_id",
    "holds": "wallet__organization_id",
    "entries": "wallet__organization_id",
    "messages": "conversation__organization_id",
    "jobs": "organization_id",
}


def found(request_id: str, organization: UUID | None = None) -> dict[str, list[Any]]:
    """Return the rows that carry the request ID, by kind; each list is sorted oldest first.

    With `organization`, only that organization's rows, and no changes of administrators.
    """
    rows: dict[str, Any] = {
        "usage": UsageRecord.objects.filter(request_id=request_id).select_related("user", "organization"),
        "holds": Hold.objects.filter(request_id=request_id).select_related("wallet__organization"),
        "entries": LedgerEntry.objects.filter(request_id=request_id).select_related("wallet__organization", "actor"),
        "messages": Message.objects.filter(request_id=request_id).select_related("conversation"),
        "jobs": ImageJob.objects.filter(request_id=request_id).select_related("user", "organization"),
    }
    if organization is not None:
        rows = {name: query.filter(**{OWNER[name]: organization}) for name, query in rows.items()}
    lists = {name: list(query.order_by("id")[:MOST]) for name, query in rows.items()}
    return {**lists, "changes": [] if organization else changes(request_id)}


def owner_of(name: str, row: Any) -> Any:
    """Return the ID of the organization that a row of this kind belongs to."""
    for step in OWNER[name].split("__"):
        row = getattr(row, step)
    return row


def organizations_of(rows: dict[str, list[Any]]) -> list[Organization]:
    """Return the organizations the rows belong to, in the order of their IDs."""
    ids = {owner_of(name, row) for name in OWNER for row in rows[name]}
    return list(Organization.objects.filter(pk__in=ids).order_by("pk"))


def changes(request_id: str) -> list[LogEntry]:
    """Return the audit log entries of changes that an administrator made with the request."""
    if not request_id.strip():
        return []
    entries = LogEntry.objects.filter(change_message__contains=f'"{request_id}"').select_related("user", "content_type")
    return [
        entry for entry in entries.order_by("pk")[:MOST] if audit_log.details(entry).get("request_id") == request_id
    ]


def written(request_id: str, rows: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the JSON body of the API's answer."""
    return {
        "request_id": request_id,
        "organizations": [{"id": one.pk, "name": one.name} for one in organizations_of(rows)],
        "usage": [fields(row, *USAGE) | credits_of(row) for row in rows["usage"]],
        "holds": [
            fields(row, *HOLD) | owned("holds", row) | {"amount": format_credits(row.amount)} for row in rows["holds"]
        ],
        "entries": [
            fields(row, *ENTRY)
            | owned("entries", row)
            | {"amount": format_credits(row.amount), "balance_after": format_credits(row.balance_after)}
            for row in rows["entries"]
        ],
        "messages": [fields(row, *MESSAGE) | owned("messages", row) for row in rows["messages"]],
        "jobs": [fields(row, *JOB) | {"credits": format_credits(row.charged)} for row in rows["jobs"]],
        "changes": [
            {
                "created_at": entry.action_time,
                "actor": entry.user.email,
                "what": f"{entry.content_type.name if entry.content_type else ''} {entry.object_repr}",
                **audit_log.details(entry),
            }
            for entry in rows["changes"]
        ],
    }


def owned(name: str, row: Any) -> dict[str, Any]:
    return {"organization_id": owner_of(name, row)}


def credits_of(row: UsageRecord) -> dict[str, str]:
    return {"credits": format_credits(row.charged), "shortfall_credits": format_credits(row.shortfall)}


USAGE = (
    "id", "created_at", "organization_id", "user_id", "api_key_id", "kind", "requested_model", "model", "provider",
    "status", "attempt", "final", "streamed", "cached", "fallback", "experiment", "variant", "finish_reason",
    "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "images", "source", "cost_nanousd",
    "prices", "hold_id", "reference", "latency_ms", "first_token_ms",
)  # fmt: skip
HOLD = ("id", "wallet_id", "state", "reference", "created_at", "expires_at", "closed_at")
ENTRY = ("id", "wallet_id", "kind", "reference", "reason", "actor_id", "created_at")
MESSAGE = ("id", "conversation_id", "role", "content", "model", "provider", "finish_reason", "created_at")
JOB = (
    "id",
    "organization_id",
    "user_id",
    "status",
    "prompt",
    "model",
    "provider",
    "error_code",
    "created_at",
    "finished_at",
)


def fields(row: Model, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}
