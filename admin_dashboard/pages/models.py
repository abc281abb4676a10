"""The operator's two tools for models: try one, and add those that a provider lists."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_POST

from aichat.catalog import offers, state
from aichat.catalog.editing import PriceRequired
from aichat.catalog.models import AIModel, Provider
from aichat.core.admin.base import CreditsFormField, acting
from aichat.generation import trial
from aichat.providers.base import ListedModel
from aichat.providers.errors import ProviderError

MOST_CHOSEN = 200  # models added at once
MOST_PROPOSED = 30  # models of a new provider that are chosen already: of a longer list an operator wants a few


@require_POST
def test_model(request: HttpRequest, model_id: Any) -> HttpResponse:
    """Ask the model once and say what came: its answer and time, or the exact reason."""
    require_operator(request)
    return ask_once(request, get_object_or_404(AIModel.objects.select_related("provider"), pk=model_id))


def try_one(request: HttpRequest, slugs: list[str]) -> HttpResponse:
    """Try one of the models that were just added: one that chats, if there is any."""
    models = list(AIModel.objects.select_related("provider").filter(slug__in=slugs))
    return ask_once(request, min(models, key=lambda model: model.kind != AIModel.Kind.CHAT))


def ask_once(request: HttpRequest, model: AIModel) -> HttpResponse:
    """Go to the model's page, which says how the call ended."""
    back = redirect("admin:catalog_aimodel_change", model.pk)
    if problem := state.obstacle(model.provider):
        messages.error(request, f"{model} was not asked ({problem.state}). {problem.reason}")
        return back
    found = trial.try_model(model)
    if found.is_ok:
        messages.success(request, f"{model} answered in {found.seconds:.2f} s: {found.text}")
    else:
        messages.error(request, f"{model} did not answer ({found.outcome}, {found.seconds:.2f} s). {found.text}")
    return back


class OffersForm(forms.Form):
    """The models to add, each as "kind name", and the price of those that the price library does not know."""

    models = forms.MultipleChoiceField(error_messages={"required": "Choose a model."})
    input_price = CreditsFormField(required=False, label="Input")
    output_price = CreditsFormField(required=False, label="Output")

    def __init__(self, *args: Any, chosen: list[str], **options: Any) -> None:
        super().__init__(*args, **options)
        # What may be added is checked by `offers.add`; the provider is not asked a second time.
        self.fields["models"].choices = [(value, value) for value in chosen[:MOST_CHOSEN]]  # type: ignore[attr-defined]

    def clean_models(self) -> list[ListedModel]:
        parts = [value.partition(" ") for value in self.cleaned_data["models"]]
        return [ListedModel(name, kind) for kind, _, name in parts if name]


def fetch_models(request: HttpRequest, provider_id: Any) -> HttpResponse:
    """Show the models that the provider lists, with the prices the library proposes; add those that are chosen."""
    require_operator(request)
    provider = get_object_or_404(Provider.objects.prefetch_related("models"), pk=provider_id)
    form = OffersForm(request.POST or None, chosen=request.POST.getlist("models"))
    if request.method == "POST" and form.is_valid():
        added = add_chosen(request, provider, form)
        if added is not None:
            return after_adding(request, added)
    found, problem = listed(provider)
    chosen = set(request.POST.getlist("models"))
    if "new" in request.GET and not form.is_bound and len(found) <= MOST_PROPOSED:
        chosen = {f"{offer.kind} {offer.name}" for offer in found if not offer.is_in_catalog}
    context = {
        **admin.site.each_context(request),
        "title": f"Models of {provider}",
        "provider": provider,
        "offers": found,
        "problem": problem,
        "form": form,
        "chosen": chosen,
        "is_own_server": state.is_private(provider),
        "has_unpriced": any(offer.price is None for offer in found),
    }
    return TemplateResponse(request, "admin_dashboard/fetch_models.html", context)


def add_chosen(request: HttpRequest, provider: Provider, form: OffersForm) -> list[str] | None:
    """Add the chosen models; return the slugs of those that are new. None: the form tells now why they were not added."""
    amounts = {name: form.cleaned_data[name] for name in ("input_price", "output_price")}
    try:
        return offers.add(provider, form.cleaned_data["models"], amounts, actor=acting(request))
    except PriceRequired as error:
        form.add_error("input_price", f"{error.message} 0 is a price: it makes them free.")
    except ValidationError as error:
        form.add_error("models", error.messages)
    except IntegrityError:
        form.add_error("models", "Somebody added one of them at this moment: look again.")
    return None


def after_adding(request: HttpRequest, added: list[str]) -> HttpResponse:
    """Go on to trying one of the new models, to the page of a single one, or to the list."""
    messages.success(request, f"Added: {', '.join(added) or 'none, all were there'}.")
    if added and "try" in request.POST:
        return try_one(request, added)
    if len(added) == 1:
        return redirect("admin:catalog_aimodel_change", AIModel.objects.get(slug=added[0]).pk)
    return redirect("admin:catalog_aimodel_changelist")


def listed(provider: Provider) -> tuple[list[offers.Offer], str]:
    """Return the models that a provider lists, or the reason, in words, why it could not be asked."""
    if not trial.can_list(provider):
        return [], "This kind of provider lists no models."
    if problem := state.obstacle(provider):
        return [], f"{provider} was not asked ({problem.state}). {problem.reason}"
    try:
        return offers.offers(provider, trial.list_models(provider)), ""
    except ProviderError as error:
        return [], f"{provider} gave no list ({error.outcome}). {error.outcome.in_words} It said: {error}"


def require_operator(request: HttpRequest) -> None:
    if not request.user.has_perm("catalog.change_aimodel"):
        raise PermissionDenied
