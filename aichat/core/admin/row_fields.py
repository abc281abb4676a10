"""Form fields for JSON columns, so that nobody has to write JSON: a list of objects has a row for each, an object a row for
each member.

Scripts may post JSON under the field's own name.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from django import forms
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

YES_OR_NO = (("", ""), ("true", "yes"), ("false", "no"))
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object, and how people write it: `names` with commas between them, `pairs` as name: name."""

    name: str
    kind: Literal["text", "long", "number", "yes", "choice", "names", "pairs"] = "text"
    help: str = ""
    choices: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").capitalize()

    def options(self) -> Sequence[tuple[str, str]]:
        return YES_OR_NO if self.kind == "yes" else [("", ""), *((choice, choice) for choice in self.choices)]

    def shown(self, value: Any) -> str:
        """The value as the field's control holds it."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, dict):
            return ", ".join(f"{name}: {other}" for name, other in value.items())
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    def read(self, text: str) -> Any:
        """The value that a text stands for; None for an empty text. A wrong text stays text: the model's check names it."""
        text = text.strip()
        if not text:
            return None
        parts = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
        match self.kind:
            case "yes":
                return {"true": True, "false": False}.get(text, text)
            case "number":
                return number(text)
            case "names":
                return parts
            case "pairs":
                return {name.strip(): other.strip() for name, _, other in (part.partition(":") for part in parts)}
            case _:
                return text


def number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class RowsWidget(forms.Widget):
    """A table of objects, one a row, with a few empty rows below them."""

    template = "admin/rows.html"

    def __init__(self, members: Sequence[Member], blank: int) -> None:
        super().__init__()
        self.members, self.blank = members, blank

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        if isinstance(value, str):  # of a script that sent something else than a list
            value = []
        objects = [*(value or []), *({} for _ in range(self.blank))]
        rows = [self.controls(f"{name}-{number}", each) for number, each in enumerate(objects)]
        context = {"name": name, "members": self.members, "rows": rows, "count": len(rows)}
        return render_to_string(self.template, context)

    def controls(self, prefix: str, value: Object) -> list[dict[str, Any]]:
        return [
            {"name": f"{prefix}-{member.name}", "member": member, "value": member.shown(value.get(member.name))}
            for member in self.members
        ]

    def read(self, data: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        """The object whose controls have the prefix, without empty members."""
        found = {member.name: member.read(str(data.get(f"{prefix}-{member.name}", ""))) for member in self.members}
        return {name: value for name, value in found.items() if value is not None}

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        if name in data:
            return data[name]
        count = int(data.get(f"{name}-ROWS") or 0)
        return [row for row in (self.read(data, f"{name}-{number}") for number in range(min(count, 1000))) if row]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return name not in data and f"{name}-ROWS" not in data


class MembersWidget(RowsWidget):
    """An object as a table of its possible members."""

    template = "admin/members.html"

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        found = value if isinstance(value, dict) else {}
        return render_to_string(self.template, {"name": name, "controls": self.controls(name, found)})

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        return data[name] if name in data else self.read(data, name)


class RowsField(forms.Field):
    """A list of objects as rows."""

    empty: Any = list

    def __init__(self, members: Sequence[Member], *, blank: int = 2, **options: Any) -> None:
        super().__init__(required=False, widget=self.table(members, blank), **options)

    def table(self, members: Sequence[Member], blank: int) -> forms.Widget:
        return RowsWidget(members, blank)

    def to_python(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value if value is not None else self.empty()
        try:
            return json.loads(value) if value.strip() else self.empty()
        except ValueError:
            raise ValidationError("This is no JSON.") from None

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or self.empty()) != self.to_python(data))
        except ValidationError:
            return True


class MembersField(RowsField):
    """An object as one row a member."""

    empty = dict

    def table(self, members: Sequence[Member], blank: int) -> forms.Widget:
        return MembersWidget(members, 0)
