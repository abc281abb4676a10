"""Makes everything but chats: chooses candidates, reserves credits, asks one provider after another, settles.

A call has one whole answer and no events. When `perform` raises, nothing was charged. A client that leaves does not stop
its call: the answer is finished, billed, and kept for its Idempotency-Key.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Generic, Literal, TypeVar

from django.conf import settings

from aichat.catalog import routing, snapshot
from aichat.catalog.models import AIModel
from aichat.catalog.snapshot import ModelInfo
from aichat.core.errors import InvalidRequest
from aichat.core.telemetry import spans
from aichat.generation import circuit_breaker, reporting
from aichat.generation.candidates import require_features
from aichat.generation.charging import plausibility
from aichat.generation.charging.bill import OK, Bill
from aichat.generation.charging.settlement import Attempt
from aichat.generation.circuit_breaker import Breaker
from aichat.generation.errors import AllLeftAlone, as_api_error
from aichat.generation.request import Completed, Ending, EventSink, GenerationRequest
from aichat.generation.spans import begin_attempt, end_attempt
from aichat.providers.base import Usage
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.registry import single_call_adapters
from aichat.usage.models import UsageRecord
from credits.services import Unaffordable

logger = logging.getLogger(__name__)
A = TypeVar("A")


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleCall(Generic[A]):
    """The functions of one kind of call, each asked for a candidate.

    `ask` calls the candidate's provider, and returns the answer with the usage that the provider reported (None: none).
    `most` is the most that the call can use, for the hold. `count` is our own count, for answers without a usage.
    `possible` is the most that is believed of reported figures, where that is more than `most`. `obstacle` is the error
    that says why a candidate can't serve the call (None: it can).
    """

    ask: Callable[[ModelInfo], Awaitable[tuple[A, Usage | None]]]
    most: Callable[[ModelInfo], Usage]
    count: Callable[[ModelInfo, A], Usage]
    possible: Callable[[ModelInfo], Usage] | None = None
    obstacle: Callable[[ModelInfo], InvalidRequest | None] = lambda model: None
    # Whether the client has a part of the answer: then no other candidate is asked.
    is_begun: Callable[[], bool] = lambda: False
    # Is given the answer and its usage before the settlement.
    take: Callable[[A, Usage], None] = lambda answer, usage: None
    cache: Literal["miss", "bypass"] = "bypass"  # what the answer's header X-Cache says
    extra_charge: int = 0  # microcredits on top of the usage: for the part of the answer that was in the cache


class Performance(Generic[A]):
    """One call on its way through the candidates. `answer` is there once `perform` has completed."""

    def __init__(self, call: SingleCall[A]) -> None:
        self.call = call
        self.answer: A | None = None

    async def perform(self, request: GenerationRequest, sink: EventSink | None) -> Ending:
        """Make the answer and settle it; a `Generate` of `aichat/generation/request.py`. Raises `ApiError`."""
        deadline = monotonic() + settings.CHAT_TOTAL_TIMEOUT
        require_features(request)
        candidates = able(await candidates_of(request), request, self.call)
        bill = Bill(request)
        breakers = await circuit_breaker.look(candidates)
        if all(item.state == circuit_breaker.OPEN for item in breakers):
            raise AllLeftAlone(min(item.wait for item in breakers))
        started = monotonic()
        await self.reserve(bill, candidates)
        deadline += monotonic() - started
        try:
            attempt = await self.first_answer(bill, list(zip(candidates, breakers, strict=True)), deadline)
        except ProviderError as error:
            await bill.nothing()
            raise as_api_error(error) from error
        except BaseException:
            await bill.nothing()
            raise
        await self.settle(bill, attempt)
        return Completed(bill.result)

    async def reserve(self, bill: Bill, candidates: Sequence[ModelInfo]) -> None:
        """Hold the most the dearest candidate can cost; nothing is held for what is free. Raises `Unaffordable`."""
        most = max(model.rates.most(self.call.most(model)) for model in candidates if model.rates)
        most += self.call.extra_charge
        if not most:
            return
        try:
            await bill.reserve_exactly(most)
        except Unaffordable as error:
            reporting.refused(bill.request.caller, bill.request.model, error)
            raise

    async def first_answer(
        self, bill: Bill, candidates: Sequence[tuple[ModelInfo, Breaker]], deadline: float
    ) -> Attempt:
        """The attempt of the first candidate that answers. Raises the `ProviderError` of the last one."""
        last: ProviderError | None = None
        for number, (model, breaker) in enumerate(candidates, start=1):
            left = deadline - monotonic()
            if left <= 0:
                break
            if not await breaker.admits():
                continue
            attempt = Attempt(model, number, started=monotonic())
            bill.attempts.append(attempt)
            attempt.span = begin_attempt(model, number, bill.request) if spans.enabled else None
            try:
                with spans.inside(attempt.span):
                    await self.ask(attempt, min(left, settings.CHAT_ATTEMPT_TIMEOUT))
                breaker.succeeded()
                return attempt
            except ProviderError as error:
                attempt.status, last = error.outcome, error
                end_attempt(attempt)
                facts = {"model": model.slug, "provider": model.provider.slug, "outcome": error.outcome.value}
                logger.warning("%(provider)s failed: %(outcome)s", facts, extra=facts)
                if error.is_blameless:
                    breaker.left()
                elif error.outcome.is_retryable:
                    await breaker.failed(error)
                else:
                    breaker.succeeded()  # it refused, so it is there
                    raise
                if self.call.is_begun():
                    raise
            except BaseException:
                breaker.left()
                raise
        raise last or AllLeftAlone(min(breaker.wait for _, breaker in candidates))

    async def ask(self, attempt: Attempt, seconds: float) -> None:
        """Ask one candidate for at most `seconds`, and decide what it used. Raises `ProviderError`."""
        model = attempt.model
        try:
            async with asyncio.timeout(seconds):
                self.answer, reported = await self.call.ask(model)
        except TimeoutError:
            raise ProviderError(AttemptOutcome.TIMEOUT_ATTEMPT) from None
        attempt.accepted = True
        attempt.usage = reported
        doubted = implausible_figures(reported, (self.call.possible or self.call.most)(model)) if reported else {}
        if reported is None or doubted:
            attempt.usage = self.call.count(model, self.answer)
            attempt.source = UsageRecord.Source.IMPLAUSIBLE if doubted else UsageRecord.Source.ESTIMATED
            attempt.reported = doubted or None
        assert attempt.usage is not None
        self.call.take(self.answer, attempt.usage)

    async def settle(self, bill: Bill, attempt: Attempt) -> None:
        """Charge the attempt that answered."""
        result, rates = bill.result, attempt.model.rates
        assert attempt.usage is not None and rates is not None
        attempt.status = OK
        result.model, result.provider = attempt.model.slug, attempt.model.provider.slug
        result.fallback = attempt.number > 1
        result.usage, result.usage_source, result.cache = attempt.usage, attempt.source, self.call.cache
        await bill.commit(charge=rates.charge(attempt.usage) + self.call.extra_charge, delivered=True)


def implausible_figures(reported: Usage, most: Usage) -> dict[str, int]:
    """The figures of a provider that can't be true where `most` is possible: tokens, and milliseconds of audio."""
    figures = {
        "input": (reported.input_tokens, plausibility.tolerated(most.input_tokens)),
        "output": (reported.output_tokens, plausibility.tolerated(most.output_tokens)),
        "audio_ms": (reported.audio_ms, most.audio_ms),
    }
    return {name: count for name, (count, largest) in figures.items() if not 0 <= count <= largest}


