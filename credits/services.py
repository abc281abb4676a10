"""The ledger's verbs. Everything that moves credits is an operation given to `apply`.

`apply` takes a list of operations and answers one outcome for each, in order; a request is a list of one, and a batch
of many requests costs hardly more statements than one. A refused operation (not enough credits) fails alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.db.models import F, Q
from django.utils import timezone

from accounts.models import Organization, User
from aichat import db, tracing
from aichat.errors import ApiError
from aichat.money import format_credits, to_microcredits
from credits.models import Hold, HoldRef, LedgerEntry, Wallet

Kind = LedgerEntry.Kind
State = Hold.State


class InsufficientCreditsError(ApiError):
    """402: `required` and `available` say, in credits, what the request could cost and what there is."""

    status, code = 402, "insufficient_credits"

    def __init__(self, *, required: int, available: int) -> None:
        needed, free = format_credits(required), format_credits(available)
        super().__init__(
            f"This can cost up to {needed} credits and {free} are available.", required=needed, available=free
        )


class UnknownHold(LookupError):
    """A settlement or release named a hold that was never made."""


# --- Operations -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Move `amount` microcredits from available to held, until the hold is settled, released or expires."""

    wallet_id: UUID
    amount: int
    expires_at: datetime
    hold_id: UUID = field(default_factory=db.uuid7)
    reference: str = ""
    request_id: str = field(default_factory=tracing.request_id)

    @property
    def hold(self) -> HoldRef:
        return HoldRef(self.hold_id, self.wallet_id, self.amount, self.reference or str(self.hold_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Close a hold with one charge of `charge` microcredits and give the rest back.

    A charge over the hold takes the rest from what is available; what can't be taken is the outcome's `shortfall`.
    """

    hold: HoldRef
    charge: int
    reason: str = ""
    request_id: str = field(default_factory=tracing.request_id)

    @property
    def wallet_id(self) -> UUID:
        return self.hold.wallet_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Close a hold without a charge."""

    hold: HoldRef
    expired: bool = False

    @property
    def wallet_id(self) -> UUID:
        return self.hold.wallet_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Add `amount` microcredits to the balance (a grant); with a negative amount, an adjustment takes them away."""

    wallet_id: UUID
    amount: int
    reference: str
    kind: LedgerEntry.Kind = Kind.GRANT
    actor_id: UUID | None = None
    reason: str = ""
    request_id: str = field(default_factory=tracing.request_id)


Operation = Reserve | Settle | Release | Credit


@dataclass(slots=True)
class Outcome:
    """What became of one operation. Amounts in microcredits.

    `repeated`: it had been done before, nothing changed. `available` is what the wallet had free after the commit;
    it is not read for a reservation that succeeds.
    """

    error: ApiError | None = None
    repeated: bool = False
    charged: int = 0
    shortfall: int = 0
    available: int = 0
    entry: LedgerEntry | None = None

    def or_raise(self) -> "Outcome":
        if self.error:
            raise self.error
        return self


# --- Apply ------------------------------------------------------------------------------------------------------------


def apply(operations: Sequence[Operation]) -> list[Outcome]:
    """Apply all operations in one commit and answer an outcome for each, in order.

    Inside a transaction of the caller's it joins that. Doing an operation twice is doing it once: each carries a
    reference, unique in its wallet. Raises `UnknownHold`.
    """
    try:
        return db.run_atomic(_apply, operations)
    except IntegrityError:
        # Somebody else did one of them between our look and our insert. Alone, each finds out for itself.
        if len(operations) == 1:
            return db.run_atomic(_apply, operations)
        return [apply([operation])[0] for operation in operations]


@dataclass(slots=True)
class _Step:
    """One operation on its way through `_apply`: its effect on the wallet, and its outcome."""

    operation: Operation
    outcome: Outcome = field(default_factory=Outcome)
    available: int = 0  # change of what is available
    held: int = 0  # change of what is held
    needs: int = 0  # how much must be available beforehand
    entry: LedgerEntry | None = None

    @property
    def closes(self) -> HoldRef | None:
        return self.operation.hold if isinstance(self.operation, Settle | Release) else None


def _apply(operations: Sequence[Operation]) -> list[Outcome]:
    now = _now()
    steps = [_Step(operation) for operation in operations]
    _skip_repeated(steps)
    _claim_holds(steps, now)
    for step in steps:
        _plan(step, now)
    by_wallet: dict[UUID, list[_Step]] = defaultdict(list)
    for step in steps:
        if not step.outcome.repeated:
            by_wallet[step.operation.wallet_id].append(step)
    # Always in the same order, so that two batches can't wait for each other.
    for wallet_id in sorted(by_wallet):
        if not _move(wallet_id, by_wallet[wallet_id]):
            for step in by_wallet[wallet_id]:
                _move_alone(wallet_id, step)
    _write_holds(steps, now)
    _write_entries(by_wallet)
    return [step.outcome for step in steps]


def _skip_repeated(steps: list[_Step]) -> None:
    """Grants and the like whose reference the ledger has already, or that stand twice in the list."""
    credit_steps = [(step, step.operation) for step in steps if isinstance(step.operation, Credit)]
    if not credit_steps:
        return
    wanted = Q()
    for _, operation in credit_steps:
        wanted |= Q(wallet_id=operation.wallet_id, kind=operation.kind, reference=operation.reference)
    known: dict[tuple[UUID, str, str], LedgerEntry | None] = {
        (entry.wallet_id, entry.kind, entry.reference): entry for entry in LedgerEntry.objects.filter(wanted)
    }
    for step, operation in credit_steps:
        key = (operation.wallet_id, str(operation.kind), operation.reference)
        if key in known:
            step.outcome.repeated, step.outcome.entry = True, known[key]
        known.setdefault(key, None)


def _claim_holds(steps: list[_Step], now: datetime) -> None:
    """Close the holds of settlements and releases: the row count of a conditional UPDATE says whether all were open."""
    groups: dict[Hold.State, list[tuple[_Step, HoldRef]]] = defaultdict(list)
    for step in steps:
        match step.operation:
            case Settle(hold=hold):
                groups[State.SETTLED].append((step, hold))
            case Release(hold=hold, expired=expired):
                groups[State.EXPIRED if expired else State.RELEASED].append((step, hold))
    batch = db.uuid7()
    for state, group in groups.items():
        ids = {hold.id for _, hold in group}
        closing = {"state": state, "closed_at": now, "closed_by": batch}
        claimed = Hold.objects.filter(id__in=ids, state=State.OPEN).update(**closing)
        ours = ids
        if claimed < len(group):
            ours = set(Hold.objects.filter(id__in=ids, closed_by=batch).values_list("id", flat=True))
        for step, hold in group:
            if hold.id in ours:
                ours.discard(hold.id)  # a twin in this list comes too late
                step.held = -hold.amount
            elif not _claim_expired(hold, closing, state):
                step.outcome.repeated = True


def _claim_expired(hold: HoldRef, closing: dict[str, object], state: Hold.State) -> bool:
    """Settle a hold that expired under its request: the credits went back, the charge takes what is available now."""
    row = Hold.objects.filter(id=hold.id)
    if state == State.SETTLED and row.filter(state=State.EXPIRED).update(**closing):
        return True
    if not row.exists():
        raise UnknownHold(str(hold.id))
    return False


def _plan(step: _Step, now: datetime) -> None:
    """What the operation does to the wallet, when nothing stands in its way."""
    if step.outcome.repeated:
        return
    match step.operation:
        case Reserve(amount=amount):
            step.available, step.held, step.needs = -amount, amount, amount
        case Settle(charge=charge):
            _plan_charge(step, charge, -step.held)
        case Release():
            step.available = -step.held
        case Credit(amount=amount):
            step.available, step.needs = amount, max(0, -amount)
            step.entry = _entry(step.operation, step.operation.kind, amount, step.operation.reference, now)
    if isinstance(step.operation, Settle) and step.outcome.charged:
        step.entry = _entry(step.operation, Kind.CHARGE, -step.outcome.charged, step.operation.hold.reference, now)


def _plan_charge(step: _Step, charge: int, from_hold: int) -> None:
    step.outcome.charged = charge
    step.available = from_hold - charge
    step.needs = max(0, charge - from_hold)


def _entry(
    operation: Settle | Credit, kind: LedgerEntry.Kind, amount: int, reference: str, now: datetime
) -> LedgerEntry:
    return LedgerEntry(
        wallet_id=operation.wallet_id,
        kind=kind,
        amount=amount,
        reference=reference,
        request_id=operation.request_id,
        actor_id=operation.actor_id if isinstance(operation, Credit) else None,
        reason=operation.reason,
        created_at=now,
    )


def _move(wallet_id: UUID, steps: list[_Step]) -> bool:
    """THE guard: one conditional UPDATE, whose row count is the answer. All steps or none."""
    return bool(
        Wallet.objects.filter(
            pk=wallet_id,
            available__gte=sum(step.needs for step in steps),
            held__gte=-sum(step.held for step in steps if step.held < 0),
        ).update(
            available=F("available") + sum(step.available for step in steps),
            held=F("held") + sum(step.held for step in steps),
            sequence=F("sequence") + sum(step.entry is not None for step in steps),
        )
    )


def _move_alone(wallet_id: UUID, step: _Step) -> None:
    """One operation after the joint UPDATE was refused: do it, cut it to what is there, or refuse it."""
    if _move(wallet_id, [step]):
        return
    wallet = Wallet.objects.filter(pk=wallet_id).first() or open_wallet(wallet_id)
    if _move(wallet_id, [step]):
        return
    match step.operation:
        case Settle(charge=charge):
            _charge_what_is_there(wallet_id, step, charge)
        case Release():
            raise AssertionError(f"wallet {wallet_id} holds less than its open holds: run verify_ledger")
        case _:
            step.outcome.error = InsufficientCreditsError(required=step.needs, available=wallet.available)
            step.outcome.available, step.entry = wallet.available, None


def _charge_what_is_there(wallet_id: UUID, step: _Step, charge: int) -> None:
    """A charge beyond its hold, with too little available: take what there is, never below zero, and say what lacks."""
    from_hold = -step.held
    while True:
        available = Wallet.objects.values_list("available", flat=True).get(pk=wallet_id)
        taken = min(charge, from_hold + available)
        _plan_charge(step, taken, from_hold)
        step.outcome.shortfall = charge - taken
        if step.entry is not None:
            step.entry.amount = -taken
        if not taken:
            step.entry = None
        if _move(wallet_id, [step]):
            return


def _write_holds(steps: list[_Step], now: datetime) -> None:
    holds = [
        Hold(
            id=operation.hold_id,
            wallet_id=operation.wallet_id,
            amount=operation.amount,
            reference=operation.hold.reference,
            request_id=operation.request_id,
            expires_at=operation.expires_at,
            created_at=now,
        )
        for step in steps
        if isinstance(operation := step.operation, Reserve) and not step.outcome.error
    ]
    if holds:
        Hold.objects.bulk_create(holds)


def _write_entries(by_wallet: dict[UUID, list[_Step]]) -> None:
    """Number and chain the new entries. The wallets' rows are ours until the commit, so nobody else takes a number."""
    touched = {
        wallet_id: steps
        for wallet_id, steps in by_wallet.items()
        if not all(isinstance(step.operation, Reserve) for step in steps)
    }
    if not touched:
        return
    wallets = Wallet.objects.in_bulk(touched)
    fresh = {wallet_id: [step for step in steps if step.entry] for wallet_id, steps in touched.items()}
    digests = _last_digests(
        {wallet_id: wallets[wallet_id].sequence - len(steps) for wallet_id, steps in fresh.items() if steps}
    )
    entries = []
    for wallet_id, steps in touched.items():
        wallet = wallets[wallet_id]
        for step in steps:
            step.outcome.available = wallet.available
        sequence = wallet.sequence - len(fresh[wallet_id])
        balance = wallet.balance - sum(step.entry.amount for step in fresh[wallet_id] if step.entry)
        digest = digests.get(wallet_id, "")
        for step in fresh[wallet_id]:
            entry = step.entry
            assert entry is not None
            sequence += 1
            balance += entry.amount
            entry.sequence, entry.balance_after = sequence, balance
            entry.digest = digest = entry.digest_after(digest)
            step.outcome.entry = entry
            entries.append(entry)
    LedgerEntry.objects.bulk_create(entries)


def _last_digests(sequences: dict[UUID, int]) -> dict[UUID, str]:
    """The digest of the entry with the given sequence, per wallet."""
    wanted = Q()
    for wallet_id, sequence in sequences.items():
        if sequence:
            wanted |= Q(wallet_id=wallet_id, sequence=sequence)
    return dict(LedgerEntry.objects.filter(wanted).values_list("wallet_id", "digest")) if wanted else {}


def _now() -> datetime:
    """Now, in whole milliseconds: MongoDB keeps no more, and the digest of an entry must be the same everywhere."""
    now = timezone.now()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


# --- Wallets ----------------------------------------------------------------------------------------------------------


def wallet_of(organization: Organization) -> Wallet:
    """The organization's wallet, opened at first touch."""
    try:
        return Wallet.objects.filter(pk=organization.pk).first() or db.run_atomic(open_wallet, organization.pk)
    except IntegrityError:  # a concurrent first touch opened it
        return Wallet.objects.get(pk=organization.pk)


def open_wallet(organization_id: UUID) -> Wallet:
    """Make the wallet, with starter credits when it is a person's (a team's would be free credits for any member)."""
    organization = Organization.objects.get(pk=organization_id)
    wallet = Wallet.objects.create(pk=organization_id)
    starter = to_microcredits(settings.STARTER_CREDITS)
    if organization.is_personal and starter:
        _apply(
            [
                Credit(
                    wallet_id=organization_id, amount=starter, reference="starter", kind=Kind.STARTER, reason="Welcome"
                )
            ]
        )
        wallet.refresh_from_db()
    return wallet


def grant(
    organization: Organization, amount: int, *, reason: str, actor: User | None = None, reference: str = ""
) -> Outcome:
    """Add `amount` microcredits, above 0. The same `reference` again grants nothing and answers the first entry."""
    if amount <= 0:
        raise ValueError("A grant is more than 0 credits.")
    wallet_of(organization)
    operation = Credit(
        wallet_id=organization.pk,
        amount=amount,
        reference=reference or f"grant:{db.uuid7()}",
        actor_id=actor.pk if actor else None,
        reason=reason,
    )
    return apply([operation])[0].or_raise()


def expire_holds(now: datetime | None = None, *, batch: int = 500) -> int:
    """Release every open hold that is past its time, because its process died; answers how many.

    Safe to run anywhere, at any time, by any number of processes.
    """
    released = 0
    while True:
        overdue = list(Hold.objects.filter(state=State.OPEN, expires_at__lt=now or timezone.now())[:batch])
        outcomes = apply([Release(hold=hold.ref, expired=True) for hold in overdue])
        released += sum(not outcome.repeated for outcome in outcomes)
        if len(overdue) < batch:
            return released


def hold_expiry() -> datetime:
    """When a hold made now expires."""
    return timezone.now() + timedelta(seconds=settings.HOLD_TTL)


def renew_holds(holds: Iterable[HoldRef]) -> int:
    """Give open holds a full time to live again (a queued job waits longer than a request)."""
    ids = [hold.id for hold in holds]
    return Hold.objects.filter(id__in=ids, state=State.OPEN).update(expires_at=hold_expiry())
