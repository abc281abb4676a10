"""Makes embeddings. Vectors that were made before come from the prompt cache, input by input; a provider makes the others.

Vectors of another model can't be compared with those of the one that was asked for. So `auto` has no fallback here, and
what an operator's fallback made is not kept for others.
"""

import asyncio
import zlib
from array import array
from collections.abc import Sequence
from decimal import ROUND_CEILING
from time import monotonic

from django.conf import settings

from aichat.catalog.snapshot import ModelInfo
from aichat.core.errors import InvalidRequest
from aichat.flags import evaluation
from aichat.flags.features import PROMPT_CACHE
from aichat.generation import key_ring
from aichat.generation.charging.bill import OK, Bill
from aichat.generation.charging.settlement import Attempt
from aichat.generation.prompt_cache import ttl
from aichat.generation.request import Completed, Ending, EventSink, Freshness, GenerationRequest
from aichat.generation.single_call import Performance, SingleCall, able, candidates_of
from aichat.promptcache import invalidation, store
from aichat.promptcache.key import Question
from aichat.providers.base import Usage
from aichat.providers.registry import embedding_adapter
from aichat.providers.single_calls import EmbeddingAnswer, EmbeddingRequest, Input, Vector

HEAD = 8  # bytes before a stored vector: its input's tokens and a checksum, which also covers the key


class Embeddings:
    """The vectors of one request, in the order of its inputs; `tokens` are those of all inputs, found or asked for."""

    def __init__(self, inputs: Sequence[Input], dimensions: int | None) -> None:
        self.inputs, self.dimensions = inputs, dimensions
        self.vectors: list[Vector | None] = [None] * len(inputs)
        self.counts = [0] * len(inputs)
        self.digests: list[str] = []
        self.request_id = ""

    @property
    def tokens(self) -> int:
        return sum(self.counts)

    @property
    def missing(self) -> list[int]:
        return [position for position, vector in enumerate(self.vectors) if vector is None]

    async def perform(self, request: GenerationRequest, sink: EventSink | None) -> Ending:
        """Find or make the vectors and settle them; a `Generate` of `aichat/generation/request.py`. Raises `ApiError`."""
        await evaluation.ready()
        route = able(await candidates_of(request), request, self.call())
        await self.look(request, route)
        found = Usage(input_tokens=self.tokens)
        if not (missing := self.missing):
            return await self.serve(request, route[0], found)
        ending = await Performance(self.call(extra_charge=cached_price(route[0], found))).perform(request, sink)
        if self.digests and isinstance(ending, Completed) and not ending.result.fallback:
            await self.keep(missing)
        return ending

    def call(self, extra_charge: int = 0) -> SingleCall[EmbeddingAnswer]:
        """The call that asks a candidate for the vectors that are missing now."""
        missing = self.missing

        async def ask(model: ModelInfo) -> tuple[EmbeddingAnswer, Usage | None]:
            inputs = [self.inputs[position] for position in missing]
            request = EmbeddingRequest(model.upstream_name, inputs, self.dimensions, self.request_id)
            answer = await key_ring.ask(
                model.provider, lambda endpoint: embedding_adapter(model.provider.kind).embed(request, endpoint)
            )
            return answer, answer.usage

        return SingleCall(
            ask=ask,
            most=lambda model: Usage(input_tokens=sum(most_tokens(self.inputs[each]) for each in missing)),
            count=lambda model, answer: Usage(input_tokens=sum(about(self.inputs[each]) for each in missing)),
            take=lambda answer, usage: self.fill(missing, answer.vectors, usage.input_tokens),
            cache="miss" if self.digests else "bypass",
            obstacle=self.obstacle,
            extra_charge=extra_charge,
        )

    def obstacle(self, model: ModelInfo) -> InvalidRequest | None:
        if not embedding_adapter(model.provider.kind).takes_tokens and not all(
            isinstance(each, str) for each in self.inputs
        ):
            return InvalidRequest(f"{model.slug} takes texts, no token lists.", param="input")
        for position, each in enumerate(self.inputs):
            if (length := about(each)) > model.context_window:
                return InvalidRequest(
                    f"{model.slug} reads at most {model.context_window} tokens; input {position} is about {length}.",
                    param="input",
                )
        return None

    # --- The cache ----------------------------------------------------------------------------------------------------

    async def look(self, request: GenerationRequest, route: Sequence[ModelInfo]) -> None:
        """Fill in the vectors that are in the cache. `digests` stays empty when the cache is not to be used."""
        self.request_id = request.request_id
        is_off = settings.PROMPT_CACHE_TTL <= 0 or request.freshness is Freshness.UNSTORED
        if is_off or not evaluation.is_enabled(PROMPT_CACHE, request.caller):
            return
        versions = await invalidation.ready()
        self.digests = [question(request, route, each, self.dimensions).digest(versions) for each in self.inputs]
        if request.freshness is Freshness.NEW:
            return
        for position, raw in enumerate(await store.get_many(self.digests)):
            if raw is not None and (entry := decoded(self.digests[position], raw)):
                self.counts[position], self.vectors[position] = entry

    def fill(self, missing: Sequence[int], vectors: Sequence[Vector], tokens: int) -> None:
        """Fill in new vectors. `tokens` were reported for all inputs together: each input gets its share by our count."""
        weights = [about(self.inputs[position]) for position in missing]
        left, weight_left = tokens, sum(weights)
        for position, vector, weight in zip(missing, vectors, weights, strict=True):
            share = left * weight // weight_left if weight_left else 0
            left, weight_left = left - share, weight_left - weight
            self.vectors[position], self.counts[position] = vector, share

    async def keep(self, positions: Sequence[int]) -> None:
        entries = []
        for position in positions:
            vector, digest = self.vectors[position], self.digests[position]
            assert vector is not None
            entries.append((digest, encoded(digest, self.counts[position], vector)))
        await asyncio.gather(*(store.keep(digest, raw, ttl()) for digest, raw in entries))

    async def serve(self, request: GenerationRequest, model: ModelInfo, usage: Usage) -> Ending:
        """Settle a request whose vectors were all found."""
        bill = Bill(request)
        charge = cached_price(model, usage)
        if charge:
            await bill.reserve_exactly(charge)
        now = monotonic()
        attempt = Attempt(model, 1, started=now, accepted=True, first_token_at=now, status=OK, usage=usage, cached=True)
        bill.attempts.append(attempt)
        result = bill.result
        result.model, result.provider = model.slug, model.provider.slug
        result.usage, result.usage_source = usage, attempt.source
        result.cached, result.cache = True, "hit"
        await bill.commit(charge=charge, delivered=True)
        return Completed(result)


