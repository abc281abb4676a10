"""The proof of the ledger: checks every invariant of every wallet, in constant memory, also while credits move.

Entries never change and a wallet's row says how many it has, so entries are read without a lock. Open holds may change
during the check: before a wallet is called broken its holds are read again behind a lock of the wallet's row.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from uuid import UUID

from django.db.models import F, Max, Q, Sum

from aichat.core.database import transactions
from aichat.core.database.batches import rows_by_key
from credits.models import Hold, LedgerEntry, Lot, LotCursor, Wallet, digest

WALLETS_AT_ONCE = 200
ENTRIES_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken invariant; `entry` is the ID of the entry at which the break shows, or None."""

    wallet: UUID
    message: str
    entry: UUID | None = None

    def __str__(self) -> str:
        return f"wallet {self.wallet}: " + (f"entry {self.entry}: " if self.entry else "") + self.message


class Line(NamedTuple):
    """The columns of an entry that the proof reads."""

    wallet_id: UUID
    id: UUID
    sequence: int
    kind: str
    amount: int
    balance_after: int
    reference: str
    created_at: datetime
    digest: str
    charge_id: UUID | None


def problems() -> Iterator[Problem]:
    """Yield every broken invariant; a right ledger yields nothing."""
    for wallets in _wallets():
        yield from _standing_problems(wallets)
        yield from _lot_problems(wallets)
        entries = LedgerEntry.objects.filter(wallet_id__in=wallets).order_by("wallet_id", "sequence")
        lines = (Line(*row) for row in entries.values_list(*Line._fields).iterator(chunk_size=ENTRIES_AT_ONCE))
        unseen = dict(wallets)
        for wallet_id, of_wallet in groupby(lines, key=lambda line: line.wallet_id):
            yield from _chain_problems(unseen.pop(wallet_id), of_wallet)
        for wallet in unseen.values():
            yield from _chain_problems(wallet, iter(()))


def _wallets() -> Iterator[dict[UUID, Wallet]]:
    for batch in rows_by_key(Wallet.objects.all(), WALLETS_AT_ONCE):
        yield {wallet.pk: wallet for wallet in batch}


def _standing_problems(wallets: dict[UUID, Wallet]) -> Iterator[Problem]:
    """Compare each wallet's row with its open holds and its last entry; a suspect is read again behind a lock."""
    held: dict[UUID, int] = dict(
        Hold.objects.filter(wallet_id__in=wallets, state=Hold.State.OPEN)
        .values_list("wallet_id")
        .annotate(total=Sum("amount"))
    )
    last: dict[UUID, int] = dict(
        LedgerEntry.objects.filter(wallet_id__in=wallets).values_list("wallet_id").annotate(last=Max("sequence"))
    )
    for pk, wallet in wallets.items():
        if any(_standing(wallet, held.get(pk, 0), last.get(pk, 0))):
            yield from transactions.run_atomic(_standing_now, wallet)


def _standing_now(wallet: Wallet) -> list[Problem]:
    """Compare one wallet's row with its holds and entries while the row is locked, so that nothing moves meanwhile."""
    row = Wallet.objects.filter(pk=wallet.pk)
    row.update(sequence=F("sequence"))
    held = Hold.objects.filter(wallet=wallet, state=Hold.State.OPEN).aggregate(total=Sum("amount"))["total"] or 0
    last = LedgerEntry.objects.filter(wallet=wallet).aggregate(last=Max("sequence"))["last"] or 0
    return list(_standing(row.get(), held, last))


def _standing(wallet: Wallet, held: int, last: int) -> Iterator[Problem]:
    if wallet.available < 0:
        yield Problem(wallet.pk, f"available is negative ({wallet.available})")
    if wallet.held < 0:
        yield Problem(wallet.pk, f"held is negative ({wallet.held})")
    if wallet.held != held:
        yield Problem(wallet.pk, f"held is {wallet.held}, its open holds sum to {held}")
    if wallet.sequence != last:
        yield Problem(wallet.pk, f"{wallet.sequence} entries were written, the last one there is has sequence {last}")


