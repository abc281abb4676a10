"""The ledger's statements for PostgreSQL. Each takes its list as one parameter, so one plan serves every length."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from aichat.core.database.statements import NewRow, Statement, insertions, recordset, table_of
from aichat.core.money import LARGEST
from credits.engines.base import Chain, Closing, Closings, Correction, Count, Move, Standing
from credits.engines.portable import reserve as reserve
from credits.engines.portable import reserves_at_once as reserves_at_once
from credits.engines.portable import with_digests
from credits.models import Hold, LedgerEntry, milliseconds

Statements: TypeAlias = "list[tuple[Statement, Sequence[Any]]]"

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
MOVED = f"""
UPDATE credits_wallet AS wallet
SET available = wallet.available + moves.available, held = wallet.held + moves.held,
    sequence = wallet.sequence + moves.entries
FROM {{source}}
WHERE wallet._id = moves.wallet_id AND wallet.available >= moves.needs AND wallet.held >= moves.closes
    AND (moves.gains = 0 OR wallet.available + wallet.held <= {LARGEST} - moves.gains)
RETURNING moves.position, wallet.available, wallet.held, wallet.sequence
"""
LAST_DIGEST = """
CASE WHEN moves.entries > 0 THEN (
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
MOVE_ONE = Statement(f"{MOVED.format(source=ASKED)}, {LAST_DIGEST}")
# UPDATE would lock in any order: two batches with the same wallets could wait for each other.
MOVE_MANY = Statement(
    f"""
WITH moves AS MATERIALIZED (SELECT * FROM {ASKED}),
locked AS MATERIALIZED (
    SELECT _id FROM credits_wallet WHERE _id IN (SELECT wallet_id FROM moves) ORDER BY _id FOR NO KEY UPDATE
)
"""
    + f"{MOVED.format(source='moves JOIN locked ON locked._id = moves.wallet_id')}, {LAST_DIGEST}"
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


# The statements of a settlement, in one transaction and one round trip. Whatever is not as presumed (a hold that is not open,
# a wallet that does not meet its guard) divides by zero, and the error undoes the transaction.
CLOSE_ALL_OPEN = Statement(f"""
WITH closed AS ({CLOSE.format(expired="")}) SELECT 1 / (count(*) = %s::bigint)::int FROM closed
""")
CORRECT = Statement("""
WITH asked AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS asked(counter_id uuid, starts date, change bigint)
),
locked AS MATERIALIZED (
    SELECT _id FROM credits_spendcounter WHERE _id IN (SELECT counter_id FROM asked) ORDER BY _id FOR NO KEY UPDATE
)
UPDATE credits_spendcounter AS counter SET spent = counter.spent + asked.change
FROM asked JOIN locked ON locked._id = asked.counter_id
WHERE counter._id = asked.counter_id AND counter.starts = asked.starts
""")
# A statement of its own: the next one sees the entries that were committed while this one waited for the locks.
LOCK = Statement("SELECT FROM credits_wallet WHERE _id IN (SELECT unnest(%s::uuid[])) ORDER BY _id FOR NO KEY UPDATE")
# `chain` numbers and chains the entries of each wallet as `credits.models.digest` does. A digest that can't be known is
# NULL, which the table refuses.
SETTLE = f"""
WITH RECURSIVE moves AS MATERIALIZED (SELECT * FROM {ASKED}),
moved AS (
{MOVED.format(source="moves")}, wallet._id, moves.entries, moves.available + moves.held AS change, {LAST_DIGEST} AS digest
),
new AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%s::json) AS new({{typed}}, place int, milliseconds bigint)
),
chain AS (
    SELECT _id AS wallet_id, 0 AS place, sequence - entries AS sequence, available + held - change AS balance,
        CASE WHEN sequence = entries THEN '' ELSE digest END::text AS digest
    FROM moved WHERE entries > 0
    UNION ALL
    SELECT new.wallet_id, new.place, chain.sequence + 1, chain.balance + new.amount,
        encode(sha256(convert_to(
            chain.digest || '|' || chain.sequence + 1 || '|' || new.kind || '|' || new.amount || '|' || new.reference
            || '|' || new.milliseconds, 'UTF8'
        )), 'hex')
    FROM chain JOIN new ON new.wallet_id = chain.wallet_id AND new.place = chain.place + 1
),
made AS (
    INSERT INTO credits_ledgerentry ({{names}})
    SELECT {{values}} FROM new JOIN chain ON chain.wallet_id = new.wallet_id AND chain.place = new.place
)
SELECT moves.position, moved.available, moved.held, moved.sequence, 1 / (moved._id IS NOT NULL)::int
FROM moves LEFT JOIN moved ON moved._id = moves.wallet_id
"""
# A settlement of one hold and one entry, which most are while few people ask: no lists, which take twice the time. The
# wallet is found by the hold that was closed, so it is locked after the hold; without such a hold no wallet is moved.
CLOSE_AND_LOCK_ONE = Statement("""
WITH closed AS (
    UPDATE credits_hold SET state = %s, closed_at = %s, closed_by = %s WHERE _id = %s AND (state = 'OPEN') IS TRUE
    RETURNING wallet_id
)
SELECT FROM credits_wallet WHERE _id = (SELECT wallet_id FROM closed) FOR NO KEY UPDATE
""")
SETTLE_ONE = """
WITH new AS (SELECT * FROM json_to_record(%s::json) AS new({typed}, milliseconds bigint)),
moved AS (
    UPDATE credits_wallet AS wallet
    SET available = wallet.available + %s::bigint, held = wallet.held + %s::bigint, sequence = wallet.sequence + 1
    WHERE wallet._id = %s AND wallet.available >= %s::bigint AND wallet.held >= %s::bigint
        AND EXISTS (SELECT FROM credits_hold WHERE _id = %s AND closed_by = %s)
    RETURNING wallet._id, wallet.available, wallet.held, wallet.sequence, (
        SELECT CASE WHEN entry.sequence = wallet.sequence - 1 THEN entry.digest END
        FROM credits_ledgerentry AS entry
        WHERE entry.wallet_id = wallet._id AND entry.sequence <= wallet.sequence - 1
        ORDER BY entry.sequence DESC LIMIT 1
    ) AS digest
),
made AS (
    INSERT INTO credits_ledgerentry ({names}) SELECT {values} FROM new, moved
)
SELECT 0, moved.available, moved.held, moved.sequence, 1 / (moved._id IS NOT NULL)::int
FROM (VALUES (1)) AS one LEFT JOIN moved ON true
"""
CHAINED_ONE = {
    "sequence": "moved.sequence",
    "balance_after": "moved.available + moved.held",
    "digest": """encode(sha256(convert_to(
        CASE WHEN moved.sequence = 1 THEN '' ELSE moved.digest END || '|' || moved.sequence || '|' || new.kind || '|'
        || new.amount || '|' || new.reference || '|' || new.milliseconds, 'UTF8'
    )), 'hex')""",
}
RESERVE_ONE = """
WITH moved AS (
    UPDATE credits_wallet AS wallet SET available = wallet.available + %s::bigint, held = wallet.held + %s::bigint
    WHERE wallet._id = %s AND wallet.available >= %s::bigint
    RETURNING wallet._id, wallet.available
),
made AS (
    {insert} WHERE new.wallet_id IN (SELECT _id FROM moved)
)
SELECT _id, available FROM moved
"""
FREE = Statement("""
SELECT asked._id, wallet.available, 1 / (wallet._id IS NOT NULL)::int
FROM unnest(%s::uuid[]) AS asked(_id) LEFT JOIN credits_wallet AS wallet ON wallet._id = asked._id
""")
CHAINED = {"sequence": "chain.sequence", "balance_after": "chain.balance", "digest": "chain.digest"}


@cache
def _reserving(ending: str) -> Statement:
    return Statement(RESERVE.format(insert=table_of(Hold).insert.text) + ending)


@cache
def _reserving_one() -> Statement:
    return Statement(RESERVE_ONE.format(insert=table_of(Hold).insert.text))


@cache
def _settling(*, one: bool) -> Statement:
    """The statement that moves wallets and inserts their entries, numbered and chained: of one entry, or of any number."""
    table, (text, chained) = table_of(LedgerEntry), (SETTLE_ONE, CHAINED_ONE) if one else (SETTLE, CHAINED)
    values = ", ".join(chained.get(name, f'new."{name}"') for name in table.names)
    names = ", ".join(f'"{name}"' for name in table.names)
    return Statement(text.format(typed=table.typed, names=names, values=values))


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


def reservation(moves: Sequence[Move], holds: Sequence[NewRow], counts: Sequence[Count]) -> Statements:
    """A transaction that moves wallets and inserts the holds of the moved ones; with `counts` all of it or nothing.

    The rows of the last statement are the IDs of the moved wallets and their free microcredits.
    """
    [(_, hold_values)] = insertions(holds)
    if len(moves) == 1 and not counts:
        [one] = moves
        return [(_reserving_one(), [str(one.available), str(one.held), one.wallet_id, str(one.needs), *hold_values])]
    asked = recordset(COLUMNS, [(*move, position) for position, move in enumerate(moves)])
    if not counts:
        return [(_reserving(MOVED_ONES), [asked, *hold_values])]
    counting = COUNT, [recordset(Count._fields, counts)]
    return [counting, (_reserving(ALL_OR_NOTHING), [asked, *hold_values])]


def settlement(
    closings: Closings,
    corrections: Sequence[Correction],
    moves: Sequence[Move],
    entries: Sequence[tuple[int, LedgerEntry]],
) -> Statements:
    """A transaction that closes holds, corrects counters, moves wallets and chains their new entries: all or nothing.

    `entries` have their places in the order of their wallet, from 1. The last statement's rows are `Standing`s, each after
    the position of its move.
    """
    if len(moves) == len(entries) == len(closings) == 1 and len(closings[0][1]) == 1 and not corrections:
        return _settlement_of_one(*closings[0], moves[0], entries[0][1])
    statements: Statements = [
        (CLOSE_ALL_OPEN, [closing.state, closing.at, closing.by, _array(ids), str(len(ids))])
        for closing, ids in closings
    ]
    if corrections:
        statements.append((CORRECT, [recordset(Correction._fields, corrections)]))
    table = table_of(LedgerEntry)
    new = [(*table.values(vars(entry)), place, milliseconds(entry.created_at)) for place, entry in entries]
    asked = recordset(COLUMNS, [(*move, position) for position, move in enumerate(moves)])
    statements.append((LOCK, [_array([move.wallet_id for move in moves])]))
    statements.append((_settling(one=False), [asked, recordset((*table.names, "place", "milliseconds"), new)]))
    return statements


def _settlement_of_one(closing: Closing, ids: Sequence[UUID], move: Move, entry: LedgerEntry) -> Statements:
    [hold] = ids
    table = table_of(LedgerEntry)
    row = dict(zip(table.names, table.values(vars(entry)), strict=True))
    new = orjson.dumps({**row, "milliseconds": milliseconds(entry.created_at)}, default=str).decode()
    guard = [move.wallet_id, str(move.needs), str(move.closes), hold, closing.by]
    return [
        (CLOSE_AND_LOCK_ONE, [closing.state, closing.at, closing.by, hold]),
        (_settling(one=True), [new, str(move.available), str(move.held), *guard]),
    ]


def free_credits(ids: Sequence[UUID]) -> Statements:
    """A statement whose rows are wallet IDs and free microcredits; it fails when a wallet does not exist."""
    return [(FREE, [_array(ids)])]


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
