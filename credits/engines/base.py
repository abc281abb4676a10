"""What the ledger asks of an engine, and what an engine answers. All amounts are integers in microcredits."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple, Protocol, TypeAlias
from uuid import UUID

from aichat.core.database.statements import NewRow


class Closing(NamedTuple):
    """The columns that closing writes into open holds. `by` is a token of this batch.

    With `expired_at` the closing applies only to holds whose time had run out by then.
    """

    state: str
    at: datetime
    by: UUID
    expired_at: datetime | None = None


Closings: TypeAlias = Sequence[tuple[Closing, Sequence[UUID]]]


class Move(NamedTuple):
    """The change that one list of operations makes to one wallet, and the guard: the least that must be there before."""

    wallet_id: UUID
    available: int  # change of what is available
    held: int  # change of what is held
    entries: int  # how many entries it writes
    needs: int  # at least so much must be available
    closes: int  # at least so much must be held
    gains: int  # credited; the balance must stay within LARGEST


class Count(NamedTuple):
    """The microcredits that one list of reservations counts in a spending counter, and the most it may then have."""

    counter_id: UUID
    starts: date  # the first day of the period that the counter must be in
    amount: int
    most: int


class Correction(NamedTuple):
    """The microcredits by which the settlements of one list change a spending counter, if it is in the period `starts`."""

    counter_id: UUID
    starts: date
    change: int


class Standing(NamedTuple):
    """A wallet after its move. `digest` is the last entry's before the move, "" without one, None if not known yet."""

    available: int
    held: int
    sequence: int
    digest: str | None


# Chains the new entries of one wallet, which then stands as said; returns the digest of the last one.
Chain: TypeAlias = Callable[[UUID, Standing], str]


class Engine(Protocol):
    """A module of this package. Its functions run in the caller's transaction and take locks in the order of the IDs."""

    def close_holds(self, ids: Sequence[UUID], closing: Closing) -> set[UUID]:
        """Close the holds that are open; return their IDs. `ids` are sorted, each once."""

    def move_wallets(self, moves: Sequence[Move], chain: Chain) -> dict[UUID, Standing]:
        """Move every wallet whose guard holds, by conditional statements; return the standings of the moved wallets.

        `moves` are sorted by wallet, one for each wallet, with numbers within 64 bits. An engine that keeps the last
        digest of a wallet beside it calls `chain` for each that moves and gets entries; the others leave that to the ledger.
        """

    def close_and_move(
        self, closings: Closings, moves: Sequence[Move], chain: Chain
    ) -> tuple[int, dict[UUID, Standing]]:
        """Close holds and move wallets, in one round trip where the database can.

        Returns how many holds were open and are closed now, and the standings of the moved wallets.
        """

    reserves_at_once: bool  # whether `reserve` exists for this database

    def reserve(
        self, moves: Sequence[Move], holds: Sequence[NewRow], counts: Sequence[Count] = ()
    ) -> Mapping[UUID, int | None] | None:
        """Move wallets and insert the holds of the moved ones, in a transaction of its own with few round trips.

        The commit does not wait for the disk. Returns the free microcredits of the moved wallets, None where they were
        not asked for. None for all when nothing was done: a wallet does not move, or a counter has no room, and the
        engine does all or nothing (each does with `counts` of spending limits).
        """

    def available(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Free microcredits by wallet ID. The statement locks nothing; wallets that don't exist are left out."""
