"""Finds the candidates for the model that a client names, in the order in which they are asked."""

from aichat.catalog.access import Who
from aichat.catalog.models import AIModel
from aichat.catalog.snapshot import Catalog, ModelInfo
from aichat.core.errors import ApiError

AUTO = "auto"


class ModelNotFound(ApiError):
    status, code = 404, "model_not_found"

    def __init__(self, slug: str) -> None:
        super().__init__(f"There is no model {slug!r} here: GET /v1/models lists those you can use.", param="model")


class ModelNotAllowed(ApiError):
    status, code = 403, "model_not_allowed"

    def __init__(self, slug: str) -> None:
        super().__init__(f"You may not use {slug!r}: GET /v1/models lists those you can use.", param="model")


def candidates(catalog: Catalog, who: Who | None, slug: str, kind: AIModel.Kind = AIModel.Kind.CHAT) -> list[ModelInfo]:
    """The models to try for `slug`, best first: `auto` is the default route, else the model and its fallbacks.

    Models without a price in force, without a key, or that `who` may not use are left out; `who` None skips that last
    check. Raises `ModelNotAllowed` when `slug` names a model that `who` may not use, `ModelNotFound` when none is left.
    """
    if slug == AUTO:
        found = _default_route(catalog, kind)
    else:
        named = catalog.get(slug)
        if named and who and not named.is_open_to(who):
            raise ModelNotAllowed(slug)
        found = [named, *[catalog[name] for name in named.fallbacks if name in catalog]] if named else []
    usable = list({model.slug: model for model in found if model.kind == kind and model.is_callable}.values())
    if who and usable:
        usable = [model for model in usable if model.is_open_to(who)]
        if not usable and who.api_key and who.api_key.allowed_models:
            raise ModelNotAllowed(slug)
    if not usable:
        raise ModelNotFound(slug)
    return usable


def _default_route(catalog: Catalog, kind: AIModel.Kind) -> list[ModelInfo]:
    """The models with a position in the default route, in order; the demo only while no other provider has a key."""
    placed = sorted(
        (model.auto_position, model.slug)
        for model in catalog.values()
        if model.auto_position is not None and model.kind == kind
    )
    route = [catalog[slug] for _, slug in placed]
    real = [model for model in route if not model.provider.is_demo and model.provider.is_configured]
    return real or route


def listed(catalog: Catalog, who: Who) -> list[ModelInfo]:
    """The models `who` may name, by slug."""
    usable = (model for model in catalog.values() if model.is_offered and model.is_open_to(who))
    return sorted(usable, key=lambda model: model.slug)
