"""The prompt cache around a chat: serve a stored answer, or make the answer and store it.

The cache stores only whole answers: none that was cut off or filtered. An answer of a fallback is stored under the
fallback's own route, never under the requested one. Streams and JSON answers share what is stored.
"""

import logging
import random
import time
from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING
from functools import partial
from typing import Literal

from django.conf import settings

from aichat.catalog import routing
from aichat.catalog.snapshot import Catalog, ModelInfo
from aichat.core.background import lifecycle
from aichat.core.telemetry import prometheus, tracing
from aichat.flags import evaluation
from aichat.flags.features import PROMPT_CACHE
from aichat.generation.charging.bill import OK, Bill
from aichat.generation.charging.settlement import Attempt
from aichat.generation.errors import ProviderTimeout
from aichat.generation.request import (
    Completed,
    Ending,
    EventSink,
    Freshness,
    GenerationRequest,
    Result,
    Started,
)
from aichat.promptcache import invalidation, single_flight, store
from aichat.promptcache.entry import Entry, Pieces, Unreadable
from aichat.promptcache.invalidation import Versions
from aichat.promptcache.key import Question, Scope
from aichat.promptcache.single_flight import Confirm, Flight, confirmed
from aichat.providers.base import content_parts
from aichat.providers.errors import AttemptOutcome

logger = logging.getLogger(__name__)
JITTER = 0.1  # of the TTL, so that what was stored together does not run out together


class _Outdated(Exception):
    """Redis announces an invalidation that this process has not read from the database yet."""


async def look(
    request: GenerationRequest,
    candidates: Sequence[ModelInfo],
    catalog: Catalog,
    deadline: float,
    confirm: Confirm = confirmed,
) -> "Hit | Keeping":
    """Return a hit with the stored answer to an identical request, else what stores the answer to come.

    Waits until `deadline` (monotonic seconds) for another request's answer; then raises `ProviderTimeout`. `confirm` is
    awaited before a hit is returned and before another request is waited for; it raises when the caller may not go on.
    """
    if not is_cacheable(request):
        prometheus.prompt_cache("bypass")
        return Keeping("bypass")
    question = Question(
        caller=request.caller,
        route=candidates,
        messages=request.messages,
        max_tokens=request.most_tokens,
        parameters=request.sampling,
        variant=(request.treatment.experiment, request.treatment.variant) if request.treatment.experiment else (),
    )
    announced = ""
    while True:
        asked = _Asked(question, await invalidation.ready(announced), catalog)
        try:
            digest = question.digest(asked.versions)
        except TypeError:  # a number beyond 64 bits
            return Keeping("bypass")
        if request.freshness is Freshness.NEW:
            prometheus.prompt_cache("bypass")
            return Keeping("bypass", Flight(digest), asked)
        try:
            found = await single_flight.find(digest, asked.read, asked.notice, deadline, confirm)
        except _Outdated as news:
            announced = str(news)
            continue
        except TimeoutError:
            raise ProviderTimeout(outcome=AttemptOutcome.TIMEOUT_TOTAL.value) from None
        if isinstance(found, Flight):
            prometheus.prompt_cache("miss")
            return Keeping("miss", found, asked)
        prometheus.prompt_cache("coalesced" if found.is_coalesced else "hit")
        return Hit(found.entry, candidates)


