"""The ledger's statements for PostgreSQL. Each takes its list as one parameter, so one plan serves every length."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from django.db import DataError

from aichat.core.database.statements import NewRow, Statement, insert_text, recordset, rows_as_recordsets
from aichat.core.money import LARGEST
from credits.engines.base import Chain, Closing, Closings, Count, Move, Standing
from credits.engines.portable import with_digests
from credits.models import Hold

reserves_at_once = True

# "IS TRUE" has PostgreSQL find the rows by their key. The index on the state still has the dead entries of many holds that
# were open once.
CLOSE = """
UPDATE credits_hold SET state = %s, closed_at = %s, closed_by = %s
WHERE _id = ANY(%s::uuid[]) AND (state = 'OPEN') IS TRUE {expired} RETURNING _id
"""
CLOSE_ALL = Statement(CLOSE.format(expired=""))
CLOSE_EXPIRED = Statement(CLOSE.format(expired="AND expires_at <= %s"))

# An UPDATE that waited for a lock sees the row as it was committed meanwhile; its sub-selects do not. Then the digest is
# NULL, and a second statement reads it. The sub-select asks for the last entry up to a sequence, because only one index
# serves that: for an equality the planner of a table without statistics may take another and read all entries of a wallet.
MOVED = """
UPDATE credits_wallet AS wallet
SET available = wallet.available + moves.available, held = wallet.held + moves.held,
    sequence = wallet.sequence + moves.entries
FROM {source}
WHERE wallet._id = moves.wallet_id AND wallet.available >= moves.needs AND wallet.held >= moves.closes
    AND (moves.gains = 0 OR wallet.available + wallet.held <= {largest} - moves.gains)
RETURNING moves.position, wallet.available, wallet.held, wallet.sequence, CASE WHEN moves.entries > 0 THEN (
    SELECT CASE WHEN entry.sequence = wallet.sequence - moves.entries THEN entry.digest END
    FROM credits_ledgerentry AS entry
    WHERE entry.wallet_id = wallet._id AND entry.sequence <= wallet.sequence - moves.entries
    ORDER BY entry.sequence DESC LIMIT 1
) END
"""
COLUMNS = (*Move._fields, "position")
ASKED = "json_to_recordset(%s::json) AS moves(wallet_id uuid, {numbers}, position int)".format(
    numbers=", ".join(f"{name} bigint" for name in Move._fields[1:])
)
MOVE_ONE = Statement(MOVED.format(source=ASKED, largest=LARGEST))
# UPDATE would lock in any order: two batches with the same wallets could wait for each other.
MOVE_MANY = Statement(
    f"""
