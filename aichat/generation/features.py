"""Refuses requests that need a feature which an operator has switched off."""

from aichat.catalog.models import AIModel
from aichat.flags import evaluation
from aichat.flags.features import IMAGES, STREAMING, TOOLS
from aichat.generation.request import GenerationRequest


def require_features(request: GenerationRequest) -> None:
    """Raises `FeatureDisabled` (403) when the request needs a feature that is switched off. Flags must be ready."""
    if request.kind == AIModel.Kind.IMAGE:
        evaluation.require(IMAGES, request.caller)
    if request.stream:
        evaluation.require(STREAMING, request.caller)
    if request.parameters.get("tools"):
        evaluation.require(TOOLS, request.caller)
