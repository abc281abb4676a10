"""The ledger's tables. All amounts are integers in microcredits.

Only `credits/ledger.py` and `round_trips.py` (with the statements of `guards.py`, `planning.py` and `engines/`) and
`credits/backfill.py` write holds, entries and balances; `services.py` also renews the expiry of holds.

Always true, after every commit, for every wallet (`manage.py verify_ledger` proves it):
`sum(entries) == available + held`, `held == sum(open holds)`, `available >= 0`, `held >= 0`.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar, NamedTuple, NoReturn
from uuid import UUID

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.base import ModelState
from django.utils import timezone

from accounts.models import Role
from aichat.core.database.models import Row
from aichat.core.money import LARGEST, credits_in_words, format_credits


class Wallet(models.Model):
    """An organization's credits in microcredits: the part free to spend and the part that running requests hold."""

    organization = models.OneToOneField(
        "accounts.Organization", primary_key=True, on_delete=models.PROTECT, related_name="wallet", db_column="_id"
    )
    available = models.BigIntegerField(default=0, help_text="Microcredits free to spend.")
    held = models.BigIntegerField(default=0, help_text="Microcredits held for requests that are running.")
    sequence = models.BigIntegerField(default=0, help_text="Entries written so far.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(available__gte=0), name="available_not_negative"),
            models.CheckConstraint(condition=models.Q(held__gte=0), name="held_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.organization}: {credits_in_words(self.balance)}"

    @property
    def balance(self) -> int:
        return self.available + self.held


class Counted(NamedTuple):
    """One spending counter in which a hold was counted, with the first day of the counted period."""

    counter_id: UUID
    starts: date


class HoldRef(NamedTuple):
    """The facts of a hold that closing it needs. `amount` is in microcredits; none of these facts ever changes."""

    id: UUID
    wallet_id: UUID
    amount: int
    reference: str
    counted: tuple[Counted, ...] = ()


class ChargeRef(NamedTuple):
    """The facts of a charge that a refund needs. `amount` is the charge in microcredits, as a positive number."""

    id: UUID
    wallet_id: UUID
    amount: int
    reference: str


class Hold(Row):
    """Credits set aside for one request: closed exactly once, by a settlement, a release or its expiry."""

    class State(models.TextChoices):
        OPEN = "OPEN"
        SETTLED = "SETTLED"
        RELEASED = "RELEASED"
        EXPIRED = "EXPIRED"

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="holds", db_index=False)
    amount = models.BigIntegerField(help_text="Microcredits.")
    state = models.CharField(max_length=16, choices=State.choices, default=State.OPEN)
    reference = models.CharField(max_length=100)
    request_id = models.CharField(max_length=64, blank=True)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.UUIDField(null=True, editable=False, help_text="The batch of operations that closed it.")
    refunded = models.BigIntegerField(
        default=0, db_default=0, help_text="Microcredits of its charge that were given back."
    )
    counted = models.JSONField(null=True, editable=False, help_text="The spending counters it is counted in.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["wallet", "reference"], name="one_hold_per_reference")]
        indexes = [
            models.Index(fields=["state", "expires_at"], name="holds_by_expiry"),
            models.Index(fields=["wallet", "state"], name="holds_of_wallet"),
            # Not `db_index`: on PostgreSQL a text would get a second one, for LIKE.
            models.Index(fields=["request_id"], name="holds_of_request"),
        ]

    def __str__(self) -> str:
        return f"{credits_in_words(self.amount)} {self.state.lower()}"

    @property
    def ref(self) -> HoldRef:
        counted = tuple(Counted(UUID(counter), date.fromisoformat(starts)) for counter, starts in self.counted or ())
        return HoldRef(self.pk, self.wallet_id, self.amount, self.reference, counted)


class AppendOnlyError(TypeError):
    """Somebody tried to change or delete a ledger entry."""

    def __init__(self) -> None:
        super().__init__("Ledger entries are never changed or deleted: write a refund or an adjustment instead.")


class LedgerEntryQuerySet(models.QuerySet["LedgerEntry"]):
    """A queryset that only adds rows. It is also the base manager, so cascades and `save` meet the same refusal."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError

    def delete(self) -> NoReturn:
        raise AppendOnlyError

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError

    def bulk_create(self, objs: Iterable["LedgerEntry"], *args: Any, **kwargs: Any) -> list["LedgerEntry"]:
        if kwargs.get("update_conflicts") or kwargs.get("ignore_conflicts"):
            raise AppendOnlyError
        return super().bulk_create(objs, *args, **kwargs)

    def _raw_delete(self, using: str | None) -> NoReturn:
        """Refuse the delete that a cascade from another table would make."""
        raise AppendOnlyError

    def _update(self, values: Any) -> int:
        """Update nothing: saving a loaded fixture tries an update before it inserts, and entries never change."""
        return 0


class LedgerEntry(Row):
    """One movement of a wallet's balance.

    The entries of a wallet form a chain: each carries a digest over itself and the one before.
    """

    class Kind(models.TextChoices):
        STARTER = "STARTER"
        GRANT = "GRANT"
        ALLOWANCE = "ALLOWANCE"
        CHARGE = "CHARGE"
        REFUND = "REFUND"
        ADJUSTMENT = "ADJUSTMENT"
        REVERSAL = "REVERSAL"
        EXPIRY = "EXPIRY"

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="entries", db_index=False)
    sequence = models.BigIntegerField()
    kind = models.CharField(max_length=16, choices=Kind.choices)
    amount = models.BigIntegerField(help_text="Microcredits; negative when credits were spent.")
    balance_after = models.BigIntegerField(help_text="Microcredits available and held, after this entry.")
    reference = models.CharField(max_length=100, help_text="Made by the server; unique per wallet and kind.")
    request_id = models.CharField(max_length=64, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    reason = models.CharField(max_length=200, blank=True)
    charge = models.ForeignKey(
        "self", null=True, blank=True, db_index=False, on_delete=models.PROTECT, help_text="What a refund gives back."
    )
    created_at = models.DateTimeField(db_index=True)
    digest = models.CharField(max_length=64)

    objects: ClassVar[models.Manager["LedgerEntry"]] = LedgerEntryQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "ledger entries"
        base_manager_name = "objects"
        constraints = [
            models.UniqueConstraint(fields=["wallet", "kind", "reference"], name="one_entry_per_reference"),
            models.UniqueConstraint(fields=["wallet", "sequence"], name="one_entry_per_sequence"),
        ]
        indexes = [
            models.Index(fields=["kind", "-created_at"], name="entries_by_kind"),
            models.Index(fields=["request_id"], name="entries_of_request"),
        ]

    def __str__(self) -> str:
        return f"{self.kind.lower()} of {credits_in_words(self.amount)}"

    @classmethod
    def unsaved(cls, **values: Any) -> "LedgerEntry":
        """Make a new entry from a value for every column, in a quarter of the time that `LedgerEntry(…)` takes."""
        row = cls.__new__(cls)
        row.__dict__.update(values, _state=ModelState())
        return row

    @property
    def charge_ref(self) -> ChargeRef:
        """The reference to this charge that a refund takes."""
        return ChargeRef(self.pk, self.wallet_id, -self.amount, self.reference)

    def save(self, *args: Any, using: str | None = None, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError
        super().save(force_insert=True, using=using)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError

    def digest_after(self, previous: str) -> str:
        """The digest this entry must carry when the one before it carries `previous`."""
        return digest(previous, self.sequence, self.kind, self.amount, self.reference, self.created_at)


def digest(previous: str, sequence: int, kind: str, amount: int, reference: str, created_at: datetime) -> str:
    """The SHA-256 digest of one entry and of the digest before it, as 64 hexadecimal characters.

    The digest covers the facts that money depends on, with the time in milliseconds, and nothing personal. So the
    digest stays right after a move to another database and after names are erased.
    """
    facts = f"{previous}|{sequence}|{kind}|{amount}|{reference}|{milliseconds(created_at)}"
    return hashlib.sha256(facts.encode()).hexdigest()


def milliseconds(moment: datetime) -> int:
    """Milliseconds from 1970 to `moment`, as an exact integer."""
    return round(moment.timestamp() * 1000)


# --- Lots -------------------------------------------------------------------------------------------------------------


class CreditExpiry(Row):
    """When a grant's credits expire; written in the grant's commit, and read when the grant is accounted as a lot."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="expiries", db_index=False)
    reference = models.CharField(max_length=100, help_text="Of the grant.")
    expires_at = models.DateTimeField()
    lapsed = models.BooleanField(default=False, help_text="What was left at the end has been taken off.")
    rolls = models.BooleanField(default=False, db_default=False, help_text="What is left may go on in a later grant.")
    rolls_into = models.CharField(
        max_length=100, blank=True, default="", db_default="", help_text="The grant in which it goes on."
    )
    rolls_at = models.DateTimeField(null=True, help_text="When it does.")
    rolls_most = models.BigIntegerField(null=True, help_text="Microcredits that go on in that grant at most.")

    class Meta:
        verbose_name_plural = "credit expiries"
        constraints = [models.UniqueConstraint(fields=["wallet", "reference"], name="one_expiry_per_grant")]
        indexes = [
            models.Index(fields=["lapsed", "expires_at"], name="expiries_by_time"),
            models.Index(fields=["lapsed", "rolls_at"], name="expiries_by_rollover"),
        ]

    def __str__(self) -> str:
        return f"{self.reference} until {self.expires_at}"


class Lot(Row):
    """Credits of one source and expiry, and how many of them are left after the entry that the wallet's cursor names.

    `credits/lots.py` alone writes these rows, and could make them again from the entries.
    """

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="lots", db_index=False)
    sequence = models.BigIntegerField(help_text="Of the entry that it came with.")
    source = models.CharField(max_length=16)
    reference = models.CharField(max_length=100)
    amount = models.BigIntegerField(help_text="Microcredits.")
    remaining = models.BigIntegerField(help_text="Microcredits that are left.")
    expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["wallet", "sequence"], name="one_lot_per_entry")]

    def __str__(self) -> str:
        return f"{format_credits(self.remaining)} of {credits_in_words(self.amount)} ({self.source})"


