"""Proof of the ledger: every invariant of every wallet, in constant memory."""

from collections.abc import Iterator

from django.db.models import Sum

from credits.models import Hold, LedgerEntry, Wallet


def problems() -> Iterator[str]:
    """One sentence for each broken invariant; nothing when the ledger is right."""
    for wallet in Wallet.objects.order_by("pk").iterator(chunk_size=1000):
        for problem in wallet_problems(wallet):
            yield f"wallet {wallet.pk}: {problem}"


def wallet_problems(wallet: Wallet) -> Iterator[str]:
    if wallet.available < 0:
        yield f"available is negative ({wallet.available})"
    if wallet.held < 0:
        yield f"held is negative ({wallet.held})"
    open_holds = Hold.objects.filter(wallet=wallet, state=Hold.State.OPEN).aggregate(total=Sum("amount"))["total"] or 0
    if wallet.held != open_holds:
        yield f"held is {wallet.held}, its open holds sum to {open_holds}"
    yield from _chain_problems(wallet)


def _chain_problems(wallet: Wallet) -> Iterator[str]:
    total, sequence, digest = 0, 0, ""
    for entry in LedgerEntry.objects.filter(wallet=wallet).order_by("sequence").iterator(chunk_size=2000):
        sequence += 1
        total += entry.amount
        if entry.sequence != sequence:
            yield f"entry {entry.pk}: sequence is {entry.sequence} where {sequence} should be (an entry is missing)"
            sequence = entry.sequence
        if entry.balance_after != total:
            yield f"entry {entry.pk}: balance_after is {entry.balance_after}, the entries sum to {total}"
        digest = entry.digest_after(digest)
        if entry.digest != digest:
            yield f"entry {entry.pk}: changed after it was written (digest differs)"
            digest = entry.digest
    if wallet.sequence != sequence:
        yield f"{wallet.sequence} entries were written, the last one there is has sequence {sequence}"
    if wallet.balance != total:
        yield f"available + held is {wallet.balance}, the entries sum to {total}"
