"""What an experiment must not ask of the catalog. The flags app does not know it, so it is checked here, above both."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError

from aichat.catalog import routing, snapshot
from aichat.catalog.models import AIModel


def check_models(variants: Any, requested_models: Iterable[str]) -> None:
    """Raises `ValidationError` for a model that doesn't exist, can't be called, or can't write as much as is asked."""
    snapshot.forget()  # a model made a moment ago by another process counts
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
