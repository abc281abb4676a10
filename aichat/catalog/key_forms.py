"""The table of keys on a provider's page: each is named by its variable, or was entered and is never shown again."""

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
)

from aichat.catalog import key_rests, state
from aichat.catalog.models import Provider, ProviderKey

MOST_KEYS = 20  # of a provider
KEY_TEXT = RegexValidator(r"\A[\x21-\x7e]+\Z", "A key has letters, digits and signs without spaces.")


class KeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """One of several keys of a provider. A key that was entered is never shown again."""

    key = forms.CharField(
        required=False,
        max_length=500,
        strip=True,
        validators=[KEY_TEXT],
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted, never shown again. Leave it empty to keep the key.",
    )

    class Meta:
        model = ProviderKey
        fields = ["name", "variable", "key", "weight", "enabled"]

    def __init__(self, *args: Any, parent: Provider, **options: Any) -> None:
        super().__init__(*args, **options)
        self.parent = parent

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = super().clean() or self.cleaned_data
        key, variable = found.get("key"), found.get("variable")
        if key and variable:
            raise ValidationError({"key": "Name a variable or enter the key, not both."})
        if (
            not key
            and not variable
            and not self.errors
            and (not self.instance.secret or "variable" in self.changed_data)
        ):
            raise ValidationError({"key": "Enter the key, or name its variable."})
        if variable and "variable" in self.changed_data:
            self.instance.variable = variable
            self.instance.check_variable(self.parent)
        return found

    def save(self, commit: bool = True) -> Any:
        if {"key", "variable"} & set(self.changed_data):
            self.instance.give(self.parent, key=self.cleaned_data["key"])
            return self.instance
        return super().save(commit)


class KeyFormSet(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """Gives each key's form the provider with the changes of the same page, before it is saved.

    A script that posts the provider's own fields alone changes no key.
    """

    def __init__(self, data: Any = None, *args: Any, **options: Any) -> None:
        if data is not None and f"{options.get('prefix', 'keys')}-TOTAL_FORMS" not in data:
            data = data.copy()
            data.update({f"{options.get('prefix', 'keys')}-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")})
        super().__init__(data, *args, **options)

    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        return {**super().get_form_kwargs(index), "parent": self.instance}

    def save_new(self, form: Any, commit: bool = True) -> Any:
        return super().save_new(form, commit=True)  # encrypted as it is saved, so never without saving

    def save_existing(self, form: Any, obj: Any, commit: bool = True) -> Any:
        return super().save_existing(form, obj, commit=True)


class KeyInline(TabularInline):
    model = ProviderKey
    form = KeyForm
    formset = KeyFormSet
    extra = 0
    max_num = MOST_KEYS
    readonly_fields = ["state"]
    verbose_name_plural = "further keys"

    @display(description="State")
    def state(self, key: ProviderKey) -> str:
        """Whether calls use the key, and if not, why."""
        if key._state.adding:
            return "-"
        if not key.enabled:
            return "switched off"
        if problem := key.obstacle(key.provider):
            return problem.capitalize()
        resting = key_rests.read([state.key_id(key.pk, key.value_for(key.provider))])
        for rest in resting.values():
            return f"rests until {datetime.fromtimestamp(rest['until'], UTC):%H:%M:%S} UTC. {rest['reason']}"
        return "in use"
