"""How every chat is made: choose candidates, reserve credits, ask one provider after another, settle.

`generate` passes each event to a sink as it comes and returns the last: `Completed` or `Failed`, so that no stream just
ends. When `generate` raises, nothing was charged; when it is cancelled (the client left), what was delivered is settled.
While a sink waits, nothing more is read from the provider. `docs/FAULTS.md` has the table of outcomes and their price.
"""

import asyncio
import logging
from collections.abc import Collection
from time import monotonic

from django.conf import settings

from aichat.catalog import routing, snapshot
from aichat.catalog.snapshot import ModelInfo
from aichat.core.background import lifecycle
from aichat.core.telemetry import spans
from aichat.generation import key_ring, prompt_cache
from aichat.generation.candidates import choose, require_features
from aichat.generation.charging.bill import Bill
from aichat.generation.charging.settlement import Attempt
from aichat.generation.circuit_breaker import Breaker, BreakerReading
from aichat.generation.deadlines import AttemptTimeouts
from aichat.generation.errors import AllLeftAlone, as_api_error
from aichat.generation.fallback import error_to_tell, falls_back, may_do_better
from aichat.generation.prompt_cache import Hit, Keeping
from aichat.generation.request import (
    Completed,
    Ending,
    EventSink,
    Failed,
    GenerationRequest,
    Result,
    Started,
)
from aichat.generation.spans import begin_attempt, end_attempt
from aichat.promptcache.single_flight import Confirm, confirmed
from aichat.providers.base import Accepted, ChatRequest, Delta, Part, in_dialects_of
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.registry import chat_adapter

logger = logging.getLogger(__name__)
NO_ANSWER = {AttemptOutcome.BLOCKED, AttemptOutcome.EMPTY}  # for which nobody pays


async def complete(request: GenerationRequest) -> Result:
    """Generate the whole answer. Raises `ApiError`."""
    end = await generate(request)
    if isinstance(end, Failed):
        raise end.error
    return end.result


async def generate(
    request: GenerationRequest, sink: EventSink | None = None, *, confirm: Confirm = confirmed
) -> Ending:
    """Generate the answer to a chat: pass its events to `sink`, if there is one, and return the last of them.

    Raises `ApiError` when there is no answer; then `sink` was told nothing. Feature flags must be ready. `confirm` is awaited
    before anything is spent or shown, and raises when the caller may not go on.
    """
    deadline = monotonic() + settings.CHAT_TOTAL_TIMEOUT
    require_features(request)
    catalog = await snapshot.ready()
    candidates = choose(request, catalog)
    reading = BreakerReading(candidates)  # in one round trip with the look into the prompt cache
    found = await prompt_cache.look(request, candidates, catalog, deadline, confirm)
    if isinstance(found, Hit):
        return await found.serve(request, sink)
    try:
        await confirm()
        breakers = await reading.breakers()
        if not [breaker for breaker in breakers if breaker.is_callable]:
            raise AllLeftAlone(min(breaker.wait for breaker in breakers))
        bill, asked = Bill(request), monotonic()
        await bill.reserve(candidates)
        deadline += monotonic() - asked  # no provider is to be blamed for the time of our own database
        run = Run(bill, list(zip(candidates, breakers, strict=True)), deadline, found, sink)
        return found.ended(await run.work(), is_stream=sink is not None)
    finally:
        found.close()


