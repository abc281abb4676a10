"""Tries a model with one tiny call, for the operator who asks whether it works.

The call goes through the model's own adapter, as requests do, but nobody's credits pay for it and no usage is recorded:
the provider bills a few tokens. Models whose smallest call is dear (pictures, sound) are tried by the provider's list of
models, which proves the address and the key.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from django.conf import settings

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel, Provider
from aichat.generation import circuit_breaker, key_ring
from aichat.providers import http, registry
from aichat.providers.base import ChatRequest, Delta, Endpoint, ListedModel, Part
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.single_calls import EmbeddingRequest, ModerationRequest

QUESTION = "Answer with the word ok."
MOST_TOKENS = 64  # of the answer; a model that thinks may spend them all on that
LONGEST_SHOWN = 200  # characters of an answer
REQUEST_ID = "operators-test"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trial:
    """How a try ended: `text` is the answer, or why there is none."""

    outcome: AttemptOutcome
    seconds: float
    text: str

    @property
    def is_ok(self) -> bool:
        return self.outcome is AttemptOutcome.OK


def try_model(model: AIModel) -> Trial:
    """Ask the model once, in synchronous code, and have its state show how that ended. The model may be disabled."""
    began = monotonic()
    provider = snapshot.provider_info(model.provider)
    try:
        text = asyncio.run(_closing(key_ring.ask(provider, lambda endpoint: _ask(model, endpoint))))
    except ProviderError as error:
        if error.outcome.is_retryable and not error.is_blameless:
            circuit_breaker.keep_error(model.provider.slug, model.slug, error)
        return Trial(error.outcome, monotonic() - began, _reason(error))
    circuit_breaker.close(model.provider.slug, model.slug)
    return Trial(AttemptOutcome.OK, monotonic() - began, text[:LONGEST_SHOWN])


def list_models(provider: Provider) -> list[ListedModel]:
    """The models that the provider lists, in synchronous code. Raises `ProviderError`."""
    info = snapshot.provider_info(provider)
    return asyncio.run(_closing(key_ring.ask(info, lambda endpoint: _listed(provider.kind, endpoint))))


def can_list(provider: Provider) -> bool:
    return provider.kind in registry.MODEL_LIST_ADAPTERS


def _reason(error: ProviderError) -> str:
    said = str(error)
    return error.outcome.in_words if said == error.outcome else f"{error.outcome.in_words} It said: {said}"


async def _closing(work: Awaitable[T]) -> T:
    """Await the work within the time of an attempt, and close the connections of this event loop, which ends with it."""
    try:
        async with asyncio.timeout(settings.CHAT_ATTEMPT_TIMEOUT):
            return await work
    except TimeoutError:
        raise ProviderError(AttemptOutcome.TIMEOUT_ATTEMPT) from None
    finally:
        await http.close()


async def _ask(model: AIModel, endpoint: Endpoint) -> str:
    """What the model answered, in words."""
    return await TRIES.get(model.kind, _try_provider)(model, endpoint)


async def _try_chat(model: AIModel, endpoint: Endpoint) -> str:
    said: list[str] = []

    async def hear(part: Part) -> None:
        if isinstance(part, Delta):
            said.append(part.text)

    message = {"role": "user", "content": QUESTION}
    request = ChatRequest(
        model=_name(model),
        messages=[message],
        max_tokens=min(MOST_TOKENS, model.max_output_tokens),
        stream=False,
        request_id=REQUEST_ID,
    )
    await registry.chat_adapter(model.provider.kind).chat(request, endpoint, hear)
    return f"“{''.join(said).strip()}”"


async def _try_embedding(model: AIModel, endpoint: Endpoint) -> str:
    request = EmbeddingRequest(_name(model), ["ok"], None, REQUEST_ID)
    answer = await registry.embedding_adapter(model.provider.kind).embed(request, endpoint)
    return f"a vector of {len(answer.vectors[0])} numbers"


async def _try_moderation(model: AIModel, endpoint: Endpoint) -> str:
    request = ModerationRequest(_name(model), "ok", REQUEST_ID)
    answer = await registry.moderation_adapter(model.provider.kind).moderate(request, endpoint)
    return "flagged" if answer.results[0].get("flagged") else "not flagged"


async def _try_provider(model: AIModel, endpoint: Endpoint) -> str:
    if not can_list(model.provider):
        return "nothing to call"
    names = {listed.name for listed in await _listed(model.provider.kind, endpoint)}
    if _name(model) not in names:
        raise ProviderError(AttemptOutcome.MODEL_MISSING, f"{len(names)} models are listed, and not {_name(model)}")
    return "the provider lists it (a real call would cost a picture or sound)"


async def _listed(kind: str, endpoint: Endpoint) -> list[ListedModel]:
    return await registry.model_list_adapter(kind).models(endpoint)


def _name(model: AIModel) -> str:
    return model.upstream_name or model.slug


TRIES: dict[str, Callable[[AIModel, Endpoint], Awaitable[str]]] = {
    AIModel.Kind.CHAT: _try_chat,
    AIModel.Kind.EMBEDDING: _try_embedding,
    AIModel.Kind.MODERATION: _try_moderation,
}
