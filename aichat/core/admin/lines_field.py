"""A form field for a list of texts, so that people write one on each line."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget


class LinesField(forms.CharField):
    """A form field of texts without spaces, one on each line. It takes `most` lines of at most `longest` characters."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})

    def __init__(self, *, most: int | None = None, longest: int | None = None, **options: Any) -> None:
        self.most, self.longest = most, longest
        super().__init__(required=False, **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        lines = str(super().to_python(self.prepare_value(value))).split()
        texts = list(dict.fromkeys(self.read(line) for line in lines))
        if self.most and len(texts) > self.most:
            raise forms.ValidationError(f"Write at most {self.most} lines.")
        return texts

    def read(self, line: str) -> str:
        """Return the text as it is stored; raise a ValidationError about a line that can't be stored."""
        if self.longest and len(line) > self.longest:
            raise forms.ValidationError(f"Write at most {self.longest} characters a line.")
        return line

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(initial or []) != self.to_python(data))
        except forms.ValidationError:
            return True