class Run:
    """One chat on its way through the candidates."""

    def __init__(
        self,
        bill: Bill,
        candidates: list[tuple[ModelInfo, Breaker]],
        deadline: float,
        keeping: Keeping,
        sink: EventSink | None,
    ) -> None:
        self.request, self.bill, self.result = bill.request, bill, bill.result
        self.candidates = candidates
        self.deadline = deadline
        self.keeping, self.sink = keeping, sink
        # Whether the client itself chose the first candidate.
        self.is_first_named = self.request.model != routing.AUTO and not self.request.treatment.model
        self.result.cache = keeping.word

    async def work(self) -> Ending:
        """Answer and settle. Raises `ApiError` when there is no answer."""
        try:
            await self.answer()
            await self.bill.whole()
        except ProviderError as error:
            problem = as_api_error(error)
            if self.result.is_empty:
                await self.bill.nothing()
                raise problem from error
            if error.outcome in NO_ANSWER and not self.result.has_answer:
                await self.bill.nothing()  # the client has read thoughts alone
            else:
                await self.bill.part(problem)
            return Failed(problem, self.result)
        except asyncio.CancelledError:
            if (reason := lifecycle.cancellation_reason()) and not self.result.is_empty:
                await self.bill.part(reason)
                return Failed(reason, self.result)
            await self.bill.abandoned()
            raise
        except BaseException:
            # A defect of ours must not keep the user's credits until the hold expires.
            await self.bill.nothing()
            raise
        return Completed(self.result)

    async def answer(self) -> None:
        """Take the answer of the first candidate that gives one. Raises the `ProviderError` that tells most."""
        errors: list[ProviderError] = []
        failed: ModelInfo | None = None
        for number, (model, circuit) in enumerate(self.candidates, start=1):
            if monotonic() >= self.deadline:
                break
            if errors and failed and not may_do_better(model, errors[-1], failed):
                continue
            if not await circuit.admits():
                continue
            attempt = Attempt(model, number, started=monotonic())
            self.bill.attempts.append(attempt)
            attempt.span = begin_attempt(model, number, self.request) if spans.enabled else None
            try:
                with spans.inside(attempt.span) if spans.enabled else spans.NO_STEP:
                    await self.ask(attempt)
                circuit.succeeded()
                return
            except ProviderError as error:
                await self.note_failure(attempt, circuit, error)
                if not self.result.is_empty:
                    raise
                errors.append(error)
                if not falls_back(error, is_named=self.is_first_named and number == 1, reasons=self.fallback_reasons):
                    break
                failed = model
            except BaseException:
                circuit.left()
                raise
        if errors:
            raise error_to_tell(errors)
        raise AllLeftAlone(min(circuit.wait for _, circuit in self.candidates))

    @property
    def fallback_reasons(self) -> Collection[str]:
        """The reasons that fall back on this route: the named model's own, else FALLBACK_ON."""
        first, _ = self.candidates[0]
        own = first.fallback_on if first.slug == self.request.model else ()
        return own or settings.FALLBACK_ON

    async def note_failure(self, attempt: Attempt, circuit: Breaker, error: ProviderError) -> None:
        attempt.status = error.outcome
        if attempt.accepted:
            self.bill.meter(attempt)
        if self.result.is_empty:
            end_attempt(attempt)  # one that gave a part of the answer ends with its bill
        facts = {"model": attempt.model.slug, "provider": attempt.model.provider.slug, "outcome": error.outcome.value}
        # Not the provider's own words, which may quote the prompt or a key; why there is no connection, we say ourselves.
        if error.outcome is AttemptOutcome.UNREACHABLE:
            facts["reason"] = str(error)
        logger.warning("%(provider)s failed: %(outcome)s", facts, extra=facts)
        if error.is_blameless:
            circuit.left()
        elif error.outcome.is_retryable:
            await circuit.failed(error)
        else:
            circuit.succeeded()  # it refused, so it is there

    async def ask(self, attempt: Attempt) -> None:
        """Ask one candidate. Raises `ProviderError` unless its answer is complete."""
        model, result = attempt.model, self.result
        provider, adapter = model.provider, chat_adapter(model.provider.kind)
        messages, parameters = in_dialects_of(provider.kind, self.request.messages, self.request.sampling)
        request = ChatRequest(
            model=model.upstream_name,
            messages=messages,
            max_tokens=self.bill.max_tokens(model),
            stream=self.request.stream,
            parameters=parameters,
            request_id=self.request.request_id,
            report=attempt.report,
            may_drop=not (self.is_first_named and attempt.number == 1),
        )

        async def take(part: Part) -> None:
            if isinstance(part, Accepted):
                attempt.accepted = True
                result.dropped_parameters = (*self.request.left_out, *part.dropped)
                return
            is_answer = part.is_answer
            if not is_answer and part.is_empty:
                watch.note_life()
                return
            watch.is_resting = True  # while the piece is handed to the reader
            await self.deliver(attempt, part)
            watch.go_on(is_answer=is_answer)

        async with AttemptTimeouts(stream=self.request.stream, deadline=self.deadline) as watch:
            if provider.keys:
                finished = await key_ring.ask(
                    provider,
                    lambda endpoint: adapter.chat(request, endpoint, take),
                    is_begun=lambda: attempt.accepted,
                )
            else:
                finished = await adapter.chat(request, provider.endpoint, take)
        result.finish_reason, attempt.is_finished = finished.reason, True
        result.is_finish_known, result.stop_sequence = finished.is_known, finished.stop_sequence
        if not result.has_answer and finished.reason != "length":
            result.finish_reason = None
            raise no_answer(finished.reason)
        if result.is_empty:  # every token went into thinking: an answer without a word, which is the client's choice
            await self.deliver(attempt, Delta())

    async def deliver(self, attempt: Attempt, delta: Delta) -> None:
        """Add a piece to the answer, and pass it to the sink."""
        result, sink = self.result, self.sink
        if not result.is_begun:
            attempt.first_token_at, result.is_begun = monotonic(), True
            result.model, result.provider = attempt.model.slug, attempt.model.provider.slug
            result.fallback = attempt.number > 1
            if sink is not None:
                await sink(Started(result))
        result.add(delta)
        flight = self.keeping.flight
        if flight is not None:
            self.keeping.pieces.append(delta)
        if sink is None:
            return
        if flight is not None:
            flight.reader_since = monotonic()
        await sink(delta)
        if flight is not None:
            flight.reader_since = None


def no_answer(reason: str) -> ProviderError:
    """The error for a success without content: filtered, or empty for no reason."""
    return ProviderError(AttemptOutcome.BLOCKED if reason == "content_filter" else AttemptOutcome.EMPTY)
