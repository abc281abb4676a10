"""The form of a model with its price in force and who may use it, and the table of its prices."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.db.models import QuerySet
from django.utils import timezone
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSplitDateTimeWidget,
)

from accounts.models import Membership, Organization, Role, User
from aichat.catalog import access, editing
from aichat.catalog.form_fields import FallbacksField, ReasonsField
from aichat.catalog.models import AIModel, Price
from aichat.core.admin.base import ReadOnlyInline
from aichat.core.money import format_credits

UNITS = {
    "input_price": "Credits for a million input tokens.",
    "cached_input_price": "Credits for a million input tokens the provider had cached.",
    "output_price": "Credits for a million output tokens.",
    "request_price": "Credits for each request, besides its tokens.",
    "image_price": "Credits for each image.",
    "character_price": "Credits for a million characters of text to speak.",
    "minute_price": "Credits for a minute of audio to transcribe.",
    "input_cost": "What the provider bills us: USD for a million input tokens.",
    "cached_input_cost": "USD for a million cached input tokens.",
    "output_cost": "USD for a million output tokens.",
    "image_cost": "USD for each image.",
    "character_cost": "USD for a million characters of text to speak.",
    "minute_cost": "USD for a minute of audio to transcribe.",
}


ALLOWED = ["allowed_roles", "allowed_organizations", "allowed_users"]


def amount_field(name: str) -> forms.DecimalField:
    return forms.DecimalField(
        required=False,
        min_value=0,
        max_value=10**9,
        decimal_places=6,
        label=name.replace("_", " ").capitalize(),
        help_text=UNITS[name],
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
    )


def people_field(name: str, queryset: QuerySet[Any], help_text: str) -> "forms.ModelMultipleChoiceField[Any]":
    """A field for several users or organizations, found by typing: the page holds only the chosen ones, never all."""
    # The widget wants a foreign key to the table that it searches: the one of the memberships will do.
    source: Any = Membership._meta.get_field(name)
    widget = AutocompleteSelectMultiple(source, admin.site)
    return forms.ModelMultipleChoiceField(
        queryset, required=False, label=f"{name.capitalize()}s", help_text=help_text, widget=widget
    )


class ModelForm(forms.ModelForm):  # type: ignore[type-arg]
    """A model, who may use it, and its price in force; a changed price is stored as a new row."""

    allowed_roles = forms.MultipleChoiceField(
        choices=Role.choices,
        required=False,
        label="Roles",
        help_text="A role includes those above it.",
        widget=UnfoldAdminCheckboxSelectMultipleWidget(),
    )
    allowed_organizations = people_field(
        "organization", Organization.objects.all(), "Their members, while they act for the organization."
    )
    allowed_users = people_field("user", User.objects.all(), "Single people, wherever they act.")

    fallbacks = FallbacksField(help_text="Slugs of models to try when this one fails, in order, one a line.")
    fallback_on = ReasonsField(
        label="Fall back after", help_text="The failures after which they are tried; none: FALLBACK_ON."
    )

    locals().update({name: amount_field(name) for name in editing.AMOUNTS})
    effective_at = forms.SplitDateTimeField(
        required=False,
        widget=UnfoldAdminSplitDateTimeWidget(),
        label="Prices hold from",
        help_text="UTC. Empty: from now on.",
    )

    class Meta:
        model = AIModel
        fields = "__all__"  # noqa: DJ007 -- the fieldsets say which

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        price = editing.price_in_force(self.instance)
        self.initial.update(editing.amounts_of(price))
        for name, amount in editing.amounts_of(price).items() if price else ():
            self.fields[name].help_text = f"Now {amount:f}. {UNITS[name]}"
        if not self.instance._state.adding:
            self.initial.update({f"allowed_{kind}": who for kind, who in access.given_to(self.instance).items()})

    def clean_effective_at(self) -> Any:
        begins = self.cleaned_data["effective_at"]
        if begins and begins < timezone.now():
            raise forms.ValidationError(
                "Prices of the past stay as they were: write a time to come, or leave it empty."
            )
        return begins

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        given = any(cleaned.get(name) is not None for name in editing.AMOUNTS)
        model = self.instance
        model.kind, model.slug = cleaned.get("kind", model.kind), cleaned.get("slug", model.slug)
        if cleaned.get("enabled") and not given and cleaned.get("provider") and not self.has_price_or_is_known(cleaned):
            self.add_error("input_price", editing.PriceRequired(model).message)
        return cleaned

    def has_price_or_is_known(self, cleaned: dict[str, Any]) -> bool:
        name = cleaned.get("upstream_name") or cleaned.get("slug") or ""
        if not self.instance._state.adding and self.instance.prices.exists():
            return True
        return editing.in_library(cleaned["provider"].kind, name, cleaned.get("kind", ""))


class PriceInline(ReadOnlyInline):
    """Every price that the model has had or will have, the latest first."""

    model = Price
    verbose_name_plural = "Prices, with their history (credits, and USD)"
    tab = True
    per_page = 20
    ordering = ["-effective_at"]
    show_change_link = False
    fields = readonly_fields = ["effective_at", "source", *(f"{name}_shown" for name in editing.AMOUNTS)]


def shown_amount(name: str) -> Any:
    @display(description=name.replace("_", " ").capitalize())
    def column(self: PriceInline, price: Price) -> str:
        return format_credits(getattr(price, name))

    return column


for _name in editing.AMOUNTS:
    setattr(PriceInline, f"{_name}_shown", shown_amount(_name))
