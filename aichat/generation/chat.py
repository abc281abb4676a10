"""THE way a chat is made: candidates, reserve, one provider after another, settle. Everything else only listens.

`generate` is an async generator of events. What raises before the first event has charged nothing; a stream ends with
`Completed` or `Failed`, never just so; closing the generator early (the client left) settles what was delivered.
`docs/FAULTS.md` has the table of outcomes and their price.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from time import monotonic

from django.conf import settings

from aichat.catalog import snapshot
from aichat.catalog.snapshot import Catalog, ModelInfo
from aichat.generation import breaker, caching
from aichat.generation.bill import Bill
from aichat.generation.breaker import Breaker
from aichat.generation.caching import Hit
from aichat.generation.call import Call, Completed, Event, Failed, Piece, Result, Started
from aichat.generation.candidates import choose
from aichat.generation.deadlines import bounded, chat_limits
from aichat.generation.failures import AllLeftAlone, as_api_error
from aichat.generation.features import require_features
from aichat.generation.settlement import Attempt
from aichat.providers.base import Accepted, ChatRequest, Delta, Finished, Part
from aichat.providers.errors import Outcome, ProviderError
from aichat.providers.registry import chat_adapter

logger = logging.getLogger(__name__)


async def complete(call: Call) -> Result:
    """The whole answer. Raises `ApiError`."""
    async with aclosing(generate(call)) as stream:
        async for event in stream:
            match event:
                case Completed(result):
                    return result
                case Failed(error):
                    raise error
    raise AssertionError("a generation ends with Completed or Failed")


async def generate(call: Call) -> AsyncGenerator[Event, None]:
    """The events of one chat. Raises `ApiError` before the first event when there will be no answer."""
    deadline = monotonic() + settings.CHAT_TOTAL_TIMEOUT
    await require_features(call)
    models = await catalog()
    candidates = choose(call, models)
    found = await caching.look(call, candidates, models, deadline)
    if isinstance(found, Hit):
        async with aclosing(found.events(call)) as stream:
            async for event in stream:
                yield event
        return
    with found as keeping:
        run = await begin(call, candidates, deadline)
        run.result.cache = keeping.word
        async with aclosing(run.events()) as stream:
            async for event in stream:
                keeping.note(event)
                yield event
                keeping.taken()


async def begin(call: Call, candidates: Sequence[ModelInfo], deadline: float) -> "Run":
    """Reserve what the answer can cost, unless every candidate is left alone. Raises `ApiError`."""
    breakers = await breaker.look(candidates)
    if all(item.state == breaker.OPEN for item in breakers):
        raise AllLeftAlone(min(item.wait for item in breakers))
    bill, asked = Bill(call), monotonic()
    await bill.reserve(candidates)
    waited = monotonic() - asked  # for our own database, of which no provider is to be blamed
    return Run(bill, list(zip(candidates, breakers, strict=True)), deadline + waited)


async def catalog() -> Catalog:
    return await snapshot.ready()


class Run:
    """One chat on its way through the candidates."""

    def __init__(self, bill: Bill, candidates: list[tuple[ModelInfo, Breaker]], deadline: float) -> None:
        self.call, self.bill, self.result = bill.call, bill, bill.result
        self.candidates = candidates
        self.limits = chat_limits()
        self.deadline = deadline

    async def events(self) -> AsyncGenerator[Event, None]:
        try:
            async with aclosing(self.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
            await self.bill.whole()
        except ProviderError as error:
            if self.result.is_empty:
                await self.bill.nothing()
                raise as_api_error(error) from error
            problem = as_api_error(error)
            await self.bill.part(problem)
            yield Failed(problem, self.result)
            return
        except (asyncio.CancelledError, GeneratorExit):
            await self.bill.abandoned()
            raise
        except BaseException:
            # A defect of ours must not keep the user's credits until the hold expires.
            await self.bill.nothing()
            raise
        yield Completed(self.result)

    async def pieces(self) -> AsyncGenerator[Event, None]:
        """The answer of the first candidate that gives one. Raises the `ProviderError` of the last that was tried."""
        last: ProviderError | None = None
        for number, (model, circuit) in enumerate(self.candidates, start=1):
            if monotonic() >= self.deadline:
                break
            if not await circuit.admits():
                continue
            attempt = Attempt(model, number, started=monotonic())
            self.bill.attempts.append(attempt)
            try:
                async with aclosing(self.answer(attempt)) as pieces:
                    async for piece in pieces:
                        yield piece
                circuit.succeeded()
                return
            except ProviderError as error:
                await self.note_failure(attempt, circuit, error)
                if not self.result.is_empty or not error.outcome.is_retryable:
                    raise
                last = error
            except BaseException:
                circuit.left()
                raise
        raise last or AllLeftAlone(min(circuit.wait for _, circuit in self.candidates))

    async def note_failure(self, attempt: Attempt, circuit: Breaker, error: ProviderError) -> None:
        attempt.status = error.outcome
        if attempt.accepted and attempt.usage is None:
            self.bill.estimate(attempt)
        facts = {"model": attempt.model.slug, "provider": attempt.model.provider.slug, "outcome": error.outcome.value}
        # Not the provider's own words, which may quote the prompt or a key; why there is no connection, we say ourselves.
        if error.outcome is Outcome.UNREACHABLE:
            facts["reason"] = str(error)
        logger.warning("%(provider)s failed: %(outcome)s", facts, extra=facts)
        if error.is_blameless:
            circuit.left()
        elif error.outcome.is_retryable:
            await circuit.failed(error)
        else:
            circuit.succeeded()  # it refused, so it is there

    async def answer(self, attempt: Attempt) -> AsyncGenerator[Event, None]:
        """The events of one candidate's answer. Raises `ProviderError` unless it came to its end."""
        model, result = attempt.model, self.result
        parts = bounded(self.upstream(model), stream=self.call.stream, limits=self.limits, deadline=self.deadline)
        async with aclosing(parts):
            async for part in parts:
                match part:
                    case Accepted():
                        attempt.accepted = True
                    case Delta(text, tool_calls) if text or tool_calls:
                        if result.is_empty:
                            attempt.first_token_at = monotonic()
                            result.model, result.provider = model.slug, model.provider.slug
                            result.fallback = attempt.number > 1
                            yield Started(result)
                        result.text += text
                        result.add_tool_calls(tool_calls)
                        yield Piece(text, tool_calls)
                    case Finished(reason, usage):
                        result.finish_reason, attempt.usage = reason, usage
        if result.finish_reason is None:
            raise ProviderError(Outcome.BROKEN_STREAM)
        if result.is_empty:
            reason, result.finish_reason = result.finish_reason, None
            raise no_answer(reason)

    def upstream(self, model: ModelInfo) -> AsyncGenerator[Part, None]:
        request = ChatRequest(
            model=model.upstream_name,
            messages=self.call.messages,
            max_tokens=self.bill.max_tokens(model),
            stream=self.call.stream,
            parameters=self.call.sampling,
            request_id=self.call.request_id,
        )
        return chat_adapter(model.provider.kind).chat(request, model.provider.endpoint)


def no_answer(reason: str) -> ProviderError:
    """A success without content: refused by a safety filter, all its tokens spent on thinking, or empty for no reason."""
    if reason == "content_filter":
        return ProviderError(Outcome.BLOCKED)
    if reason == "length":
        # `max_tokens` is the client's choice: nobody else's breaker opens for it.
        return ProviderError(Outcome.EMPTY, "every token went into thinking: raise max_tokens", is_blameless=True)
    return ProviderError(Outcome.EMPTY)