class LotUse(Row):
    """What a charge took of a lot that expires, so that a refund of the charge gives it back there."""

    charge = models.ForeignKey(LedgerEntry, on_delete=models.PROTECT, related_name="+")
    lot = models.ForeignKey(Lot, on_delete=models.PROTECT, related_name="uses", db_index=False)
    amount = models.BigIntegerField(help_text="Microcredits.")
    refunded = models.BigIntegerField(default=0, help_text="Microcredits.")

    def __str__(self) -> str:
        return f"{credits_in_words(self.amount)} of a lot"


class LotCursor(models.Model):
    """The number of the last entry that is accounted in a wallet's stored lots."""

    wallet = models.OneToOneField(
        Wallet, primary_key=True, on_delete=models.PROTECT, related_name="lot_cursor", db_column="_id"
    )
    sequence = models.BigIntegerField(default=0)
    revision = models.BigIntegerField(default=0, editable=False)

    def __str__(self) -> str:
        return f"entry {self.sequence}"


# --- Spending limits --------------------------------------------------------------------------------------------------


class SpendCounter(models.Model):
    """Microcredits that a key, a user or an organization has spent and holds in the running period.

    A new period reuses the row of the last one. A reservation is counted by one conditional UPDATE, as on a wallet,
    and its settlement corrects the count.
    """

    id = models.UUIDField(primary_key=True, editable=False, db_column="_id")
    starts = models.DateField(help_text="The first day (UTC) of the period that is counted.")
    spent = models.BigIntegerField(default=0, help_text="Microcredits charged and held.")

    def __str__(self) -> str:
        return f"{credits_in_words(self.spent)} since {self.starts}"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` microcredits in the period that began on `starts`.

    `name` tells a client whose limit was reached; `resets_at` is None for a limit without a period.
    """

    name: str
    counter_id: UUID
    starts: date
    amount: int
    resets_at: datetime | None = None


# --- Allowances -------------------------------------------------------------------------------------------------------


class CreditPlan(Row):
    """Credits that every user of a role gets each month, in their personal organization."""

    role = models.CharField(max_length=16, choices=Role.choices, unique=True)
    amount = models.BigIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(LARGEST)], help_text="Microcredits a month."
    )

    def __str__(self) -> str:
        return f"{credits_in_words(self.amount)} a month for {self.role}"
