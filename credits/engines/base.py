"""What a database is asked in the hot statements of the ledger, and what it answers. Amounts are microcredits."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias
from uuid import UUID


class Closing(NamedTuple):
    """What becomes of open holds. `by` is a token of this batch; with `expired_at`, only of those past their time."""

    state: str
    at: datetime
    by: UUID
    expired_at: datetime | None = None


Closings: TypeAlias = Sequence[tuple[Closing, Sequence[UUID]]]


class Move(NamedTuple):
    """What one list of operations does to one wallet, and the guard: what must be there beforehand."""

    wallet_id: UUID
    available: int  # change of what is available
    held: int  # change of what is held
    entries: int  # how many entries it writes
    needs: int  # at least so much must be available
    closes: int  # at least so much must be held
    gains: int  # credited; the balance must stay within LARGEST


class Standing(NamedTuple):
    """A wallet after its move. `digest` is of the entry before this move's, "" for none, None when not known yet."""

    available: int
    held: int
    sequence: int
    digest: str | None


class Engine(Protocol):
    """A module of this package. All run inside the caller's transaction; locks are taken in the order of the IDs."""

    def close_holds(self, ids: Sequence[UUID], closing: Closing) -> set[UUID]:
        """Close those of the holds that are open; answers which. `ids` are sorted and differ."""

    def move_wallets(self, moves: Sequence[Move]) -> dict[UUID, Standing]:
        """Move every wallet whose guard holds, by one conditional statement each or all; answers these.

        `moves` are sorted, of different wallets, and within 64 bits.
        """

    def close_and_move(self, closings: Closings, moves: Sequence[Move]) -> tuple[int, dict[UUID, Standing]]:
        """Both, at once where the database can: how many holds were open and are closed, and the wallets that moved."""

    def available(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """What the wallets among `ids` have free; only a look."""