WITH moves AS MATERIALIZED (SELECT * FROM {ASKED}),
locked AS MATERIALIZED (
    SELECT _id FROM credits_wallet WHERE _id IN (SELECT wallet_id FROM moves) ORDER BY _id FOR NO KEY UPDATE
)
"""
    + MOVED.format(source="moves JOIN locked ON locked._id = moves.wallet_id", largest=LARGEST)
)

# One statement moves the wallets and inserts the holds of those that moved: `moved` answers for both.
RESERVE = f"""
WITH moves AS MATERIALIZED (SELECT * FROM {ASKED}),
locked AS MATERIALIZED (
    SELECT _id FROM credits_wallet WHERE _id IN (SELECT wallet_id FROM moves) ORDER BY _id FOR NO KEY UPDATE
),
moved AS (
    UPDATE credits_wallet AS wallet
    SET available = wallet.available + moves.available, held = wallet.held + moves.held
    FROM moves JOIN locked ON locked._id = moves.wallet_id
    WHERE wallet._id = moves.wallet_id AND wallet.available >= moves.needs
    RETURNING wallet._id, wallet.available
),
made AS (
    {{insert}} WHERE new.wallet_id IN (SELECT _id FROM moved)
)
"""
MOVED_ONES = "SELECT _id, available FROM moved"
# A list whose spending is counted is done as a whole or not at all: a wallet or counter that did not move divides by zero,
# and the error undoes the transaction.
ALL_OR_NOTHING = """
SELECT moves.wallet_id, moved.available, 1 / (moved._id IS NOT NULL)::int
FROM moves LEFT JOIN moved ON moved._id = moves.wallet_id
"""
COUNT = Statement("""
WITH asked AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS asked(counter_id uuid, starts date, amount bigint, most bigint)
),
locked AS MATERIALIZED (
    SELECT _id FROM credits_spendcounter WHERE _id IN (SELECT counter_id FROM asked) ORDER BY _id FOR NO KEY UPDATE
),
counted AS (
    UPDATE credits_spendcounter AS counter SET spent = counter.spent + asked.amount
    FROM asked JOIN locked ON locked._id = asked.counter_id
    WHERE counter._id = asked.counter_id AND counter.starts = asked.starts
        AND counter.spent <= asked.most - asked.amount
    RETURNING counter._id
)
SELECT 1 / (count(*) = (SELECT count(*) FROM asked))::int FROM counted
""")
DIVISION_BY_ZERO = "22012"


@cache
def _reserving(ending: str) -> Statement:
    return Statement(RESERVE.format(insert=insert_text(Hold)) + ending)


AVAILABLE = Statement("SELECT _id, available FROM credits_wallet WHERE _id = ANY(%s::uuid[])")


def close_holds(ids: Sequence[UUID], closing: Closing) -> set[UUID]:
    statement, values = _closing(ids, closing)
    return {id_ for (id_,) in statement(values)}


def move_wallets(moves: Sequence[Move], chain: Chain) -> dict[UUID, Standing]:
    statement, values = _moving(moves)
    return _standings(moves, statement(values))


def close_and_move(closings: Closings, moves: Sequence[Move], chain: Chain) -> tuple[int, dict[UUID, Standing]]:
    asked = [_closing(ids, closing) for closing, ids in closings]
    *closed, moved = Statement.together([*asked, _moving(moves)])
    return sum(map(len, closed)), _standings(moves, moved)


def reserve(
    moves: Sequence[Move], holds: Sequence[NewRow], counts: Sequence[Count] = ()
) -> Mapping[UUID, int | None] | None:
    asked = recordset(COLUMNS, [(*move, position) for position, move in enumerate(moves)])
    values = [asked, *rows_as_recordsets(holds)]
    if not counts:
        [moved] = Statement.committed([(_reserving(MOVED_ONES), values)], durable=False)
        return dict(moved)
    counting = COUNT, [recordset(Count._fields, counts)]
    try:
        _, moved = Statement.committed([counting, (_reserving(ALL_OR_NOTHING), values)], durable=False)
    except DataError as error:
        if getattr(error.__cause__, "sqlstate", None) != DIVISION_BY_ZERO:
            raise
        return None
    return {wallet_id: free for wallet_id, free, _ in moved}


def available(ids: Sequence[UUID]) -> dict[UUID, int]:
    return dict(AVAILABLE([_array(ids)]))


def _array(ids: Sequence[UUID]) -> str:
    """The IDs as the text of a PostgreSQL array; psycopg needs 50 µs to adapt a list."""
    return "{" + ",".join(map(str, ids)) + "}"


def _closing(ids: Sequence[UUID], closing: Closing) -> tuple[Statement, list[Any]]:
    values = [closing.state, closing.at, closing.by, _array(ids)]
    return (CLOSE_ALL, values) if closing.expired_at is None else (CLOSE_EXPIRED, [*values, closing.expired_at])


def _moving(moves: Sequence[Move]) -> tuple[Statement, list[Any]]:
    asked = recordset(COLUMNS, [(*move, position) for position, move in enumerate(moves)])
    return (MOVE_ONE if len(moves) == 1 else MOVE_MANY), [asked]


def _standings(moves: Sequence[Move], moved: list[tuple[Any, ...]]) -> dict[UUID, Standing]:
    standings = {moves[position].wallet_id: Standing(*facts) for position, *facts in moved}
    return with_digests(standings, {move.wallet_id: move.entries for move in moves})
