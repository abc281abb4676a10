"""THE way a chat is made: candidates, reserve, one provider after another, settle. Everything else only listens.

`generate` is an async generator of events. What raises before the first event has charged nothing; a stream ends with
`Completed` or `Failed`, never just so; closing the generator early (the client left) settles what was delivered.
`docs/FEATURES.md` has the table of outcomes and their price.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from time import monotonic

from django.conf import settings

from aichat import db, events, lifecycle
from aichat.catalog import routing, snapshot
from aichat.catalog.snapshot import Catalog, ModelInfo
from aichat.errors import ApiError, InvalidRequest
from aichat.generation import tokens
from aichat.generation.call import Call, Completed, Event, Failed, Piece, Result, Started
from aichat.generation.deadlines import bounded, chat_limits
from aichat.generation.failures import as_api_error
from aichat.generation.features import require_features
from aichat.generation.settlement import Attempt, reserve, settle
from aichat.providers.base import Accepted, ChatRequest, Delta, Finished, Part, Usage
from aichat.providers.errors import Outcome, ProviderError
from aichat.providers.registry import chat_adapter
from aichat.usage.models import UsageRecord
from credits.models import HoldRef
from credits.services import InsufficientCreditsError, Release, apply

logger = logging.getLogger(__name__)

OK, PARTIAL, CANCELLED = "ok", "partial", "cancelled"


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
    await require_features(call)
    candidates = routing.candidates(await catalog(), call.model)
    run = Run(call, candidates)
    run.hold = await _reserve(call, run.most_it_can_cost())
    async with aclosing(run.events()) as stream:
        async for event in stream:
            yield event


async def catalog() -> Catalog:
    return snapshot.current() if snapshot.is_fresh() else await db.run(snapshot.current)


async def _reserve(call: Call, amount: int) -> HoldRef:
    reserving = lifecycle.spawn(db.run(reserve, call, amount))
    try:
        return await asyncio.shield(reserving)
    except asyncio.CancelledError:
        lifecycle.spawn(_give_back(reserving))
        raise
    except InsufficientCreditsError:
        events.emit("refused_for_credits", user=str(call.caller.user.pk), model=call.model)
        raise


async def _give_back(reserving: "asyncio.Task[HoldRef]") -> None:
    """The client left while its credits were being reserved."""
    with suppress(ApiError):  # there were not enough: nothing was taken
        await db.run(apply, [Release(hold=await reserving)])


class Run:
    """One chat on its way through the candidates."""

    hold: HoldRef

    def __init__(self, call: Call, candidates: list[ModelInfo]) -> None:
        self.call = call
        self.candidates = candidates
        self.result = Result(id=call.id, request_id=call.request_id)
        self.attempts: list[Attempt] = []
        self.settled = False
        self.input_estimate = tokens.estimate(call.messages)
        first = candidates[0]
        if call.max_tokens is not None and call.max_tokens > first.max_output_tokens:
            raise InvalidRequest(f"{first.slug} writes at most {first.max_output_tokens} tokens.", param="max_tokens")
        if self.input_estimate > first.context_window:
            raise InvalidRequest(
                f"{first.slug} reads at most {first.context_window} tokens; this is about {self.input_estimate}.",
                param="messages",
            )

    def max_tokens(self, model: ModelInfo) -> int:
        """The limit sent upstream, which is what the hold covers."""
        return min(self.call.max_tokens or settings.DEFAULT_MAX_TOKENS, model.max_output_tokens)

    def most_it_can_cost(self) -> int:
        """Microcredits to hold: the dearest candidate, its longest answer."""
        most_input = tokens.upper_bound(self.call.messages, self.call.parameters)
        return max(
            model.rates.charge(Usage(input_tokens=most_input, output_tokens=self.max_tokens(model)))
            for model in self.candidates
            if model.rates
        )

    async def events(self) -> AsyncGenerator[Event, None]:
        deadline = monotonic() + chat_limits().total
        try:
            for number, model in enumerate(self.candidates, start=1):
                attempt = Attempt(model, number, started=monotonic())
                self.attempts.append(attempt)
                try:
                    async with aclosing(self.attempt(attempt, deadline)) as pieces:
                        async for piece in pieces:
                            yield piece
                    break
                except ProviderError as error:
                    attempt.status = error.outcome
                    self.log_failure(attempt, error)
                    if not self.result.is_empty:
                        yield Failed(await self.settle_part(PARTIAL, error), self.result)
                        return
                    if number == len(self.candidates) or not error.outcome.is_retryable or monotonic() >= deadline:
                        await self.commit(charge=0, delivered=False)
                        raise as_api_error(error) from error
            await self.settle_whole()
        except (asyncio.CancelledError, GeneratorExit):
            await self.settle_abandoned()
            raise
        except ApiError:
            raise
        except BaseException:
            # A defect of ours must not keep the user's credits until the hold expires.
            await self.commit(charge=0, delivered=False)
            raise
        events.emit("chat_completed", user=str(self.call.caller.user.pk), model=self.result.model)
        yield Completed(self.result)

    async def attempt(self, attempt: Attempt, deadline: float) -> AsyncGenerator[Event, None]:
        """The events of one candidate's answer. Raises `ProviderError` unless it came to its end."""
        model, result = attempt.model, self.result
        parts = bounded(self.upstream(model), stream=self.call.stream, limits=chat_limits(), deadline=deadline)
        async with aclosing(parts):
            async for part in parts:
                match part:
                    case Accepted():
                        attempt.accepted = True
                    case Delta(text, tool_calls):
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
            blocked, result.finish_reason = result.finish_reason == "content_filter", None
            raise ProviderError(Outcome.BLOCKED if blocked else Outcome.EMPTY)

    def upstream(self, model: ModelInfo) -> AsyncGenerator[Part, None]:
        request = ChatRequest(
            model=model.upstream_name,
            messages=self.call.messages,
            max_tokens=self.max_tokens(model),
            stream=self.call.stream,
            parameters=self.call.parameters,
            request_id=self.call.request_id,
        )
        return chat_adapter(model.provider.kind).chat(request, model.provider.endpoint)

    def log_failure(self, attempt: Attempt, error: ProviderError) -> None:
        facts = {"model": attempt.model.slug, "provider": attempt.model.provider.slug, "outcome": error.outcome.value}
        # Not the provider's own words: they may quote the prompt or a key.
        logger.warning("%(provider)s failed: %(outcome)s", facts, extra=facts)

    # --- The bill -----------------------------------------------------------------------------------------------------

    async def settle_whole(self) -> None:
        attempt = self.attempts[-1]
        attempt.status = OK
        if attempt.usage is None:
            self.estimate_usage(attempt)
        await self.settle_delivered()

    async def settle_part(self, status: str, error: ProviderError) -> ApiError:
        """The answer broke off: what was delivered is paid. Answers the error for the client."""
        self.attempts[-1].status = status
        self.estimate_usage(self.attempts[-1])
        await self.settle_delivered()
        return as_api_error(error)

    async def settle_abandoned(self) -> None:
        """The client left: what was delivered is paid, or the input alone once a provider was at work on it."""
        if self.settled:
            return
        attempt = self.attempts[-1]
        attempt.status = CANCELLED
        if not self.result.is_empty or attempt.accepted:
            self.estimate_usage(attempt)
            await self.settle_delivered()
        else:
            await self.commit(charge=0, delivered=False)

    def estimate_usage(self, attempt: Attempt) -> None:
        output = len(self.result.text.encode()) + sum(
            len(call["function"]["name"]) + len(call["function"]["arguments"]) for call in self.result.tool_calls
        )
        attempt.usage = Usage(input_tokens=self.input_estimate, output_tokens=tokens.estimate_text(output))
        attempt.source = UsageRecord.Source.ESTIMATED

    async def settle_delivered(self) -> None:
        attempt = self.attempts[-1]
        assert attempt.usage is not None and attempt.model.rates is not None
        self.result.usage = attempt.usage
        await self.commit(charge=attempt.model.rates.charge(attempt.usage), delivered=not self.result.is_empty)

    async def commit(self, *, charge: int, delivered: bool) -> None:
        """The second commit, once; it goes on when the client leaves while it runs."""
        if self.settled:
            return
        self.settled = True
        result = self.result if delivered else None
        await lifecycle.finish(db.run(settle, self.call, self.hold, self.attempts, result, charge))
