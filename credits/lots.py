"""Lots: where the credits in a wallet came from, how many of each source are left, and when they expire.

The ledger's entries alone decide what becomes of the lots. An entry that adds credits is a lot; a refund fills the lots
again that its charge used up. An entry that takes credits uses lots up in one order: soonest to expire first, bought
credits last, older before younger. So no request writes lots. The stored lots are those after the entry that the wallet's
`LotCursor` names: whoever needs newer ones goes through the later entries.

Credits whose time is over are taken off by an entry of kind EXPIRY. Its amount is counted while the wallet's row is locked,
so that no other entry comes in between. A lot that rolls over has an EXPIRY of its own,
`expiry:<entry of the lot>:<number>`, and a new grant in the same commit for what goes on in the next period.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

from django.db import IntegrityError
from django.db.models import F, Q, QuerySet, Sum

from aichat.core.database import clock, transactions
from aichat.core.database.batches import rows_by_key
from aichat.core.database.models import uuid7
from credits.ledger import apply
from credits.models import CreditExpiry, LedgerEntry, Lot, LotCursor, LotUse, Wallet
from credits.operations import Credit, LedgerBroken

logger = logging.getLogger(__name__)
Kind = LedgerEntry.Kind
AT_ONCE = 1000  # entries accounted in a transaction
MOST_PENDING = 200  # entries accounted in memory for an answer
MOST_SHOWN = 1000  # lots in an answer
WALLETS_AT_ONCE = 500  # compared with their cursors by one query
MOST_EXPIRIES = 10_000  # grants of one run of `expire_credits`
ROLLED = ":rolled:"  # in the reference of what was rolled over
TRIES = 5  # to read lots while another process accounts them
NEVER = datetime.max.replace(tzinfo=UTC)
SOURCES = ("voucher", "payment", "subscription")  # a grant's source is the beginning of its reference


def source_of(kind: str, reference: str) -> str:
    prefix = reference.partition(":")[0]
    return prefix if kind == Kind.GRANT and prefix in SOURCES else kind.lower()


def spent_before(lot: Lot) -> tuple[datetime, bool, int]:
    """The key that sorts lots into the order in which they are used up."""
    return lot.expires_at or NEVER, lot.source == "payment", lot.sequence


class Book:
    """A wallet's lots while entries are accounted, one after the other."""

    def __init__(self, wallet_id: UUID) -> None:
        self.wallet_id = wallet_id
        self.open = sorted(Lot.objects.filter(wallet_id=wallet_id, remaining__gt=0), key=spent_before)
        self.known = {lot.pk: lot for lot in self.open}
        self.has_all = False
        self.new: list[Lot] = []
        self.uses: dict[UUID, list[LotUse]] = {}  # new ones, by charge
        self.old_uses: dict[UUID, LotUse] = {}
        self.changed: set[UUID] = set()

    def account(self, entries: Iterable[LedgerEntry]) -> None:
        """Go on with these entries, which follow the last one that was accounted."""
        entries = list(entries)
        expiries = dict(
            CreditExpiry.objects.filter(
                wallet_id=self.wallet_id, reference__in=[row.reference for row in entries if row.kind == Kind.GRANT]
            ).values_list("reference", "expires_at")
        )
        for entry in entries:
            if entry.kind == Kind.REFUND:
                self._give_back(entry)
            elif entry.amount > 0:
                expires_at = expiries.get(entry.reference) if entry.kind == Kind.GRANT else None
                self._add(entry, source_of(entry.kind, entry.reference), entry.amount, expires_at)
            else:
                self._take(entry)

    def _add(self, entry: LedgerEntry, source: str, amount: int, expires_at: datetime | None) -> None:
        lot = Lot(
            id=uuid7(), wallet_id=self.wallet_id, sequence=entry.sequence, source=source, reference=entry.reference,
            amount=amount, remaining=amount, expires_at=expires_at,
        )  # fmt: skip
        self.new.append(lot)
        self.known[lot.pk] = lot
        self._reopen(lot)

    def _reopen(self, lot: Lot) -> None:
        if lot not in self.open:
            self.open.append(lot)
            self.open.sort(key=spent_before)

    def _take(self, entry: LedgerEntry) -> None:
        """Use lots up; an entry that is about certain lots uses those up first."""
        due = self._use(self._own_lots(entry), -entry.amount, entry)
        if self._use(self.open, due, entry):
            raise LedgerBroken(f"wallet {self.wallet_id}: entry {entry.sequence} takes more than its lots have")
        self.open = [lot for lot in self.open if lot.remaining]

    def _own_lots(self, entry: LedgerEntry) -> list[Lot]:
        """The lots that an entry names: those of a payment that was given back, or the one that rolls over."""
        words = entry.reference.split(":")
        if entry.kind == Kind.REVERSAL:
            return [lot for lot in self.open if lot.reference.split(":")[:2] == words[:2]]
        if entry.kind == Kind.EXPIRY and len(words) == 3:
            return [lot for lot in self.open if str(lot.sequence) == words[1]]
        return []

    def _use(self, lots: Iterable[Lot], due: int, entry: LedgerEntry) -> int:
        for lot in lots:
            if not due:
                break
            part = min(due, lot.remaining)
            lot.remaining, due = lot.remaining - part, due - part
            self.changed.add(lot.pk)
            if part and lot.expires_at and entry.kind == Kind.CHARGE:
                use = LotUse(id=uuid7(), charge_id=entry.pk, lot_id=lot.pk, amount=part)
                self.uses.setdefault(entry.pk, []).append(use)
        return due

    def _give_back(self, entry: LedgerEntry) -> None:
        """Fill the lots again that the refunded charge used up; what was of expired lots becomes a lot without an end."""
        if not self.has_all:
            stored = Lot.objects.filter(wallet_id=self.wallet_id).exclude(pk__in=list(self.known))
            self.known.update((lot.pk, lot) for lot in stored)
            self.has_all = True
        due, over = entry.amount, 0
        assert entry.charge_id is not None  # every refund names its charge
        for use in self._uses_of(entry.charge_id):
            part = min(due, use.amount - use.refunded)
            use.refunded, due = use.refunded + part, due - part
            lot = self.known[use.lot_id]
            if (lot.expires_at or NEVER) <= entry.created_at:
                over += part
            else:
                self._refill(lot, part)
        lasting = sorted((lot for lot in self.known.values() if not lot.expires_at), key=spent_before, reverse=True)
        for lot in lasting:
            part = min(due, lot.amount - lot.remaining)
            due -= part
            self._refill(lot, part)
        if due:
            raise LedgerBroken(f"wallet {self.wallet_id}: entry {entry.sequence} gives back more than was taken")
        if over:
            self._add(entry, source_of(entry.kind, entry.reference), over, None)

    def _refill(self, lot: Lot, part: int) -> None:
        if part:
            lot.remaining += part
            self.changed.add(lot.pk)
            self._reopen(lot)

    def _uses_of(self, charge_id: UUID) -> list[LotUse]:
        """What the charge took of lots that expire, the last one first."""
        found = self.uses.get(charge_id) or [
            self.old_uses.setdefault(use.pk, use) for use in LotUse.objects.filter(charge_id=charge_id)
        ]
        return sorted(found, key=lambda use: spent_before(self.known[use.lot_id]), reverse=True)

    def store(self) -> None:
        """Write down what changed, in the caller's transaction."""
        Lot.objects.bulk_create(self.new)
        LotUse.objects.bulk_create([use for uses in self.uses.values() for use in uses])
        for pk in self.changed - {lot.pk for lot in self.new}:
            Lot.objects.filter(pk=pk).update(remaining=self.known[pk].remaining)
        for use in self.old_uses.values():
            LotUse.objects.filter(pk=use.pk).update(refunded=use.refunded)


