"""Claims: find, by few statements for a whole list, the operations that were done before or can't be done; close holds.

Locks are taken in the order of the functions in this file, which are of holds; then `credits.ledger` locks counters and
wallets.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import F, Q

from aichat.core.database.models import uuid7
from credits import engines
from credits.engines.base import Closing, Closings
from credits.models import Hold, LedgerEntry
from credits.operations import ReferenceTaken, RefundTooLarge
from credits.planning import ClosingStep, EntryStep, RefundStep, ReserveStep, Step


def claim(steps: Sequence[Step], now: datetime, *, look: bool) -> None:
    """Mark the steps that are repeated or refused, and close the holds of the others.

    Entries are always looked up. Reservations are looked up only with `look`, after an insert has collided: they are
    the frequent ones, and their references are new.
    """
    _skip_known_entries([step for step in steps if isinstance(step, EntryStep)])
    if look:
        _skip_reserved([step for step in steps if isinstance(step, ReserveStep)])
    _close_holds([step for step in steps if isinstance(step, ClosingStep)], now)
    _count_refunds([step for step in steps if isinstance(step, RefundStep)])


def presume_open(steps: Sequence[ClosingStep], now: datetime) -> Closings:
    """Claim the holds of the steps as if all were open; return the closings that the database has still to confirm."""
    closings = []
    for closing, group in _closings(steps, now):
        ids = []
        for step in group:
            step.claim_open()
            ids.append(step.hold.id)
        closings.append((closing, sorted(ids)))
    return closings


def _skip_known_entries(steps: Sequence[EntryStep]) -> None:
    """Mark the steps whose entry the ledger has, or whose twin stands earlier in the list."""
    if not steps:
        return
    known = _known_entries(steps)
    for step in steps:
        if step.identity in known:
            step.result.repeated, step.result.entry = True, known[step.identity]
        known.setdefault(step.identity, None)


def _known_entries(steps: Sequence[EntryStep]) -> dict[object, LedgerEntry | None]:
    """Entries by wallet, kind and reference. The query may find more than was asked for, never less."""
    rows = LedgerEntry.objects.filter(
        wallet_id__in={step.identity[0] for step in steps},
        kind__in={step.identity[1] for step in steps},
        reference__in={step.identity[2] for step in steps},
    )
    return {(row.wallet_id, row.kind, row.reference): row for row in rows}


def _skip_reserved(steps: Sequence[ReserveStep]) -> None:
    """Mark reservations whose hold exists, and refuse those whose reference another hold of their wallet has."""
    if not steps:
        return
    holds = [step.operation.hold for step in steps]
    rows = Hold.objects.filter(
        Q(id__in=[hold.id for hold in holds])
        | Q(wallet_id__in={hold.wallet_id for hold in holds}, reference__in=[hold.reference for hold in holds])
    )
    owners = {
        (wallet_id, reference): pk for pk, wallet_id, reference in rows.values_list("id", "wallet_id", "reference")
    }
    made = set(owners.values())
    for step, hold in zip(steps, holds, strict=True):
        if hold.id in made:
            step.result.repeated = True
        elif owners.setdefault((hold.wallet_id, hold.reference), hold.id) != hold.id:
            step.result.error = ReferenceTaken(f"wallet {hold.wallet_id}: {hold.reference}")
        else:
            made.add(hold.id)


def _close_holds(steps: Sequence[ClosingStep], now: datetime) -> None:
    """Close the open holds by one conditional UPDATE for each kind of closing; its answer says which were open."""
    lost: set[UUID] = set()
    for closing, group in _closings(steps, now):
        closed = engines.current().close_holds(sorted({step.hold.id for step in group}), closing)
        for step in group:
            if step.hold.id in closed:
                closed.discard(step.hold.id)  # a second closing of the hold in this list comes too late
                step.claim_open()
            else:
                step.claim_closed(closing.by, now)
                if step.lost_hold and step.hold.id in lost:  # closed twice in this list: the first step writes the row
                    step.lost_hold, step.result.repeated = None, True
                lost.add(step.hold.id)


def _closings(steps: Sequence[ClosingStep], now: datetime) -> list[tuple[Closing, list[ClosingStep]]]:
    groups: dict[tuple[Hold.State, datetime | None], list[ClosingStep]] = defaultdict(list)
    for step in steps:
        groups[step.closed_as, step.only_if_expired_at].append(step)
    # A token for each group, not for the batch: a settlement and a release of one hold must not both find theirs.
    return [(Closing(state, at=now, by=uuid7(), expired_at=at), group) for (state, at), group in groups.items()]


def _count_refunds(steps: Sequence[RefundStep]) -> None:
    """Count each refund on the hold of its charge, by one conditional UPDATE; refuse what exceeds the charge."""
    for step in steps:
        if step.is_live:
            room = step.operation.charge.amount - step.operation.amount
            if step.hold.filter(refunded__lte=room).update(refunded=F("refunded") + step.operation.amount):
                step.counted = step.hold.get().ref.counted
            else:
                step.result.error = RefundTooLarge()
