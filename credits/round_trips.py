"""A chat's two commits as one round trip each, for a database that takes whole transactions (PostgreSQL).

A round trip presumes what nearly always holds: reservations are new, holds are open, wallets meet their guards. The database
checks all of it, and undoes the transaction where something is not so: then `credits.ledger` does the list in its phases.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from itertools import starmap
from typing import Any, Protocol
from uuid import UUID

from aichat.core.database.statements import NewRow, insertions
from aichat.core.money import LARGEST
from credits import guards, ledger
from credits.engines import postgresql
from credits.engines.base import Correction, Standing
from credits.models import LedgerEntry
from credits.operations import Operation, OperationResult, Reserve
from credits.planning import ClosingStep, move, step_of

Rows = list[tuple[Any, ...]]


class RoundTrip(Protocol):
    """The statements of one transaction, and what their rows mean. `durable`: its commit waits for the disk."""

    statements: postgresql.Statements
    durable: bool

    def results(self, answers: Sequence[Rows]) -> list[OperationResult | None]:
        """A result for each operation; None for one that was not done, because its wallet lacks the credits."""


class Reservations:
    """New reservations."""

    durable = False

    def __init__(self, operations: Sequence[Reserve]) -> None:
        """Raises `ValueError` when the operations can't be done at once."""
        plan = ledger.plan_reservations(operations)
        if plan is None or len(plan.moves) < len({step.wallet_id for step in plan.steps}):
            raise ValueError("Two amounts of one limit, or more credits than the product counts.")
        self.plan = plan
        self.statements = postgresql.reservation(plan.moves, plan.holds, plan.counts)

    def results(self, answers: Sequence[Rows]) -> list[OperationResult | None]:
        return self.plan.results({row[0]: row[1] for row in answers[-1]})


class Settlements:
    """Settlements and releases of open holds, and the rows that are inserted with them.

    Where an operation is None, its result gives the free credits of the wallet in the same place, if one is there.
    """

    durable = True

    def __init__(
        self, operations: Sequence[Operation | None], wallets: Sequence[UUID | None], rows: Sequence[NewRow]
    ) -> None:
        """Raises `ValueError` when the operations can't be done at once."""
        steps = [step_of(operation) for operation in operations if operation is not None]
        self.steps = [step for step in steps if isinstance(step, ClosingStep) and step.only_if_expired_at is None]
        self.operations, self.wallets = operations, wallets
        self.entries: dict[UUID, list[LedgerEntry]] = {}
        self.statements: postgresql.Statements = []
        if self.steps:
            self._close()
        self.closing = len(self.statements) - 1  # the place of the statement whose rows are the standings
        others = {wallet for operation, wallet in zip(operations, wallets, strict=True) if not operation and wallet}
        if others:
            self.statements += postgresql.free_credits(sorted(others))
        self.asking = len(self.statements) - 1 if others else None
        self.statements += insertions(rows)
        if len(self.steps) < len(steps) or not self.statements:
            raise ValueError("Other operations than to close holds, or nothing to do.")

    def _close(self) -> None:
        now = ledger.now_in_milliseconds()
        closings = guards.presume_open(self.steps, now)
        for step in self.steps:
            step.plan(now)
        by_wallet = ledger.steps_by_wallet(self.steps)
        self.moves = list(starmap(move, by_wallet))
        if any(max(one.needs, one.closes) > LARGEST for one in self.moves):
            raise ValueError("More credits than the product counts.")
        self.entries = {pk: [step.entry for step in of_wallet if step.entry] for pk, of_wallet in by_wallet}
        places = [(place, entry) for of_one in self.entries.values() for place, entry in enumerate(of_one, start=1)]
        self.statements += postgresql.settlement(closings, self._corrections(), self.moves, places)

    def _corrections(self) -> list[Correction]:
        """Return the change of each spending counter by the settlements, in the order in which counters are locked."""
        changes: dict[tuple[UUID, date], int] = defaultdict(int)
        for step in self.steps:
            for counter in step.hold.counted:
                changes[counter] += step.result.charged + step.held
        return [Correction(*counter, change) for counter, change in sorted(changes.items()) if change]

    def results(self, answers: Sequence[Rows]) -> list[OperationResult | None]:
        free: dict[UUID | None, int] = {}
        if self.steps:
            for position, available, held, sequence, _ in answers[self.closing]:
                wallet_id = self.moves[position].wallet_id
                ledger.number(self.entries[wallet_id], Standing(available, held, sequence, None))
                free[wallet_id] = available
        if self.asking is not None:
            free |= {row[0]: row[1] for row in answers[self.asking]}
        steps = iter(self.steps)
        results: list[OperationResult | None] = []
        for operation, wallet in zip(self.operations, self.wallets, strict=True):
            if operation is None:
                results.append(OperationResult(available=free.get(wallet, 0)))
            else:
                step = next(steps)
                step.result.available, step.result.entry = free[step.wallet_id], step.entry
                results.append(step.result)
        return results
