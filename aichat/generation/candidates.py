"""Selects the models that may answer a chat: those of the route that can honour the whole request.

A request that needs a feature which is switched off has none.
"""

from collections.abc import Mapping
from typing import Any

from aichat.catalog import routing
from aichat.catalog.models import AIModel
from aichat.catalog.snapshot import Catalog, ModelInfo
from aichat.core.errors import InvalidRequest
from aichat.flags import evaluation
from aichat.flags.features import IMAGES, STREAMING, TOOLS
from aichat.generation import experiments
from aichat.generation.charging import tokens
from aichat.generation.charging.sent import measured
from aichat.generation.errors import ContextLengthExceeded
from aichat.generation.request import GenerationRequest
from aichat.providers.base import content_parts
from aichat.providers.registry import chat_adapter


def require_features(request: GenerationRequest) -> None:
    """Raise `FeatureDisabled` (403) when the request needs a feature that is switched off. Flags must be ready."""
    if request.kind == AIModel.Kind.IMAGE:
        evaluation.require(IMAGES, request.caller)
    if request.stream:
        evaluation.require(STREAMING, request.caller)
    if request.parameters.get("tools"):
        evaluation.require(TOOLS, request.caller)


def choose(request: GenerationRequest, catalog: Catalog) -> list[ModelInfo]:
    """The candidates for a request, best first, without models that can't honour the request.

    Raises `ModelNotFound`, and `InvalidRequest` naming the field when the requested model (under `auto`: every model)
    can't honour the request.
    """
    if request.treatment.model:
        route = experiments.route(catalog, request.caller, request.model, request.treatment)
    else:
        route = routing.candidates(catalog, request.caller, request.model)
    able, first_problem = [], None
    for model in route:
        problem = obstacle(request, model)
        if problem is None:
            able.append(model)
        elif model is route[0]:
            first_problem = problem
    is_named = request.model != routing.AUTO and not request.treatment.model
    if first_problem and (is_named or not able):
        raise in_clients_words(request, first_problem)
    return able


def in_clients_words(request: GenerationRequest, problem: InvalidRequest) -> InvalidRequest:
    """The problem, its field named as in the client's dialect."""
    if problem.param is not None:
        problem.param = request.param_names.get(problem.param, problem.param)
    return problem


def obstacle(request: GenerationRequest, model: ModelInfo) -> InvalidRequest | None:
    """The error that says why the model can't honour the request; None when it can."""
    is_too_long = request.max_tokens is not None and request.max_tokens > model.max_output_tokens
    if is_too_long and not request.is_length_a_limit:
        return InvalidRequest(f"{model.slug} writes at most {model.max_output_tokens} tokens.", param="max_tokens")
    if not model.vision and content_parts(request.messages, "image_url"):
        return InvalidRequest(f"{model.slug} does not read images.", param="messages", reason="no_vision")
    if not model.tools and request.parameters.get("tools"):
        return InvalidRequest(f"{model.slug} does not call functions.", param="tools")
    if not model.structured_output and wants_json(request.parameters):
        return InvalidRequest(f"{model.slug} does not answer in JSON on demand.", param="response_format")
    adapter = chat_adapter(model.provider.kind)
    asked = model.upstream_name, request.messages, request.parameters
    if name := adapter.unsupported(*asked, model.provider.endpoint):
        return InvalidRequest(f"{model.slug} can't be asked this: see `{name}`.", param=name)
    return too_long(request, model)


def too_long(request: GenerationRequest, model: ModelInfo) -> InvalidRequest | None:
    """The error for a prompt that is longer than the model's context window; None when the prompt fits."""
    sent = measured(request, model)
    if sent.most_tokens <= model.context_window:
        return None  # even the bound fits; the estimate takes longer
    length = tokens.estimate_input(sent.outgoing)
    if length <= model.context_window:
        return None
    return InvalidRequest(
        f"{model.slug} reads at most {model.context_window} tokens; this is about {length}.",
        code=ContextLengthExceeded.code,
        param="messages",
    )


def wants_json(parameters: Mapping[str, Any]) -> bool:
    return (parameters.get("response_format") or {}).get("type") in {"json_object", "json_schema"}
