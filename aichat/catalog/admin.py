"""The admin's pages of providers, models and what they cost."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from unfold.decorators import display

from aichat.catalog import access, connecting, editing, snapshot, state
from aichat.catalog.condition_admin import ConditionAdmin
from aichat.catalog.form_fields import HeadersField, quirks_field
from aichat.catalog.key_forms import KeyInline
from aichat.catalog.model_forms import ALLOWED, ModelForm, PriceInline
from aichat.catalog.models import AIModel, Price, Provider
from aichat.catalog.sync import ALWAYS, add_models_of
from aichat.core.admin.base import acting, rounded
from aichat.providers.registry import KINDS_OF_ROWS, MODEL_LIST_ADAPTERS


class ProviderForm(forms.ModelForm):  # type: ignore[type-arg]
    extra_headers = HeadersField(
        help_text="Sent with each request, one a line as name: value. {api_key} in a value becomes the key, which is then"
        " sent there only."
    )
    quirks = quirks_field()

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
    list_before_template = "catalog/new_provider.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list below the names of vendors and servers that can be connected."""
        choices = [
            (reverse("admin_new_provider", args=[choice.slug]), choice.name)
            for choice in connecting.choices().values()
            if self.has_add_permission(request)
        ]
        return super().changelist_view(request, {**(extra_context or {}), "choices": choices})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"kind": KINDS_OF_ROWS[0], **super().get_changeform_initial_data(request)}

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
        snapshot.forget()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        snapshot.forget()  # again: the keys are stored now
        saved = self.get_queryset(request).get(pk=form.instance.pk)  # with the keys as they are now
        if new := add_models_of(saved):
            messages.success(request, f"Added its current models: {', '.join(new)}.")
            saved = self.get_queryset(request).get(pk=saved.pk)
        self.warn_of(request, saved)

    def conditions(self, rows: list[Any]) -> Mapping[Any, state.Condition]:
        return state.of_providers(rows)

    def response_add(self, request: HttpRequest, obj: Provider, post_url_continue: str | None = None) -> HttpResponse:
        """Lead from a new provider to the list of its models, because a provider without models is of no use."""
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


@admin.register(AIModel)
class AIModelAdmin(ConditionAdmin):
    """Models as clients name them, with their dated prices."""

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
        price = editing.price_in_force(obj) if obj else None
        amounts = [*(editing.amounts_for(obj, price) if obj else editing.AMOUNTS), "effective_at"]
        own = [f.name for f in AIModel._meta.fields if f.editable and f.name != "id"]
        return [
            (None, {"fields": own}),
            ("Who may use it", {"fields": ALLOWED, "description": "Choose nobody to let everybody use it."}),
            ("Prices", {"fields": amounts, "description": said_of_prices(obj, price)}),
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
        return rounded(getattr(prices[-1], name)) if prices else "no price"

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        amounts = {
            name: None if form.cleaned_data.get(name) is None else editing.to_millionths(form.cleaned_data[name])
            for name in editing.AMOUNTS
        }
        begins = form.cleaned_data.get("effective_at")
        if changed := editing.set_price(form.instance, amounts, begins):
            messages.info(request, said_of_change(changed, begins))
        editing.require_price(form.instance)
        if not set(form.changed_data).isdisjoint(ALLOWED):
            access.assign(form.instance, **{name.removeprefix("allowed_"): form.cleaned_data[name] for name in ALLOWED})
        snapshot.forget()
        self.warn_of(request, editing.with_prices(AIModel.objects.filter(pk=form.instance.pk)).get())

    def conditions(self, rows: list[Any]) -> Mapping[Any, state.Condition]:
        return state.of_models(rows)

    def tools(self, row: AIModel) -> dict[str, str]:
        return {"test_url": reverse("admin_test_model", args=[row.pk])}

    def has_delete_permission(self, request: HttpRequest, obj: AIModel | None = None) -> bool:
        """Forbid deletion, because a model's prices explain old usage: it is disabled instead."""
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


def said_of_prices(model: AIModel | None, price: Price | None) -> str:
    """The text above the form's prices: since when they are in force, and from when on others will be."""
    if model is None or price is None:
        return ""
    source = "an operator" if price.source == Price.OPERATOR else "the price library"
    since = "" if price.effective_at <= ALWAYS else f" since {moment(price.effective_at)}"
    later = model.prices.filter(effective_at__gt=timezone.now()).order_by("effective_at").first()
    next_one = f" Others hold from {moment(later.effective_at)} on: see the list of prices." if later else ""
    return f"In force{since}, from {source}. A change is kept beside them, and nothing of the past changes.{next_one}"


def said_of_change(changed: Mapping[str, tuple[Any, Any]], begins: datetime | None) -> str:
    """The message after a change of prices: the old and new amounts, and from when on they hold."""
    pairs = [f"{name.replace('_', ' ')} {old or 'none'} → {new}" for name, (old, new) in changed.items()]
    return f"Prices {f'from {moment(begins)} on' if begins else 'from now on'}: {', '.join(pairs)}."


def moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%d %B %Y, %H:%M} UTC"
