"""The ledger's statements for SQLite. Each takes its list as one JSON text.

SQLite runs one writing transaction at a time, so no statement here waits for a row.
"""

from collections.abc import Sequence
from uuid import UUID

import orjson
from django.db import connection

from aichat.core.database.statements import Statement
from aichat.core.money import LARGEST
from credits.engines.base import Chain, Closing, Closings, Move, Standing
from credits.engines.portable import reserve as reserve
from credits.engines.portable import reserves_at_once as reserves_at_once

OLDEST = (3, 38, 0)  # with RETURNING, UPDATE … FROM and ->>

# "+state" has SQLite find the rows by their key. By the index on the state it would go through all open holds.
CLOSE = """
UPDATE credits_hold SET state = %s, closed_at = %s, closed_by = %s
WHERE _id IN (SELECT value FROM json_each(%s)) AND +state = 'OPEN' {expired} RETURNING _id
"""
CLOSE_ALL = Statement(CLOSE.format(expired=""))
CLOSE_EXPIRED = Statement(CLOSE.format(expired="AND expires_at <= %s"))

# The digest of the newest entry comes with the same statement: no other transaction writes meanwhile.
MOVE = Statement(f"""
UPDATE credits_wallet
SET available = available + moves.gives, held = held + moves.holds, sequence = sequence + moves.entries
FROM (
    SELECT value ->> 0 AS wallet, value ->> 1 AS gives, value ->> 2 AS holds, value ->> 3 AS entries,
        value ->> 4 AS needs, value ->> 5 AS closes, value ->> 6 AS gains
    FROM json_each(%s)
) AS moves
WHERE _id = moves.wallet AND available >= moves.needs AND held >= moves.closes
    AND (moves.gains = 0 OR available + held <= {LARGEST} - moves.gains)
RETURNING _id, available, held, sequence, (
    SELECT digest FROM credits_ledgerentry AS entry
    WHERE entry.wallet_id = credits_wallet._id ORDER BY entry.sequence DESC LIMIT 1
)
""")

AVAILABLE = Statement("SELECT _id, available FROM credits_wallet WHERE _id IN (SELECT value FROM json_each(%s))")


def close_holds(ids: Sequence[UUID], closing: Closing) -> set[UUID]:
    stored = {id_.hex: id_ for id_ in ids}
    moment = connection.ops.adapt_datetimefield_value
    values = [closing.state, moment(closing.at), closing.by.hex, orjson.dumps(list(stored)).decode()]
    if closing.expired_at is not None:
        values.append(moment(closing.expired_at))
    close = CLOSE_ALL if closing.expired_at is None else CLOSE_EXPIRED
    return {stored[id_] for (id_,) in close(values)}


def move_wallets(moves: Sequence[Move], chain: Chain) -> dict[UUID, Standing]:
    stored = {move.wallet_id.hex: move for move in moves}
    asked = orjson.dumps([(id_, *move[1:]) for id_, move in stored.items()]).decode()
    return {
        stored[id_].wallet_id: Standing(available, held, sequence, digest or "")
        for id_, available, held, sequence, digest in MOVE([asked])
    }


def close_and_move(closings: Closings, moves: Sequence[Move], chain: Chain) -> tuple[int, dict[UUID, Standing]]:
    return sum([len(close_holds(ids, closing)) for closing, ids in closings]), move_wallets(moves, chain)


def available(ids: Sequence[UUID]) -> dict[UUID, int]:
    stored = {id_.hex: id_ for id_ in ids}
    return {stored[id_]: free for id_, free in AVAILABLE([orjson.dumps(list(stored)).decode()])}