def _lot_problems(wallets: dict[UUID, Wallet]) -> Iterator[Problem]:
    """Compare what is left in each wallet's lots with the balance after the entry up to which they are accounted."""
    for cursor in LotCursor.objects.filter(pk__in=list(wallets)):
        if any(_wrong_lots(cursor)):
            yield from transactions.run_atomic(_wrong_lots_now, cursor)


def _wrong_lots_now(cursor: LotCursor) -> list[Problem]:
    """The problems of one wallet's lots while nobody accounts."""
    row = LotCursor.objects.filter(pk=cursor.pk)
    row.update(revision=F("revision") + 1)
    return list(_wrong_lots(row.get()))


def _wrong_lots(cursor: LotCursor) -> Iterator[Problem]:
    lots = Lot.objects.filter(wallet_id=cursor.pk)
    left = lots.aggregate(total=Sum("remaining"))["total"] or 0
    entries = LedgerEntry.objects.filter(wallet_id=cursor.pk, sequence=cursor.sequence)
    balance = entries.values_list("balance_after", flat=True).first() or 0
    if left != balance:
        yield Problem(cursor.pk, f"its lots have {left} left, the balance after entry {cursor.sequence} is {balance}")
    came = LedgerEntry.objects.filter(wallet_id=cursor.pk, sequence__lte=cursor.sequence, amount__gt=0)
    added = came.exclude(kind=LedgerEntry.Kind.REFUND).aggregate(total=Sum("amount"))["total"] or 0
    made = lots.exclude(source=LedgerEntry.Kind.REFUND.lower()).aggregate(total=Sum("amount"))["total"] or 0
    if made != added:
        yield Problem(cursor.pk, f"its lots are of {made}, the entries up to {cursor.sequence} added {added}")
    for lot in lots.filter(Q(remaining__lt=0) | Q(remaining__gt=F("amount")))[:10]:
        yield Problem(cursor.pk, f"the lot of entry {lot.sequence} has {lot.remaining} of {lot.amount} left")


def _chain_problems(wallet: Wallet, lines: Iterator[Line]) -> Iterator[Problem]:
    total, sequence, previous = 0, 0, ""
    refunds: dict[UUID, int] = defaultdict(int)
    for line in lines:
        if line.sequence > wallet.sequence:
            break  # written since the wallet's row was read
        sequence += 1
        total += line.amount
        if line.sequence != sequence:
            message = f"sequence is {line.sequence} where {sequence} should be (an entry is missing)"
            yield Problem(wallet.pk, message, line.id)
            sequence = line.sequence
        if line.balance_after != total:
            message = f"balance_after is {line.balance_after}, the entries sum to {total}"
            yield Problem(wallet.pk, message, line.id)
        previous = digest(previous, line.sequence, line.kind, line.amount, line.reference, line.created_at)
        if line.digest != previous:
            yield Problem(wallet.pk, "changed after it was written (digest differs)", line.id)
            previous = line.digest
        if line.charge_id:
            refunds[line.charge_id] += line.amount
    if wallet.balance != total:
        yield Problem(wallet.pk, f"available + held is {wallet.balance}, the entries sum to {total}")
    if refunds:
        yield from _refund_problems(wallet, refunds)


def _refund_problems(wallet: Wallet, refunds: dict[UUID, int]) -> Iterator[Problem]:
    """Compare the refunds of a wallet with their charges. Refunds are few, so all of a wallet's are held in memory."""
    charges = {row.pk: row for row in LedgerEntry.objects.filter(pk__in=refunds)}
    for charge_id, refunded in refunds.items():
        charge = charges.get(charge_id)
        if charge is None or charge.wallet_id != wallet.pk or charge.kind != LedgerEntry.Kind.CHARGE:
            yield Problem(wallet.pk, "is refunded, and is no charge of this wallet", charge_id)
        elif refunded > -charge.amount:
            yield Problem(wallet.pk, f"is a charge of {-charge.amount}, its refunds sum to {refunded}", charge_id)
