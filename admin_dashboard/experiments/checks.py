"""Checks an experiment's variants against the catalog. It stands here, because `flags` may not import the catalog."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError

from aichat.catalog import routing, snapshot
from aichat.catalog.models import AIModel


def check_models(variants: Any, requested_models: Iterable[str]) -> None:
    """Raise `ValidationError` for a model that is missing, can't be called, or writes too few tokens for a variant."""
    snapshot.forget()  # so that a model which another process added a moment ago is found
    catalog = snapshot.current()
    for variant in variants if isinstance(variants, list) else ():
        if isinstance(variant, dict) and variant.get("model") and (problem := problem_of(variant, catalog)):
            raise ValidationError({"variants": f"{variant.get('name')}: {problem}"})
    for slug in requested_models:
        if slug != routing.AUTO and slug not in catalog:
            raise ValidationError({"requested_models": f"There is no enabled model {slug!r}."})


def problem_of(variant: dict[str, Any], catalog: snapshot.Catalog) -> str:
    """Return why the model of a variant can't serve it; empty: it can."""
    slug, most = variant["model"], variant.get("max_tokens")
    model = catalog.get(slug) if isinstance(slug, str) else None
    if model is None:
        return "" if slug == routing.AUTO else f"there is no enabled model {slug!r}."
    if model.kind != AIModel.Kind.CHAT or not model.is_callable:
        return f"{slug!r} can't chat: it has no price, no key, or is for images."
    if isinstance(most, int) and most > model.max_output_tokens:
        return f"{slug!r} writes at most {model.max_output_tokens} tokens."
    return ""