async def candidates_of(request: GenerationRequest) -> list[ModelInfo]:
    """The models of the route. Fallbacks are those an operator gave a model. Raises `ApiError`."""
    catalog = await snapshot.ready()
    return routing.candidates(catalog, request.caller, request.model, AIModel.Kind(request.kind))


def able(candidates: Sequence[ModelInfo], request: GenerationRequest, call: SingleCall[A]) -> list[ModelInfo]:
    """The candidates that can serve the call.

    Under `auto` one candidate is left, the first that can serve the call, because a fallback would change the voice or the
    format. For embeddings only the first candidate counts: vectors of two models can't be compared. Raises
    `InvalidRequest` when no candidate can serve the call, or when the model that the client named can't.
    """
    adapters, is_auto = single_call_adapters(request.kind), request.model == routing.AUTO
    if is_auto and request.kind == AIModel.Kind.EMBEDDING:
        candidates = candidates[:1]
    first = candidates[0]
    found = [model for model in candidates if model.provider.kind in adapters and call.obstacle(model) is None]
    if not found or (not is_auto and found[0] is not first):
        if first.provider.kind not in adapters:
            raise InvalidRequest(f"{first.provider.slug} does no {request.kind}.", param="model")
        raise call.obstacle(first) or InvalidRequest("No model can do this.", param="model")
    return found[:1] if is_auto else found
