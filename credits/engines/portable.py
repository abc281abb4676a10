"""The ledger's statements with the ORM, wallet by wallet, for every database. The other engines are compared with it."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from django.db.models import F, Q

from aichat.core.database.statements import NewRow
from aichat.core.money import LARGEST
from credits.engines.base import Chain, Closing, Closings, Count, Move, Standing
from credits.models import Hold, LedgerEntry, Wallet


def close_holds(ids: Sequence[UUID], closing: Closing) -> set[UUID]:
    holds = Hold.objects.filter(id__in=ids, state=Hold.State.OPEN)
    if closing.expired_at is not None:
        holds = holds.filter(expires_at__lte=closing.expired_at)
    if holds.update(state=closing.state, closed_at=closing.at, closed_by=closing.by) == len(ids):
        return set(ids)
    return set(Hold.objects.filter(id__in=ids, closed_by=closing.by).values_list("id", flat=True))


def move_wallets(moves: Sequence[Move], chain: Chain) -> dict[UUID, Standing]:
    moved = [move for move in moves if move_wallet(move)]
    return standings({move.wallet_id: move.entries for move in moved})


def close_and_move(closings: Closings, moves: Sequence[Move], chain: Chain) -> tuple[int, dict[UUID, Standing]]:
    return sum(len(close_holds(ids, closing)) for closing, ids in closings), move_wallets(moves, chain)


reserves_at_once = False


def reserve(
    moves: Sequence[Move], holds: Sequence[NewRow], counts: Sequence[Count] = ()
) -> Mapping[UUID, int | None] | None:
    raise NotImplementedError  # see `reserves_at_once`


def available(ids: Sequence[UUID]) -> dict[UUID, int]:
    return dict(Wallet.objects.filter(pk__in=ids).values_list("pk", "available"))


def move_wallet(move: Move) -> bool:
    """The guard of the ledger: one conditional UPDATE, whose row count says whether the wallet moved."""
    wallet = Wallet.objects.filter(pk=move.wallet_id, available__gte=move.needs, held__gte=move.closes)
    if move.gains:  # engines differ in what they do with a sum beyond 64 bits; none of it is right
        wallet = wallet.filter(available__lte=LARGEST - move.gains - F("held"))
    return bool(
        wallet.update(
            available=F("available") + move.available,
            held=F("held") + move.held,
            sequence=F("sequence") + move.entries,
        )
    )


def standings(entries: dict[UUID, int]) -> dict[UUID, Standing]:
    """The standings of wallets that this transaction has moved; `entries` says how many entries each is to get."""
    if not entries:
        return {}
    found = {
        pk: Standing(available, held, sequence, None)
        for pk, available, held, sequence in Wallet.objects.filter(pk__in=entries).values_list(
            "pk", "available", "held", "sequence"
        )
    }
    return with_digests(found, entries)


def with_digests(found: dict[UUID, Standing], entries: dict[UUID, int]) -> dict[UUID, Standing]:
    """The standings with the missing digests filled in, for the wallets that are to get entries."""
    missing = {pk: standing.sequence - entries[pk] for pk, standing in found.items() if standing.digest is None}
    wanted = Q()
    for pk, sequence in missing.items():
        if sequence and entries[pk]:
            wanted |= Q(wallet_id=pk, sequence=sequence)
    known = dict(LedgerEntry.objects.filter(wanted).values_list("wallet_id", "digest")) if wanted else {}
    return found | {pk: found[pk]._replace(digest=known.get(pk, "")) for pk in missing}
