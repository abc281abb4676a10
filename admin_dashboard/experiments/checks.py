"""Checks an experiment's variants against the catalog, here because the flags app must not import the catalog."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError

from aichat.catalog import routing, snapshot
from aichat.catalog.models import AIModel


def check_models(variants: Any, requested_models: Iterable[str]) -> None:
    """Raises `ValidationError` for a model that is missing, can't be called, or writes too few tokens for a variant."""
    snapshot.forget()  # so that a model which another process added a moment ago is found
    catalog = snapshot.current()
    for variant in variants if isinstance(variants, list) else ():
        slug = variant.get("model") if isinstance(variant, dict) else None
        if not slug:
            continue
        model = catalog.get(slug) if isinstance(slug, str) else None
        if model is None and slug != routing.AUTO:
            raise ValidationError({"variants": f"{variant.get('name')}: there is no enabled model {slug!r}."})
        if model is not None and (model.kind != AIModel.Kind.CHAT or not model.is_callable):
            raise ValidationError(
                {"variants": f"{variant.get('name')}: {slug!r} can't chat: it has no price, no key, or is for images."}
            )
        most = variant.get("max_tokens")
        if model is not None and isinstance(most, int) and most > model.max_output_tokens:
            raise ValidationError(
                {"variants": f"{variant.get('name')}: {slug!r} writes at most {model.max_output_tokens} tokens."}
            )
    for slug in requested_models:
        if slug != routing.AUTO and slug not in catalog:
            raise ValidationError({"requested_models": f"There is no enabled model {slug!r}."})
