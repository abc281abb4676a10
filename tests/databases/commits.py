"""Commits of the ledger as requests make them: units submitted together, on an event loop of their own."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aichat.core.background import lifecycle
from aichat.core.database.statements import on_loop
from aichat.core.money import CREDIT
from aichat.generation.charging.group_commit import Unit, submit
from credits.services import Operation, Reserve, hold_expiry
from tests.conftest import Actor

LONGEST = 60  # seconds for the units of a test: one that is never answered fails its test, and does not hang it


def commit(*operations: Operation) -> list[Any]:
    """Submit the operations together; return their results or errors."""
    [results] = commit_in_turn(operations)
    return results


def commit_in_turn(*batches: Sequence[Operation]) -> list[list[Any]]:
    """Submit the operations of one batch after those of the other, on one event loop."""
    return commit_units(*[[Unit(operation=operation) for operation in operations] for operations in batches])


def commit_units(*batches: Sequence[Unit]) -> list[list[Any]]:
    """Submit the units of one batch after those of the other, on one event loop."""

    async def work() -> list[list[Any]]:
        found = []
        try:
            for units in batches:
                found.append(await asyncio.gather(*map(submit, units), return_exceptions=True))
        finally:
            while lifecycle._tasks:
                await asyncio.gather(*lifecycle._tasks)
            on_loop.close()
            await asyncio.sleep(0)
        return found

    return asyncio.run(asyncio.wait_for(work(), LONGEST))


def reserve(actor: Actor, credits: int) -> Reserve:
    return Reserve(wallet_id=actor.organization.pk, amount=credits * CREDIT, expires_at=hold_expiry())


def standing(actor: Actor) -> tuple[float, float]:
    """The credits that the actor has available and held."""
    return actor.wallet.available / CREDIT, actor.wallet.held / CREDIT
