"""The settlement journal: what streams have delivered is written to disk before it is settled in the database.

A process may die while the database is away, or while its COMMIT is under way. Its streams were delivered all the same, so
the next start, or within `ORPHANS_SECONDS` another process of the host, settles them from the journal: once, because a hold
can be closed once. Answers that are not streams are not written down: they go out after their commit, and were not delivered
before. Streams with an Idempotency-Key are not written down either: their client's retry gets a new answer, and pays for it.

The journal holds amounts and usage records, no message.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings

from aichat.core.background import lifecycle
from aichat.core.background.journal import SUFFIX, Journal, orphan
from aichat.core.background.repeating import Repeating
from aichat.core.database import executor, transactions
from aichat.core.database.statements import NewRow
from aichat.core.database.statements.bulk_insert import Encoded
from aichat.generation.charging.group_commit import Unit, commit_each
from aichat.usage.models import UsageRecord
from credits.models import Counted, HoldRef
from credits.services import OperationResult, Settle, UnknownHold

logger = logging.getLogger(__name__)
ORPHANS_SECONDS = 5.0  # between two looks for the journals of processes that died
SYNC_SECONDS = 1.0  # a line that waits longer for its commit is written through to the disk

_journal: Journal | None = None
_syncing: asyncio.TimerHandle | None = None


def written(hold: HoldRef, charge: int, request_id: str, records: Sequence[Mapping[str, Any]]) -> Any:
    """Write down a settlement of `charge` microcredits. Returns what `committed` wants; None where nothing was written."""
    global _journal
    if settings.SETTLEMENT_JOURNAL is None:
        return None
    if _journal is None:
        _journal = Journal(settings.SETTLEMENT_JOURNAL)
    line = {"hold": hold, "charge": charge, "request_id": request_id, "records": records}
    token = _journal.write(orjson.dumps(line, default=_plain))
    _sync_later()
    return token


def committed(token: Any) -> None:
    """Say that a settlement that was `written` is in the database."""
    if _journal is not None:
        _journal.done(token)


def _plain(value: Any) -> Any:
    if isinstance(value, Encoded):
        return value.value
    return list(value) if isinstance(value, tuple) else str(value)


def _sync_later() -> None:
    """Sync lines to the disk that still wait in SYNC_SECONDS. While the database answers, no line waits so long."""
    global _syncing
    if _syncing is None:
        _syncing = asyncio.get_running_loop().call_later(SYNC_SECONDS, _sync)


def _sync() -> None:
    global _syncing
    _syncing = None
    if _journal is not None and _journal.waiting:
        asyncio.get_running_loop().run_in_executor(None, _journal.sync)


# --- Settling for processes that died ---------------------------------------------------------------------------------


def settle_orphans() -> int:
    """Settle what the journals of dead processes of this host say. Returns how many settlements were made."""
    folder: Path | None = settings.SETTLEMENT_JOURNAL
    settled = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")) if folder else ():
        try:
            with orphan(path) as lines:
                settled += sum(map(_settle, lines))
        except (BlockingIOError, FileNotFoundError):
            continue  # its process lives, or another process was quicker
    if settled:
        logger.warning("settled %d streams of a process that died, from its journal", settled)
    return settled


def _settle(line: bytes) -> bool:
    """Settle one line, unless its hold is closed already. Raises a `DatabaseError` while the database is away."""
    try:
        facts = orjson.loads(line)
        id_, wallet_id, amount, reference, counted = facts["hold"]
    except (ValueError, KeyError):
        logger.exception("a line of a settlement journal can't be read")
        return False
    limits = tuple(Counted(UUID(counter), date.fromisoformat(starts)) for counter, starts in counted)
    hold = HoldRef(UUID(id_), UUID(wallet_id), amount, reference, limits)
    # The outage that killed the process may have lost the reservation, which does not wait for the disk.
    operation = Settle(hold=hold, charge=facts["charge"], request_id=facts["request_id"], hold_may_be_lost=True)

    def write(result: OperationResult) -> Sequence[NewRow]:
        if not result.repeated:
            UsageRecord.objects.bulk_create(_records(facts["records"], result, hold))
        return ()

    (result,) = commit_each([Unit(operation=operation, write=write)])
    error = result if isinstance(result, Exception) else result.error
    if error is None:
        return isinstance(result, OperationResult) and not result.repeated
    if not isinstance(error, UnknownHold) and transactions.is_unavailable(error):
        raise error
    logger.error("a journaled settlement was refused: %r", error, extra={"hold": id_})
    return False


def _records(rows: Sequence[dict[str, Any]], result: OperationResult, hold: HoldRef) -> list[UsageRecord]:
    found = [UsageRecord(**{name: _column(name, value) for name, value in row.items()}) for row in rows]
    if found:
        last = found[-1]
        last.final, last.charged, last.shortfall = True, result.charged, result.shortfall
        last.hold_id, last.reference = hold.id, hold.reference if result.charged else ""
    return found


def _column(name: str, value: Any) -> Any:
    """A value of JSON as the usage record's column has it."""
    return next(field for field in UsageRecord._meta.concrete_fields if field.attname == name).to_python(value)


async def _look_for_orphans() -> None:
    await executor.run(settle_orphans)


loop = Repeating(
    "settling from the journals of dead processes",
    _look_for_orphans,
    every=lambda: ORPHANS_SECONDS,
    is_wanted=lambda: settings.SETTLEMENT_JOURNAL is not None,
)


@lifecycle.on_shutdown
async def _close() -> None:
    global _journal
    if _journal is not None:
        _journal.close()
        _journal = None
