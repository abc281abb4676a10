"""The admin's pages of providers, models and what they cost."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSplitDateTimeWidget,
)

from accounts.models import Membership, Organization, Role, User
from aichat.catalog import access, editing, key_rests, snapshot, state
from aichat.catalog.form_fields import FallbacksField, HeadersField, ReasonsField
from aichat.catalog.models import AIModel, Price, Provider, ProviderKey
from aichat.catalog.sync import add_models_of
from aichat.core.admin.base import Admin, ReadOnlyInline, acting
from aichat.core.money import format_credits
from aichat.providers.registry import KINDS_OF_ROWS, MODEL_LIST_ADAPTERS

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


MOST_KEYS = 20  # of a provider
KEY_TEXT = RegexValidator(r"\A[\x21-\x7e]+\Z", "A key has letters, digits and signs without spaces.")
ALLOWED = ["allowed_roles", "allowed_organizations", "allowed_users"]
# Green is for what can be called; grey for what somebody switched off.
COLOURS = dict.fromkeys(state.State, "danger") | {
    state.State.READY: "success",
    state.State.OFF: "default",
    state.State.LEFT_ALONE: "warning",
    state.State.FAILING: "warning",
}


class ConditionAdmin(Admin):
    """A page whose rows show their state: computed for a page of the list at once, and above the form of one row."""

    change_form_outer_before_template = "catalog/condition.html"

    def conditions(self, rows: list[Any]) -> Mapping[Any, state.Condition]:
        raise NotImplementedError

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        rows = list(found.result_list)
        conditions = self.conditions(rows)
        for row in rows:
            row.condition = conditions[row.pk]
        found.result_list = rows
        return found

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        row = self.get_object(request, object_id) if object_id and request.method == "GET" else None
        shown = {"condition": self.conditions([row])[row.pk], **self.tools(row)} if row is not None else {}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    def tools(self, row: Any) -> dict[str, str]:
        """The addresses of what can be done about a state, for the template. Those pages are the dashboard's."""
        raise NotImplementedError

    @display(description="State", label=COLOURS)
    def state_label(self, row: Any) -> str:
        return row.condition.state  # type: ignore[no-any-return]

    @display(description="Why")
    def reason(self, row: Any) -> str:
        return row.condition.reason or "-"

    def warn_of(self, request: HttpRequest, row: Any) -> None:
        """Say at once that what was just saved can't be called."""
        condition = self.conditions([row])[row.pk]
        if condition.is_problem:
            messages.warning(request, f"{row} can't be called now ({condition.state}). {condition.reason}")


class KeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """One of several keys of a provider. A key that was entered is never shown again."""

    key = forms.CharField(
        required=False,
        max_length=500,
        strip=True,
        validators=[KEY_TEXT],
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted, never shown again. Empty: as it is.",
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
    """Gives each form its provider as the same page is changing it, before it is saved.

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


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]
    extra_headers = HeadersField(
        help_text="Sent with each request, one a line as name: value. {api_key} in a value becomes the key, which is then"
        " sent there only."
    )

    class Meta:
        model = Provider
        fields = "__all__"  # noqa: DJ007 -- all are the operator's


@admin.register(Provider)
class ProviderAdmin(ConditionAdmin):
    """APIs that serve models."""

    form = ProviderForm

    list_display = ["slug", "kind", "server", "state_label", "reason", "models_served"]
    readonly_fields = ["server"]
    list_filter = ["enabled"]
    search_fields = ["slug", "kind"]
    ordering = ["slug"]
    inlines = [KeyInline]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {
            "kind": KINDS_OF_ROWS[0],
            **super().get_changeform_initial_data(request),
        }  # the kind there can be many of

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        rows: QuerySet[Provider] = super().get_queryset(request)
        return rows.prefetch_related("models", "keys")

    @display(description="Models")
    def models_served(self, provider: Provider) -> int:
        return sum(model.enabled for model in provider.models.all())

    @display(description="Profile in use")
    def server(self, provider: Provider) -> str:
        return provider.profile_in_use or "-"

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        editing.forget_snapshot()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        editing.forget_snapshot()  # again: the keys are stored now
        saved = self.get_queryset(request).get(pk=form.instance.pk)  # with the keys as they are now
        if new := add_models_of(saved):
            messages.success(request, f"Added its current models: {', '.join(new)}.")
            saved = self.get_queryset(request).get(pk=saved.pk)
        self.warn_of(request, saved)

    def conditions(self, rows: list[Any]) -> Mapping[Any, state.Condition]:
        return state.of_providers(rows)

    def response_add(self, request: HttpRequest, obj: Provider, post_url_continue: str | None = None) -> HttpResponse:
        """Lead from a new provider to the list of its models: without one it is of no use."""
        found = self.conditions([obj])[obj.pk]
        if "_save" in request.POST and found.state is state.State.NO_MODELS and (tools := self.tools(obj)):
            messages.success(request, f"{obj} was added. Choose its models.")
            return redirect(tools["fetch_url"])
        return super().response_add(request, obj, post_url_continue)  # type: ignore[no-any-return]

    def tools(self, row: Provider) -> dict[str, str]:
        can_list = row.kind in MODEL_LIST_ADAPTERS
        return {"fetch_url": reverse("admin_fetch_models", args=[row.pk])} if can_list else {}

    def has_delete_permission(self, request: HttpRequest, obj: Provider | None = None) -> bool:
        return obj is not None and not obj.models.exists()


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
    """Several of many, searched for by typing: whatever the number of accounts, only the chosen are in the page."""
    # The search asks for a foreign key whose target is meant; that of the memberships is.
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
        self.initial.update(editing.amounts_of(editing.price_in_force(self.instance)))
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
    """Every price the model ever had; those to come first."""

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


@admin.register(AIModel)
class AIModelAdmin(ConditionAdmin):
    """Models as clients name them, and what they cost from when on."""

    form = ModelForm
    list_display = [
        "slug",
        "provider",
        "kind",
        "state_label",
        "reason",
        "input_price",
        "output_price",
        "flat_price",
        "who",
        "auto_position",
    ]
    list_filter = ["enabled", "kind", "provider"]
    search_fields = ["slug", "upstream_name"]
    search_help_text = "Name, here or at its provider"
    list_fullwidth = True
    ordering = ["slug"]
    inlines = [PriceInline]
    actions = ["enable", "disable"]

    def get_fieldsets(self, request: HttpRequest, obj: AIModel | None = None) -> Any:
        amounts = [*editing.AMOUNTS, "effective_at"]
        own = [f.name for f in AIModel._meta.fields if f.editable and f.name != "id"]
        return [
            (None, {"fields": own}),
            ("Who may use it", {"fields": ALLOWED, "description": "Choose nobody to let everybody use it."}),
            ("Prices in force", {"fields": amounts}),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[AIModel]:
        rows: QuerySet[AIModel] = super().get_queryset(request)
        return editing.with_prices(rows)

    @display(description="Input")
    def input_price(self, model: AIModel) -> str:
        return self.amount(model, "input_price")

    @display(description="Output")
    def output_price(self, model: AIModel) -> str:
        return self.amount(model, "output_price")

    @display(description="Each")
    def flat_price(self, model: AIModel) -> str:
        name = editing.PRICE_OF_KIND[AIModel.Kind(model.kind)]
        return self.amount(model, "request_price" if name == "input_price" else name)

    @display(description="For", label={"everybody": "info", "some": "warning"})
    def who(self, model: AIModel) -> str:
        served = snapshot.current().get(model.slug)  # in memory: a list of models asks for no permissions
        return "-" if served is None else "everybody" if served.allowed is None else "some"

    def amount(self, model: AIModel, name: str) -> str:
        prices: list[Price] = model.begun  # type: ignore[attr-defined]
        return format_credits(getattr(prices[-1], name)) if prices else "no price"

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        amounts = {
            name: None if form.cleaned_data.get(name) is None else editing.to_millionths(form.cleaned_data[name])
            for name in editing.AMOUNTS
        }
        editing.set_price(form.instance, amounts, form.cleaned_data.get("effective_at"))
        editing.require_price(form.instance)
        if not set(form.changed_data).isdisjoint(ALLOWED):
            access.assign(form.instance, **{name.removeprefix("allowed_"): form.cleaned_data[name] for name in ALLOWED})
        editing.forget_snapshot()
        self.warn_of(request, editing.with_prices(AIModel.objects.filter(pk=form.instance.pk)).get())

    def conditions(self, rows: list[Any]) -> Mapping[Any, state.Condition]:
        return state.of_models(rows)

    def tools(self, row: AIModel) -> dict[str, str]:
        return {"test_url": reverse("admin_test_model", args=[row.pk])}

    def has_delete_permission(self, request: HttpRequest, obj: AIModel | None = None) -> bool:
        """Its prices explain old usage: a model is disabled instead."""
        return False

    @admin.action(description="Enable")
    def enable(self, request: HttpRequest, rows: QuerySet[AIModel]) -> None:
        self.set_enabled(request, rows, True)

    @admin.action(description="Disable")
    def disable(self, request: HttpRequest, rows: QuerySet[AIModel]) -> None:
        self.set_enabled(request, rows, False)

    def set_enabled(self, request: HttpRequest, rows: QuerySet[AIModel], enabled: bool) -> None:
        for model in rows:
            try:
                editing.set_enabled(model, enabled, actor=acting(request))
            except editing.PriceRequired as error:
                self.message_user(request, error.message, level="error")
