"""Charges one chat to its user, exactly once, whatever becomes of the chat. `docs/FAULTS.md` has the table of outcomes."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress

from django.conf import settings
from django.db import DatabaseError

from aichat.catalog.snapshot import ModelInfo
from aichat.core.background import lifecycle
from aichat.core.database.outcomes import OutcomeUnknown
from aichat.core.errors import ApiError
from aichat.core.telemetry import spans
from aichat.generation import reporting
from aichat.generation.charging import group_commit, hold_renewal, journal, plausibility, tokens
from aichat.generation.charging.plausibility import Bounds
from aichat.generation.charging.sent import measured
from aichat.generation.charging.settlement import SETTLE_PATIENCE, Attempt, reservation, settlement
from aichat.generation.errors import ClientLeft
from aichat.generation.request import GenerationRequest, Result, store_nothing
from aichat.generation.spans import end_attempt
from aichat.idempotency.keys import IdempotencyInProgress
from aichat.providers.base import Usage
from credits.models import HoldRef
from credits.services import OperationResult, Release, Unaffordable, UnknownHold

logger = logging.getLogger(__name__)

GIVE_BACK_PAUSES = (0.0, 1.0, 4.0, 15.0)  # seconds before each look for a hold whose COMMIT got no answer
OK, PARTIAL, CANCELLED = "ok", "partial", "cancelled"


class Bill:
    """The bill of one chat: `reserve` opens it, and the first of `whole`, `part`, `abandoned` and `nothing` closes it."""

    hold: HoldRef | None = None  # None for a cached answer that costs nothing

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.result = Result(id=request.id, request_id=request.request_id)
        self.attempts: list[Attempt] = []
        self.settled = False

    async def reserve(self, candidates: Sequence[ModelInfo]) -> None:
        """Make the first commit: a hold for the longest answer, else for a useful shorter one. Raises `Unaffordable`."""
        try:
            try:
                self.hold = await self._reserve(self.most_it_can_cost(candidates))
            except Unaffordable as error:
                if not self.cap(candidates, error.affordable):
                    raise
                # Hold all that is left. Most texts have far fewer tokens than the bound of the input says.
                self.hold = await self._reserve(min(error.affordable, self.most_it_can_cost(candidates)))
        except Unaffordable as error:
            reporting.refused(self.request.caller, self.request.model, error)
            raise

    async def reserve_exactly(self, amount: int) -> None:
        """Make the first commit with a price in microcredits that is known beforehand. Raises `Unaffordable`."""
        self.hold = await self._reserve(amount)

    async def _reserve(self, amount: int) -> HoldRef:
        hold, unit = reservation(self.request, amount)
        reserving = group_commit.submit(unit, refusable=True)
        try:
            with spans.step("reserve") if spans.enabled else spans.NO_STEP:
                await lifecycle.shielded(reserving)
        except (asyncio.CancelledError, OutcomeUnknown):
            lifecycle.spawn(_give_back(hold, reserving))
            raise
        hold_renewal.begin(hold)
        return hold

    def max_tokens(self, model: ModelInfo) -> int:
        """The longest answer in tokens: the limit that is sent upstream and that the hold covers."""
        return min(self.result.max_tokens_capped or self.request.most_tokens, model.max_output_tokens)

    def likely_input(self, model: ModelInfo) -> int:
        """A number of input tokens that texts written by people hardly ever exceed."""
        sent = measured(self.request, model)
        return min(sent.most_tokens, 2 * tokens.estimate_input(sent.outgoing))

    def most_it_can_cost(self, candidates: Sequence[ModelInfo]) -> int:
        """The microcredits to hold: the price of the dearest candidate's longest answer."""
        costs = []
        for model in candidates:
            if model.rates:
                most = measured(self.request, model).most_tokens
                costs.append(model.rates.most(Usage(input_tokens=most, output_tokens=self.max_tokens(model))))
        return max(costs)

    def cap(self, candidates: Sequence[ModelInfo], affordable: int) -> bool:
        """Limit the answer's length to what `affordable` microcredits pay for besides the likely input.

        Returns False when so short an answer would be of no use (SHORTEST_CAPPED_ANSWER). A candidate whose longest answer
        is affordable does not shorten the answers of the others.
        """
        longest = needed = max(self.max_tokens(model) for model in candidates)
        for model in candidates:
            if model.rates:
                payable = model.rates.longest_output(self.likely_input(model), affordable)
                if payable < self.max_tokens(model):
                    longest = min(longest, payable)
        if longest == needed:
            return True
        if longest < settings.SHORTEST_CAPPED_ANSWER:
            return False
        self.result.max_tokens_capped = longest
        return True

    def whole(self) -> Awaitable[None]:
        """Charge an answer that came to its end: its reported usage, or our estimate where none was reported.

        Here and below the charge is done when the commit that is returned has been awaited.
        """
        attempt = self.attempts[-1]
        attempt.status = OK
        self.meter(attempt)
        return self.charge()

    def part(self, problem: ApiError) -> Awaitable[None]:
        """Charge what was delivered of an answer that broke off with `problem`."""
        attempt = self.attempts[-1]
        attempt.status, attempt.error = PARTIAL, problem
        self.meter(attempt)
        return self.charge()

    async def abandoned(self) -> None:
        """Charge a client that left for what was delivered, or for the input alone once a provider had accepted it."""
        if self.settled:
            return
        attempt = self.attempts[-1] if self.attempts else None
        if attempt is None or (attempt.status and self.result.is_empty):
            await self.nothing()  # between two candidates
            return
        attempt.status, attempt.error = CANCELLED, ClientLeft()
        if self.result.is_empty and not attempt.accepted:
            await self.nothing()
            return
        self.meter(attempt)
        await self.charge()

    def nothing(self) -> Awaitable[None]:
        """Release the hold of a chat that delivered nothing, and record what a provider may bill us as our cost."""
        return self.commit(charge=0, delivered=False)

    def charge(self) -> Awaitable[None]:
        """Charge what the last attempt used, at its model's rates."""
        attempt = self.attempts[-1]
        assert attempt.usage is not None and attempt.model.rates is not None
        self.result.usage, self.result.usage_source = attempt.usage, attempt.source
        return self.commit(charge=attempt.model.rates.charge(attempt.usage), delivered=not self.result.is_empty)

    def meter(self, attempt: Attempt) -> None:
        """Decide what the attempt used: by its provider's report, and where that is missing or impossible, by our count."""
        model = attempt.model
        sent = measured(self.request, model)
        metered = plausibility.meter(
            attempt.report,
            Bounds(sent.most_tokens, self.max_tokens(model)),
            is_whole=attempt.is_finished,
            count_input=lambda: tokens.estimate_input(sent.outgoing),
            count_output=self.estimate_output,
        )
        attempt.usage, attempt.source, attempt.reported = metered.usage, metered.source, metered.reported

    def estimate_output(self) -> int:
        """About how many tokens were delivered, the model's thinking included."""
        result = self.result
        written = [result.text, result.reasoning]
        for tool_call in result.tool_calls:
            written += tool_call[tool_call["type"]].values()
        return tokens.estimate_texts(written)

    async def commit(self, *, charge: int, delivered: bool) -> None:
        """Make the second commit, once. The commit goes on when the client leaves while it runs."""
        if self.settled:
            return
        self.settled = True
        if self.hold:
            hold_renewal.end(self.hold)
        if spans.enabled:
            for attempt in self.attempts:
                end_attempt(attempt, self.result if delivered else None)
        await lifecycle.finish(self.settle(charge, self.result if delivered else None))

    def write_down(self, unit: group_commit.Unit, charge: int) -> object:
        """Write a stream's charge into the settlement journal: what was delivered is paid even if this process dies."""
        request, hold = self.request, self.hold
        if hold is None or not charge or request.store_replay is not store_nothing:
            return None
        records = unit.write.records(OperationResult(charged=charge))  # type: ignore[attr-defined]
        return journal.written(hold, charge, request.request_id, records)

    async def settle(self, charge: int, result: Result | None) -> None:
        """Submit the settlement to group commit, and report it once it is committed."""
        try:
            try:
                unit = settlement(self.request, self.hold, self.attempts, result, charge)
                journaled = self.write_down(unit, charge) if self.request.stream else None
                with spans.step("settle") if spans.enabled else spans.NO_STEP:
                    settled = await group_commit.submit(unit)
                if journaled is not None:
                    journal.committed(journaled)
                reporting.chat_settled(self.request, self.attempts, settled.charged)
            except IdempotencyInProgress:
                # This attempt was taken for dead, and a later one has its key: what it made is not charged.
                await group_commit.submit(settlement(self.request, self.hold, self.attempts, None, 0))
                raise
        except IdempotencyInProgress:
            raise
        except Exception:
            hold = str(self.hold.id) if self.hold else None
            logger.error("a chat was not settled; its hold will expire", extra={"hold": hold})
            raise


async def _give_back(hold: HoldRef, reserving: "asyncio.Future[OperationResult]") -> None:
    """Release a hold that was made, or may have been: its client left, or the answer to its COMMIT was lost."""
    pauses: Sequence[float] = (0.0,)
    try:
        await reserving
    except OutcomeUnknown:
        pauses = GIVE_BACK_PAUSES
    except (ApiError, DatabaseError):
        return  # nothing was taken
    for pause in pauses:
        await asyncio.sleep(pause)
        with suppress(UnknownHold):  # it was not made, or its COMMIT is still under way in the database
            await group_commit.submit(group_commit.Unit(operation=Release(hold=hold), patience=SETTLE_PATIENCE))
            return
