"""Applies an experiment's variant to a chat. A value that the client sends is never replaced by the variant's."""

import logging
from dataclasses import replace
from typing import Any
from uuid import UUID

from accounts.authentication import Caller
from aichat.catalog import routing, snapshot
from aichat.catalog.snapshot import Catalog, ModelInfo
from aichat.flags import evaluation
from aichat.flags.rules import NOTHING, Treatment
from aichat.generation.request import GenerationRequest

logger = logging.getLogger(__name__)


async def treatment(caller: Caller, model: str, conversation: UUID | None = None) -> Treatment:
    """The variant, and the winners of earlier experiments, for a chat that asks for `model`, by any of its names.

    Flags must be ready.
    """
    rules = evaluation.current()
    if not (rules.experiments or rules.decided):
        return NOTHING
    named = (await snapshot.ready()).get(model)
    for name in dict.fromkeys([model, *([named.slug, *named.aliases] if named else [])]):
        found = evaluation.treatment(caller, name, conversation)
        if found is not NOTHING:
            return found
    return NOTHING


async def treated(request: GenerationRequest) -> GenerationRequest:
    """The request with its caller's treatment applied, the system prompt included. Flags must be ready."""
    found = await treatment(request.caller, request.model)
    if found is NOTHING:
        return request
    return replace(request, messages=with_system(found, request.messages), treatment=found)


def system_prompt(treatment: Treatment, own: str) -> str:
    """The variant's system prompt followed by the request's own."""
    return "\n\n".join(text for text in (treatment.system, own) if text)


def with_system(treatment: Treatment, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not treatment.system:
        return messages
    first, rest = messages[0], messages[1:]
    if first["role"] in {"system", "developer"} and isinstance(first.get("content"), str):
        return [{**first, "content": system_prompt(treatment, first["content"])}, *rest]
    return [{"role": "system", "content": treatment.system}, *messages]


def route(catalog: Catalog, caller: Caller, model: str, treatment: Treatment) -> list[ModelInfo]:
    """The candidates for a request for `model`: the variant's model first, then the candidates without the variant.

    A variant's model that can't be called any more is left out. Raises `ModelNotFound`.
    """
    usual = routing.candidates(catalog, caller, model)
    if not treatment.model:
        return usual
    try:
        first = routing.candidates(catalog, caller, treatment.model)
    except (routing.ModelNotFound, routing.ModelNotAllowed):
        logger.warning("the model %s of an experiment can't be called", treatment.model)
        return usual
    return list({info.slug: info for info in (*first, *usual)}.values())
