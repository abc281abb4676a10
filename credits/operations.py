"""The operations that the ledger takes and the results it returns. All amounts are integers in microcredits."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from aichat.core.database.models import uuid7
from aichat.core.errors import ApiError
from aichat.core.money import LARGEST, credits_in_words, format_credits
from aichat.core.telemetry import tracing
from credits.models import ChargeRef, Counted, HoldRef, LedgerEntry, Limit

Kind = LedgerEntry.Kind


class Unaffordable(ApiError):
    """A reservation was refused; `affordable` is how many microcredits it could have held instead."""

    affordable = 0


class InsufficientCreditsError(Unaffordable):
    """402: `required` and `available` say, in credits, what the request could cost and what there is."""

    status, code = 402, "insufficient_credits"

    def __init__(self, *, required: int, available: int) -> None:
        self.affordable = available
        needed, free = format_credits(required), format_credits(available)
        super().__init__(
            f"This can cost up to {needed} credits and {free} are available.", required=needed, available=free
        )


class RefundTooLarge(ApiError):
    """400: the refunds of a charge would exceed the charge."""

    status, code = 400, "invalid_request"
    message = "The refunds of a charge are at most the charge."


class BalanceTooLarge(ApiError):
    """400: a balance would exceed the largest amount that the product counts."""

    status, code = 400, "invalid_request"
    message = f"A wallet holds at most {credits_in_words(LARGEST)}."


class UnknownHold(LookupError):
    """A settlement or release named a hold that was never made."""


class ReferenceTaken(LookupError):
    """A reservation named a reference that another hold of its wallet has: its maker reused one."""


class UnknownWallet(LookupError):
    """An operation named an organization that does not exist."""


class LedgerBroken(RuntimeError):
    """A wallet contradicts its own holds: `manage.py verify_ledger` says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """Move `amount` from available to held, until the hold is settled, released or expires.

    `limits` are the spending limits in which the reservation must also fit. The same `hold_id` again is the same
    reservation. Another hold with a reference that the wallet has seen is refused with `ReferenceTaken`, because its
    maker would settle a hold that does not exist.
    """

    wallet_id: UUID
    amount: int
    expires_at: datetime
    hold_id: UUID = field(default_factory=uuid7)
    reference: str = ""
    request_id: str = field(default_factory=tracing.request_id)
    limits: Sequence[Limit] = ()
    hold: HoldRef = field(init=False)  # that there will be

    def __post_init__(self) -> None:
        _check(self.amount >= 0, "A reservation is of 0 credits or more.")
        counted = tuple([Counted(limit.counter_id, limit.starts) for limit in self.limits])
        reference = self.reference or str(self.hold_id)
        object.__setattr__(self, "hold", HoldRef(self.hold_id, self.wallet_id, self.amount, reference, counted))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Close a hold with one charge of `charge` and give the rest back.

    A charge over the hold takes the rest from what is available; what can't be taken is the result's `shortfall`.
    `hold_may_be_lost`: the hold was reserved without waiting for the disk, so a crash of the database may have lost it;
    then the whole charge is taken from what is available, as after an expiry. Else a missing hold is `UnknownHold`.
    """

    hold: HoldRef
    charge: int
    hold_may_be_lost: bool = False
    reason: str = ""
    request_id: str = field(default_factory=tracing.request_id)

    def __post_init__(self) -> None:
        _check(self.charge >= 0, "A charge is of 0 credits or more.")

    @property
    def wallet_id(self) -> UUID:
        return self.hold.wallet_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Close a hold without a charge; with `if_expired_at`, only when its time had run out by then.

    With `hold_may_be_lost` a missing hold is nothing to release (see `Settle`), else the error `UnknownHold`.
    """

    hold: HoldRef
    if_expired_at: datetime | None = None
    hold_may_be_lost: bool = False

    @property
    def wallet_id(self) -> UUID:
        return self.hold.wallet_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Change the balance by `amount`.

    A grant or allowance adds; an adjustment adds or takes, by somebody, for a reason; a reversal takes what was granted for
    a payment that the seller gave back, an expiry what is left of a lot at its end.
    """

    wallet_id: UUID
    amount: int
    reference: str
    kind: LedgerEntry.Kind = Kind.GRANT
    actor_id: UUID | None = None
    reason: str = ""
    request_id: str = field(default_factory=tracing.request_id)

    def __post_init__(self) -> None:
        _check(bool(self.reference), "A movement of credits needs a reference.")
        _check(abs(self.amount) <= LARGEST, "The amount is too large.")
        if self.kind == Kind.ADJUSTMENT:
            _check(self.amount != 0, "An adjustment is not of 0 credits.")
            _check(bool(self.actor_id and self.reason.strip()), "An adjustment needs an actor and a reason.")
        elif self.kind in {Kind.REVERSAL, Kind.EXPIRY}:
            _check(self.amount < 0, "Reversals and expiries take credits away.")
        else:
            _check(self.kind not in {Kind.CHARGE, Kind.REFUND}, "Charges are settlements, refunds name their charge.")
            _check(self.amount > 0, "A grant is of more than 0 credits.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Give `amount` of a charge back. All refunds of a charge together are at most the charge."""

    charge: ChargeRef
    amount: int
    reference: str
    actor_id: UUID | None = None
    reason: str = ""
    request_id: str = field(default_factory=tracing.request_id)

    def __post_init__(self) -> None:
        _check(bool(self.reference), "A movement of credits needs a reference.")
        _check(self.amount > 0, "A refund is of more than 0 credits.")

    @property
    def wallet_id(self) -> UUID:
        return self.charge.wallet_id

    @property
    def kind(self) -> LedgerEntry.Kind:
        return Kind.REFUND


Operation = Reserve | Settle | Release | Credit | Refund


@dataclass(slots=True)
class OperationResult:
    """The result of one operation.

    `repeated`: the operation was done before and changed nothing; `entry` and `charged` are those of the first time.
    `available` is what the wallet has free after the commit, when the operation moved the wallet or was refused. It is 0
    for reservations that the group commit makes on MongoDB: nobody asks for it, and it would be one more round trip.
    """

    error: Exception | None = None
    repeated: bool = False
    charged: int = 0
    shortfall: int = 0
    available: int = 0
    entry: LedgerEntry | None = None

    def or_raise(self) -> "OperationResult":
        """The result itself. Raises its error if it has one."""
        if self.error:
            raise self.error
        return self


def _check(right: bool, message: str) -> None:
    if not right:
        raise ValueError(message)