# --- Accounting -------------------------------------------------------------------------------------------------------


def lots_of(wallet_id: UUID) -> list[Lot]:
    """The lots of a wallet that have something left, in the order in which they are used up.

    Up to `MOST_PENDING` new entries are accounted in memory; only when there are more, the lots are stored first.
    """
    for _ in range(TRIES):
        before = _accounted(wallet_id)
        pending = list(_entries(wallet_id, before)[: MOST_PENDING + 1])
        if len(pending) > MOST_PENDING:
            catch_up(wallet_id)
            continue
        book = Book(wallet_id)
        book.account(pending)
        if _accounted(wallet_id) == before:  # nobody accounted while we read
            return book.open[:MOST_SHOWN]
    catch_up(wallet_id)
    return Book(wallet_id).open[:MOST_SHOWN]


def catch_up(wallet_id: UUID) -> None:
    """Account and store all entries of the wallet, a transaction for each thousand."""
    while transactions.run_atomic(_account, wallet_id):
        pass


def account_lots() -> int:
    """Account the wallets that are far behind, so that no request has much to do; return how many there were."""
    behind = 0
    for wallets in rows_by_key(Wallet.objects.only("sequence"), WALLETS_AT_ONCE):
        cursors = LotCursor.objects.filter(pk__in=[wallet.pk for wallet in wallets])
        accounted = dict(cursors.values_list("pk", "sequence"))
        late = [wallet.pk for wallet in wallets if wallet.sequence - accounted.get(wallet.pk, 0) > MOST_PENDING // 2]
        for wallet_id in late:
            try:
                catch_up(wallet_id)
            except Exception:  # a wallet that `verify_ledger` calls broken must not keep the others behind
                logger.exception("lots can't be accounted", extra={"wallet": str(wallet_id)})
        behind += len(late)
    return behind


def _accounted(wallet_id: UUID) -> int:
    return LotCursor.objects.filter(pk=wallet_id).values_list("sequence", flat=True).first() or 0


def _entries(wallet_id: UUID, after: int) -> QuerySet[LedgerEntry]:
    return LedgerEntry.objects.filter(wallet_id=wallet_id, sequence__gt=after).order_by("sequence")


def _account(wallet_id: UUID) -> bool:
    """Account the next entries; return whether there may be more."""
    cursor = _locked(wallet_id)
    entries = list(_entries(wallet_id, cursor.sequence)[:AT_ONCE])
    if entries:
        book = Book(wallet_id)
        book.account(entries)
        book.store()
        LotCursor.objects.filter(pk=wallet_id).update(sequence=entries[-1].sequence)
    return len(entries) == AT_ONCE


def _locked(wallet_id: UUID) -> LotCursor:
    """The wallet's cursor, made unless it is there, and written, so that others wait for this transaction's end."""
    which = LotCursor.objects.filter(pk=wallet_id)
    if not which.update(revision=F("revision") + 1):
        try:
            LotCursor.objects.create(pk=wallet_id)
        except IntegrityError as error:  # another process made it: run again, and find it
            raise transactions.Conflict(str(error)) from error
    return which.get()


# --- Expiry -----------------------------------------------------------------------------------------------------------


def set_expiry(wallet_id: UUID, reference: str, expires_at: datetime, *, rolls: bool = False) -> None:
    """Have the grant with this reference expire at `expires_at`. A second call changes nothing.

    Call it in the grant's transaction, before the grant. With `rolls`, what is left may go on in a later grant (`roll`).
    """
    granted = LedgerEntry.objects.filter(wallet_id=wallet_id, kind=Kind.GRANT, reference=reference)
    if granted.exists() or CreditExpiry.objects.filter(wallet_id=wallet_id, reference=reference).exists():
        return
    try:
        CreditExpiry.objects.create(wallet_id=wallet_id, reference=reference, expires_at=expires_at, rolls=rolls)
    except IntegrityError as error:  # the same grant at the same moment: run again, and find it
        raise transactions.Conflict(str(error)) from error


def waiting_to_roll(wallet_id: UUID, series: str) -> list[CreditExpiry]:
    """The expiries of grants that may still go on in a later one, and whose references begin with `series`."""
    rows = CreditExpiry.objects.filter(wallet_id=wallet_id, lapsed=False, rolls=True, reference__startswith=series)
    return list(rows)


def roll(expiries: list[UUID], into: str, at: datetime, most: int) -> None:
    """Have what is left of these grants go on in the grant `into` from `at` on, at most `most` microcredits in all."""
    CreditExpiry.objects.filter(pk__in=expiries).update(rolls_into=into, rolls_at=at, rolls_most=most)


def _due(now: datetime) -> QuerySet[CreditExpiry]:
    return CreditExpiry.objects.filter(Q(expires_at__lte=now) | Q(rolls_at__lte=now), lapsed=False)


def expire_credits(now: datetime | None = None) -> int:
    """Take off the credits whose time is over; return how many wallets lost some.

    Credits that a running request holds are taken off by a later run, once they are free. Any number of processes may run
    this at any time; one wallet's failure holds up no other.
    """
    clock.keep_compared()
    moment = now or clock.shared_now()
    changed = 0
    for wallet_id in {*_due(moment).order_by("expires_at").values_list("wallet_id", flat=True)[:MOST_EXPIRIES]}:
        try:
            catch_up(wallet_id)
            changed += transactions.run_repeatable(_expire, wallet_id, moment)
        except Exception:  # tried again by the next run
            logger.exception("credits can't be expired", extra={"wallet": str(wallet_id)})
    return changed


def _expire(wallet_id: UUID, now: datetime) -> bool:
    """Take off what the wallet's expired lots have left, as far as it is free; return whether there was any."""
    # Locks the row, so that no entry comes in between. MongoDB makes a transaction that was overtaken run again.
    Wallet.objects.filter(pk=wallet_id).update(created_at=F("created_at"))
    while _account(wallet_id):
        pass
    wallet, due = Wallet.objects.get(pk=wallet_id), list(_due(now).filter(wallet_id=wallet_id))
    rolling = {row.reference: row for row in due if row.rolls_into and row.rolls_at and row.rolls_at <= now}
    open_lots = Book(wallet_id).open
    rolled = [lot for lot in open_lots if lot.reference in rolling]
    over = [lot for lot in open_lots if (lot.expires_at or NEVER) <= now and lot.reference not in rolling]
    left = sum(lot.remaining for lot in [*rolled, *over])
    taken = _roll(wallet, [(lot, rolling[lot.reference]) for lot in rolled])
    rest = min(sum(lot.remaining for lot in over), wallet.available - taken)
    if rest:
        _take_off(wallet, rest, "")
    if taken + rest:
        _account(wallet_id)
    if taken + rest == left:
        CreditExpiry.objects.filter(pk__in=[row.pk for row in due]).update(lapsed=True)
    return taken + rest > 0


def _take_off(wallet: Wallet, amount: int, lot: str) -> None:
    wallet.sequence += 1
    reference, reason = f"expiry:{lot}{wallet.sequence}", "Credits expired"
    operation = Credit(wallet_id=wallet.pk, amount=-amount, reference=reference, kind=Kind.EXPIRY, reason=reason)
    apply([operation])[0].or_raise()


def _roll(wallet: Wallet, rolled: list[tuple[Lot, CreditExpiry]]) -> int:
    """Take off what is left of lots whose next period has begun, and grant the part of it that goes on.

    Returns how many microcredits were taken off.
    """
    total = 0
    parts: dict[str, tuple[int, int]] = {}  # by the grant in which they go on: how many were left, how many may go on
    for lot, expiry in rolled:
        part = min(lot.remaining, wallet.available - total)
        if part:
            _take_off(wallet, part, f"{lot.sequence}:")
            total += part
            into, most = expiry.rolls_into, expiry.rolls_most or 0
            parts[into] = (parts.get(into, (0, 0))[0] + part, most)
    for into, (part, most) in parts.items():
        _go_on(wallet, into, part, most)
    return total


def _go_on(wallet: Wallet, into: str, part: int, most: int) -> None:
    """Grant what goes on beside the grant `into`: at most `most` microcredits, with those that went on before.

    The new grant expires when `into` does.
    """
    before = LedgerEntry.objects.filter(wallet_id=wallet.pk, reference__startswith=f"{into}{ROLLED}")
    amount = min(part, most - (before.aggregate(total=Sum("amount"))["total"] or 0))
    if amount <= 0:
        return
    wallet.sequence += 1
    reference = f"{into}{ROLLED}{wallet.sequence}"
    ends = CreditExpiry.objects.filter(wallet_id=wallet.pk, reference=into).first()
    if ends is not None:
        set_expiry(wallet.pk, reference, ends.expires_at, rolls=ends.rolls)
    if ends is not None and ends.rolls_at:  # that grant goes on in a later one already
        made = CreditExpiry.objects.filter(wallet_id=wallet.pk, reference=reference)
        made.update(rolls_into=ends.rolls_into, rolls_at=ends.rolls_at, rolls_most=ends.rolls_most)
    apply([Credit(wallet_id=wallet.pk, amount=amount, reference=reference, reason="Rolled over")])[0].or_raise()
