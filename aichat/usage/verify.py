"""Proves that usage and ledger agree: each charge has its usage record, and each charged record its charge.

Both are written in one commit and never changed, so what is found first must have its counterpart, also while the
server is charging.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings

from aichat.core.background import journal
from aichat.core.database.batches import rows_by_key
from aichat.usage.models import UsageRecord
from credits.models import Hold, LedgerEntry
from credits.verify import Problem


def problems() -> Iterator[Problem]:
    for charges in rows_by_key(LedgerEntry.objects.filter(kind=LedgerEntry.Kind.CHARGE)):
        yield from _without_usage(charges)
    for records in rows_by_key(UsageRecord.objects.filter(charged__gt=0)):
        yield from _without_charge(records)


def _without_usage(charges: list[LedgerEntry]) -> Iterator[Problem]:
    holds = {charge.pk: _hold_id(charge) for charge in charges}
    records: dict[Any, int] = {}
    for record in UsageRecord.objects.filter(hold_id__in=set(holds.values()), charged__gt=0):
        key = record.hold_id, record.organization_id
        records[key] = records.get(key, 0) + record.charged
    for charge in charges:
        recorded = records.get((holds[charge.pk], charge.wallet_id), 0)
        if recorded != -charge.amount:
            yield Problem(charge.wallet_id, f"charges {-charge.amount}, its usage records say {recorded}", charge.pk)


def _hold_id(charge: LedgerEntry) -> UUID | None:
    """The hold a charge settled: its reference, unless the reservation brought one of its own."""
    try:
        return UUID(charge.reference)
    except ValueError:
        held = Hold.objects.filter(wallet_id=charge.wallet_id, reference=charge.reference)
        return held.values_list("id", flat=True).first()


def _without_charge(records: list[UsageRecord]) -> Iterator[Problem]:
    charges = LedgerEntry.objects.filter(
        kind=LedgerEntry.Kind.CHARGE, reference__in={record.reference for record in records}
    )
    known = set(
        charges.filter(wallet_id__in={record.organization_id for record in records}).values_list(
            "wallet_id", "reference"
        )
    )
    for record in records:
        if (record.organization_id, record.reference) not in known:
            message = f"usage record {record.pk} says {record.charged} were charged, the ledger has no such charge"
            yield Problem(record.organization_id, message)


def waiting_in_journal() -> int:
    """How many streams of this host are written down in the settlement journal and not settled in the database yet."""
    if settings.SETTLEMENT_JOURNAL is None:
        return 0
    holds = {UUID(orjson.loads(line)["hold"][0]) for line in journal.lines(settings.SETTLEMENT_JOURNAL)}
    settled = Hold.objects.filter(pk__in=holds, state=Hold.State.SETTLED).count()
    return len(holds) - settled
