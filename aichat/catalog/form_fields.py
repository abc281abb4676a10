"""Form fields of the catalog's admin pages: people write lines instead of JSON, and scripts may still post JSON."""

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextareaWidget

from aichat.catalog import fallback_reasons
from aichat.catalog.models import AIModel
from aichat.core.admin.row_fields import Member, MembersField
from aichat.providers import registry

MOST_FALLBACKS = 10


class LinesOrJsonField(forms.CharField):
    """A form field of a value that people write in lines, and scripts as JSON."""

    empty: Any = None  # makes the value of an empty field

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), **options)

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list | dict):
            return value
        text = str(super().to_python(value) or "").strip()
        if not text:
            return self.empty()
        if text[0] not in "[{":
            return self.read([line for line in text.splitlines() if line.strip()])
        try:
            return json.loads(text)
        except ValueError:
            raise ValidationError("This is no JSON.") from None

    def read(self, lines: list[str]) -> Any:
        raise NotImplementedError

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or self.empty()) != self.to_python(data))
        except ValidationError:
            return True


class FallbacksField(LinesOrJsonField):
    """Slugs of models, one a line, in the order in which they are tried."""

    empty = list

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def read(self, lines: list[str]) -> list[str]:
        return [slug for line in lines for slug in line.replace(",", " ").split()]

    def validate(self, value: Any) -> None:
        if not isinstance(value, list) or not all(isinstance(slug, str) for slug in value):
            raise ValidationError("Write the slugs of models, one a line.")
        if len(value) > MOST_FALLBACKS:
            raise ValidationError(f"Write at most {MOST_FALLBACKS} models.")
        rows = AIModel.objects.values_list("slug", "aliases")
        known = {name for slug, aliases in rows for name in (slug, *aliases)}  # a renamed one is known by both
        if missing := [slug[:100] for slug in value if slug not in known]:
            raise ValidationError(f"There is no model {', '.join(missing)}.")


class ReasonsField(forms.MultipleChoiceField):
    """The failures after which the fallbacks are tried, as boxes to tick."""

    def __init__(self, **options: Any) -> None:
        choices = [(reason, reason.replace("_", " ").capitalize()) for reason in fallback_reasons.ALL]
        widget = UnfoldAdminCheckboxSelectMultipleWidget()
        super().__init__(required=False, choices=choices, widget=widget, **options)

    def to_python(self, value: Any) -> list[str]:
        if value and len(value) == 1 and str(value[0]).startswith("["):
            try:
                value = json.loads(value[0])
            except ValueError:
                raise ValidationError("This is no JSON.") from None
        return super().to_python(value)


def quirks_field() -> MembersField:
    """The field of a provider's quirks: one row for each quirk. An empty row means the profile's value."""
    members = [
        Member(name, kind, meaning, registry.answer_limits() if kind == "choice" else ())  # type: ignore[arg-type]
        for name, kind, meaning in registry.quirks()
    ]
    return MembersField(
        members, help_text="Only what this server does otherwise than its profile; empty: as the profile."
    )


class HeadersField(LinesOrJsonField):
    """HTTP headers, one a line, as they are sent: `name: value`."""

    empty = dict

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{name}: {content}" for name, content in value.items()) if isinstance(value, dict) else value

    def read(self, lines: list[str]) -> dict[str, str]:
        pairs = [line.partition(":") for line in lines]
        if not all(colon for _, colon, _ in pairs):
            raise ValidationError("Write one header a line, such as api-key: {api_key}.")
        return {name.strip(): content.strip() for name, _, content in pairs}