def is_cacheable(request: GenerationRequest) -> bool:
    """Whether the request and the settings allow its answer to be stored and reused."""
    return (
        settings.PROMPT_CACHE_TTL > 0
        and request.freshness is not Freshness.UNSTORED
        and (settings.PROMPT_CACHE_TOOLS or not request.parameters.get("tools"))
        and (settings.PROMPT_CACHE_IMAGES or not content_parts(request.messages, "image_url"))
        and evaluation.is_enabled(PROMPT_CACHE, request.caller)
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question, and the versions of what can be invalidated when it was asked."""

    question: Question
    versions: Versions
    catalog: Catalog

    def notice(self, latest: str) -> None:
        if latest > self.versions.latest:
            raise _Outdated(latest)

    def read(self, digest: str, raw: bytes) -> Entry:
        """Decode stored bytes to an entry. Raises `Unreadable` for what may not be served."""
        try:
            entry = Entry.decode(digest, raw)
        except Unreadable as error:
            logger.warning("the prompt cache held what is no answer, which counts as a miss: %s", error)
            raise
        is_old = time.time() - entry.created_at > settings.PROMPT_CACHE_TTL
        slugs = {model.slug for model in self.question.route}
        if is_old or entry.model not in slugs or self.versions.of(Scope.USER, entry.by) != entry.by_version:
            raise Unreadable("out of date")
        return entry

    def entry(self, result: Result, pieces: Pieces) -> Entry:
        assert result.finish_reason
        user = str(self.question.caller.user.pk)
        return Entry(
            pieces=pieces,
            model=result.model,
            provider=result.provider,
            finish_reason=result.finish_reason,
            usage=result.usage,
            source=result.usage_source,
            created_at=time.time(),
            prompt=self.question.prompt,
            by=user,
            by_version=self.versions.of(Scope.USER, user),
            fallback=result.fallback,
            dropped=result.dropped_parameters,
        )


class Keeping:
    """The part of the cache in a request that asks a provider: it stores the answer, and tells those who wait for it.

    The request adds the `pieces` of the answer while there is a `flight`, and calls `close` in the end.
    """

    def __init__(
        self, word: Literal["miss", "bypass"], flight: Flight | None = None, asked: _Asked | None = None
    ) -> None:
        self.word = word
        self.flight, self.asked = flight, asked
        self.pieces: Pieces = []

    def close(self) -> None:
        """Let another request ask, unless the answer was stored or is about to be."""
        if self.flight is not None:
            self.flight.give_up()

    def ended(self, end: Ending, *, is_stream: bool) -> Ending:
        """Have a whole answer stored in the background.

        A JSON answer is stored once it was handed to the server, so that its client does not wait for that; a stream before
        its last event, because a client may be slow to take it.
        """
        if self.flight is not None and isinstance(end, Completed) and is_whole(end.result):
            flight, self.flight = self.flight, None
            keep = partial(self.keep, flight, end.result)
            if is_stream:
                lifecycle.spawn(keep())
            else:
                flight.reader_since = time.monotonic()  # those who wait don't wait for a client that takes no answer
                tracing.after_answer(lambda: lifecycle.spawn(keep()))
        return end

    async def keep(self, flight: Flight, result: Result) -> None:
        assert self.asked is not None
        entry = self.asked.entry(result, self.pieces)
        try:
            raw = entry.encode(flight.digest)
        except TypeError:
            flight.give_up()
            return
        if len(raw) > settings.PROMPT_CACHE_LARGEST_ANSWER:
            await flight.hand_over(entry, raw)
        elif not result.fallback:
            if await flight.land(entry, raw, ttl()):
                prometheus.stored.inc()
                prometheus.stored_bytes.inc(len(raw))
        else:
            await flight.hand_over(entry, raw)
            await self.keep_elsewhere(entry)

    async def keep_elsewhere(self, entry: Entry) -> None:
        """Store a fallback's answer for requests that name that model."""
        assert self.asked is not None
        question = self.asked.question
        try:
            route = routing.candidates(self.asked.catalog, question.caller, entry.model)
        except (routing.ModelNotFound, routing.ModelNotAllowed):
            return
        digest = question.digest(self.asked.versions, route)
        await store.keep(digest, replace(entry, fallback=False).encode(digest), ttl())


def is_whole(result: Result) -> bool:
    """Whether the model said all it wanted to say: neither cut off nor filtered, nor ended for a reason unknown to us.

    An answer that a stop sequence ended is not stored when the provider names the sequence: a stored answer can't name it.
    """
    is_told = result.is_finish_known and result.stop_sequence is None
    return is_told and (
        result.finish_reason == "stop" or (result.finish_reason == "tool_calls" and settings.PROMPT_CACHE_TOOLS)
    )


def ttl() -> float:
    """The lifetime of a stored answer, in seconds."""
    return settings.PROMPT_CACHE_TTL * random.uniform(1 - JITTER, 1)


class Hit:
    """A stored answer, and the model it is from."""

    def __init__(self, entry: Entry, candidates: Sequence[ModelInfo]) -> None:
        self.entry = entry
        slugs = [model.slug for model in candidates]
        self.place = slugs.index(entry.model)
        self.model = candidates[self.place]
        assert self.model.rates is not None  # routing leaves out models without a price
        self.rates = self.model.rates

    @property
    def original(self) -> int:
        """What the answer costs without the cache, in microcredits."""
        return self.rates.charge(self.entry.usage)

    @property
    def price(self) -> int:
        """What the hit costs, in microcredits: CACHE_HIT_PRICE of the original price."""
        if not settings.CACHE_HIT_PRICE:
            return 0
        return int((self.original * settings.CACHE_HIT_PRICE).to_integral_value(ROUND_CEILING))

    async def serve(self, request: GenerationRequest, sink: EventSink | None) -> Ending:
        """Pass the stored answer's events to `sink` and settle. Raises `Unaffordable` before any event."""
        bill = Bill(request)
        charge = self.price
        if charge:
            await bill.reserve_exactly(charge)
        result = self.result(bill)
        try:
            if sink is not None:
                await sink(Started(result))
                for piece in self.entry.pieces:
                    await sink(piece)
        except CancelledError:  # the answer was whole, whether or not its reader was patient
            await bill.commit(charge=charge, delivered=True)
            raise
        await bill.commit(charge=charge, delivered=True)
        prometheus.saved(self.original - result.charged, self.rates.cost_nanousd(self.entry.usage))
        return Completed(result)

    def result(self, bill: Bill) -> Result:
        entry, result = self.entry, bill.result
        now = time.monotonic()
        attempt = Attempt(self.model, self.place + 1 if entry.fallback else 1, started=now, cached=True)
        attempt.first_token_at, attempt.status = now, OK
        attempt.usage, attempt.source = entry.usage, entry.source
        bill.attempts.append(attempt)
        result.model, result.provider, result.fallback = entry.model, entry.provider, entry.fallback
        result.finish_reason, result.usage, result.usage_source = entry.finish_reason, entry.usage, entry.source
        result.dropped_parameters = entry.dropped
        for piece in entry.pieces:
            result.add(piece)
        result.is_begun, result.cached, result.cache = True, True, "hit"
        result.age = max(0, int(time.time() - entry.created_at))
        return result
