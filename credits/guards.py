"""What an operation meets before it can move credits: it may have been done before, or its hold or charge be used up."""

from collections import defaultdict
from datetime import datetime

from django.db.models import F, Q, QuerySet

from aichat.core.database.models import uuid7
from credits import engines
from credits.engines.base import Closing, Closings
from credits.models import Hold, HoldRef, LedgerEntry
from credits.operations import Credit, ReferenceTaken, Refund, RefundTooLarge, Release, Reserve, Settle, UnknownHold
from credits.planning import Step

Kind = LedgerEntry.Kind
State = Hold.State


def skip_repeated(steps: list[Step], look: bool) -> None:
    """Mark what the ledger has already, or what stands twice in the list.

    Grants are always looked up; reservations only once an insert has collided, because they are the hot path and their
    references are new.
    """
    credit_steps = [step for step in steps if isinstance(step.operation, Credit | Refund)]
    if credit_steps:
        _skip_known(credit_steps, _known_entries(credit_steps))
    reserving = [step for step in steps if isinstance(step.operation, Reserve)]
    if reserving and look:
        skip_reserved(reserving)


def _known_entries(steps: list[Step]) -> dict[object, LedgerEntry | None]:
    """By identity. The lists may find more than was asked for (one wallet's reference in another), never less."""
    operations = [step.operation for step in steps if isinstance(step.operation, Credit | Refund)]
    rows = LedgerEntry.objects.filter(
        wallet_id__in={operation.wallet_id for operation in operations},
        kind__in={operation.kind for operation in operations},
        reference__in={operation.reference for operation in operations},
    )
    return {(row.wallet_id, row.kind, row.reference): row for row in rows}


def _skip_known(steps: list[Step], known: dict[object, LedgerEntry | None]) -> None:
    for step in steps:
        operation = step.operation
        if isinstance(operation, Credit | Refund):
            identity = operation.wallet_id, str(operation.kind), operation.reference
            if identity in known:
                step.outcome.repeated, step.outcome.entry = True, known[identity]
            known.setdefault(identity, None)


def skip_reserved(steps: list[Step]) -> None:
    """Mark the reservations whose hold there is, and refuse those whose reference another hold of their wallet has."""
    asked = [(step, step.operation.hold) for step in steps if isinstance(step.operation, Reserve)]
    rows = Hold.objects.filter(
        Q(id__in=[hold.id for _, hold in asked])
        | Q(wallet_id__in={hold.wallet_id for _, hold in asked}, reference__in=[hold.reference for _, hold in asked])
    )
    owners = {
        (wallet_id, reference): pk for pk, wallet_id, reference in rows.values_list("id", "wallet_id", "reference")
    }
    made = set(owners.values())
    for step, hold in asked:
        if hold.id in made:
            step.outcome.repeated = True
        elif owners.setdefault((hold.wallet_id, hold.reference), hold.id) != hold.id:
            step.outcome.error = ReferenceTaken(f"wallet {hold.wallet_id}: {hold.reference}")
        else:
            made.add(hold.id)


def claim_holds(steps: list[Step], now: datetime) -> None:
    """Close the holds of settlements and releases: the row count of a conditional UPDATE says whether all were open."""
    for closing, group in _closings(steps, now):
        ours = engines.current().close_holds(sorted({hold.id for _, hold in group}), closing)
        for step, hold in group:
            step.counters = hold.counted
            if hold.id in ours:
                ours.discard(hold.id)  # a twin in this list comes too late
                step.held = -hold.amount
            else:
                _claim_closed(step, hold, closing)


def presume_open(steps: list[Step], now: datetime) -> Closings:
    """The same put off: the holds that are to be closed, each as often as it stands in the list."""
    closings = []
    for closing, group in _closings(steps, now):
        for step, hold in group:
            step.held = -hold.amount
        closings.append((closing, sorted(hold.id for _, hold in group)))
    return closings


def _closings(steps: list[Step], now: datetime) -> list[tuple[Closing, list[tuple[Step, HoldRef]]]]:
    groups: dict[tuple[State, datetime | None], list[tuple[Step, HoldRef]]] = defaultdict(list)
    for step in steps:
        match step.operation:
            case Settle(hold=hold):
                groups[State.SETTLED, None].append((step, hold))
            case Release(hold=hold, if_expired_at=None):
                groups[State.RELEASED, None].append((step, hold))
            case Release(hold=hold, if_expired_at=moment):
                groups[State.EXPIRED, moment].append((step, hold))
    # A token for each group, not for the batch: a settlement and a release of one hold must not both find theirs.
    return [(Closing(state, at=now, by=uuid7(), expired_at=at), group) for (state, at), group in groups.items()]


def _claim_closed(step: Step, hold: HoldRef, closing: Closing) -> None:
    """The hold was not open. One that expired under its request can still be settled: the credits went back, the charge
    takes what is available now. Otherwise it was closed before, or never made."""
    row = Hold.objects.filter(id=hold.id)
    settles = closing.state == State.SETTLED
    if settles and row.filter(state=State.EXPIRED).update(
        state=closing.state, closed_at=closing.at, closed_by=closing.by
    ):
        return
    if not row.exists():
        step.outcome.error = UnknownHold(str(hold.id))
        return
    step.outcome.repeated = True
    if settles:
        charge = LedgerEntry.objects.filter(wallet_id=hold.wallet_id, kind=Kind.CHARGE, reference=hold.reference)
        step.outcome.entry = charge.first()
        step.outcome.charged = -step.outcome.entry.amount if step.outcome.entry else 0


def claim_refunds(steps: list[Step]) -> None:
    """The refunds of a charge are counted on its hold, by the same kind of guard as a balance.

    What comes back was not spent, so the hold's spending counters are lowered too while their period runs.
    """
    for step in steps:
        operation = step.operation
        if isinstance(operation, Refund) and step.is_live:
            room = operation.charge.amount - operation.amount
            hold = hold_of(operation)
            if not hold.filter(refunded__lte=room).update(refunded=F("refunded") + operation.amount):
                step.outcome.error = RefundTooLarge()
            else:
                step.counters = hold.get().ref.counted


def hold_of(refund: Refund) -> QuerySet[Hold]:
    return Hold.objects.filter(wallet_id=refund.wallet_id, reference=refund.charge.reference)