def question(request: GenerationRequest, route: Sequence[ModelInfo], one: Input, dimensions: int | None) -> Question:
    """What one vector depends on: its input, the model, its length, and whose it may be."""
    text = one if isinstance(one, str) else ""
    tokens = None if isinstance(one, str) else list(one)
    return Question(
        caller=request.caller,
        route=route,
        messages=[{"role": "user", "content": text}],
        max_tokens=0,
        parameters={"kind": request.kind, "dimensions": dimensions, "tokens": tokens},
    )


def encoded(digest: str, tokens: int, vector: Vector) -> bytes:
    body = tokens.to_bytes(4) + vector.tobytes()
    return zlib.crc32(body, zlib.crc32(digest.encode())).to_bytes(4) + body


def decoded(digest: str, raw: bytes) -> tuple[int, Vector] | None:
    """The tokens and the vector that were stored under this key; None for anything else."""
    body = raw[4:]
    if len(raw) <= HEAD or len(raw) % 4 or raw[:4] != zlib.crc32(body, zlib.crc32(digest.encode())).to_bytes(4):
        return None
    return int.from_bytes(body[:4]), array("f", body[4:])


def cached_price(model: ModelInfo, usage: Usage) -> int:
    """The price of vectors that were found, in microcredits: CACHE_HIT_PRICE of what new ones cost."""
    if not settings.CACHE_HIT_PRICE or not usage.input_tokens or model.rates is None:
        return 0
    return int((model.rates.charge(usage) * settings.CACHE_HIT_PRICE).to_integral_value(ROUND_CEILING))


def most_tokens(one: Input) -> int:
    """The most tokens of an input: a text has no more of them than bytes, and a few that a tokenizer adds around it."""
    return len(one.encode()) + 8 if isinstance(one, str) else len(one)


def about(one: Input) -> int:
    """About how many tokens an input has, at least one."""
    return max(1, -(-len(one.encode()) // 4)) if isinstance(one, str) else len(one)
