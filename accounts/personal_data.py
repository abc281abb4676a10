"""Lists what the product keeps of a person: which tables, how the person's rows are found, and why other tables are left out.

Tables are named, not imported: those of conversations and pictures belong to parts above this one. A test goes through
every table that refers to a person or an organization, and fails for one that stands in neither list.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model, Q, QuerySet

from accounts import tenancy
from accounts.models import Invitation, User
from aichat.core.database.batches import rows_by_key

# By table: the column, and whether it holds the person's ID or that of their personal organization.
EXPORTED: dict[str, tuple[str, str]] = {
    "accounts.User": ("pk", "person"),
    "accounts.SecondFactor": ("user_id", "person"),
    "accounts.RecoveryCode": ("user_id", "person"),
    "accounts.Passkey": ("user_id", "person"),
    "accounts.ExternalIdentity": ("user_id", "person"),
    "accounts.Organization": ("pk", "organization"),
    "accounts.Membership": ("user_id", "person"),
    "accounts.Invitation": ("invited_by_id", "person"),
    "accounts.AccessToken": ("user_id", "person"),
    "analytics.Event": ("user_id", "person"),
    "chat.Attachment": ("user_id", "person"),
    "chat.Conversation": ("user_id", "person"),
    "chat.ConversationLink": ("conversation__user_id", "person"),
    "chat.Message": ("conversation__user_id", "person"),
    "chat.Feedback": ("user_id", "person"),
    "guardian.UserObjectPermission": ("user_id", "person"),  # what others share with them
    "images.ImageJob": ("user_id", "person"),
    "images.Picture": ("job__user_id", "person"),
    "images.WebhookDelivery": ("job__user_id", "person"),
    "usage.UsageRecord": ("user_id", "person"),
    "credits.Wallet": ("pk", "organization"),
    "credits.Hold": ("wallet_id", "organization"),
    "credits.LedgerEntry": ("wallet_id", "organization"),
    "credits.CreditExpiry": ("wallet_id", "organization"),
    "credits.Lot": ("wallet_id", "organization"),
    "payments.AlertMessage": ("organization_id", "organization"),
    "payments.AlertSettings": ("organization_id", "organization"),
    "payments.Payment": ("organization_id", "organization"),
    "payments.StripeCustomer": ("organization_id", "organization"),
    "payments.Subscription": ("organization_id", "organization"),
    "payments.VoucherRedemption": ("user_id", "person"),
    "promptcache.Invalidation": ("actor_id", "person"),
}
NOT_EXPORTED = {
    "admin.LogEntry": "Who did what to whom; the entries hold others' data. FURTHER has what they did to their account.",
    "api.ResponseItems": "Parts of answers that are kept for RESPONSE_ITEMS_TTL seconds; they name no person.",
    "api.StopRequest": "That an answer is to end; kept an hour.",
    "chat.ConversationShare": "The rows are those of guardian.UserObjectPermission.",
    "credits.LotCursor": "A number: up to which entry the lots are accounted.",
    "credits.LotUse": "What a charge took of which lot; the charge is in credits.LedgerEntry.",
    "idempotency.IdempotentRequest": "Answers kept a day to be replayed; they name no person.",
    "payments.Voucher": "An administrator's work; who redeemed one is in payments.VoucherRedemption.",
    "usage.DailyUsage": "Sums of usage.UsageRecord.",
    "usage.HourlyUsage": "Sums of usage.UsageRecord.",
    "accounts.User_groups": "Not used: the role says everything.",
    "accounts.User_user_permissions": "Not used: the role says everything.",
}
# Secrets and their digests, and columns that say nothing of the person.
HIDDEN = {
    "password", "data", "digest", "token_digest", "sealed_secret", "last_step", "revision",
    "credential_id", "public_key", "sign_count", "last_challenge",
}  # fmt: skip


def _invitations_to(user: User) -> QuerySet[Model]:
    """Return the person's open invitations: to their account, or to their address, once they proved that it is theirs."""
    to_them = Q(user=user) | Q(email=user.email) if user.email_confirmed else Q(user=user)
    rows: QuerySet[Model] = Invitation.objects.filter(to_them).exclude(invited_by=user)
    return rows


def _own_acts(user: User) -> QuerySet[Model]:
    """Return the entries of the audit log about what the person did to their own account."""
    rows: QuerySet[Model] = LogEntry.objects.filter(user=user, object_id=str(user.pk))
    return rows


# Rows that no single column finds, by the type of their lines.
FURTHER: dict[str, Callable[[User], QuerySet[Model]]] = {
    "accounts.Invitation.received": _invitations_to,
    "admin.LogEntry.own": _own_acts,
}

More = Callable[[User], Iterator[tuple[str, dict[str, Any]]]]
_more: list[More] = []


def adds(more: More) -> None:
    """Register a function that yields further lines of a person (type and data), such as their files, once at the start."""
    _more.append(more)


def lines(user: User) -> Iterator[bytes]:
    """Yield everything of the person's as JSON lines `{"type", "data"}`, a few hundred rows at a time.

    The last line has the type `end` and the number of lines before it: without it the export is not whole.
    Amounts are in microcredits, times in UTC.
    """
    count = 0
    for label in EXPORTED:
        for batch in rows_by_key(rows_of(label, user)):
            count += len(batch)
            yield b"".join(_line(label, _data(row)) for row in batch)
    for label, find in FURTHER.items():
        for batch in rows_by_key(find(user)):
            count += len(batch)
            yield b"".join(_line(label, _data(row)) for row in batch)
    for more in _more:
        for kind, data in more(user):
            count += 1
            yield _line(kind, data)
    yield _line("end", {"lines": count})


def rows_of(label: str, user: User) -> QuerySet[Model]:
    """Return the person's rows of one of the exported tables."""
    column, whose = EXPORTED[label]
    key = user.pk if whose == "person" else tenancy.personal_organization(user).pk
    rows: QuerySet[Model] = apps.get_model(label)._default_manager.filter(**{column: key})
    return rows


def _data(row: Model) -> dict[str, Any]:
    fields = [field for field in row._meta.concrete_fields if field.name not in HIDDEN]
    return {field.attname: field.value_from_object(row) for field in fields}


def _line(kind: str, data: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "data": data}, cls=DjangoJSONEncoder, ensure_ascii=False).encode() + b"\n"
