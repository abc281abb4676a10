"""The form that connects a provider. Its vendor was chosen in a list, so the address is known; only a key may be missing."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from admin_dashboard.pages.models import require_operator
from aichat.catalog import connecting, state
from aichat.catalog.key_forms import KEY_TEXT
from aichat.catalog.models import SLUG, Provider
from aichat.core.admin.base import acting


class NewProviderForm(forms.Form):
    """The fields of a new provider. Of a vendor that has a setting for its address, only the key is asked for."""

    slug = forms.CharField(
        label="Name",
        max_length=50,
        validators=[SLUG],
        widget=UnfoldAdminTextInputWidget(),
        help_text="As lists show it.",
    )
    base_url = forms.CharField(
        label="Address",
        max_length=500,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "url"}),
        help_text="What comes before /chat/completions.",
    )
    key = forms.CharField(
        max_length=500,
        strip=True,
        validators=[KEY_TEXT],
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="Stored encrypted, never shown again.",
    )

    def __init__(self, choice: connecting.Choice, data: Any = None) -> None:
        super().__init__(data)
        self.fields["key"].required = choice.needs_key
        if choice.server is None:
            del self.fields["slug"], self.fields["base_url"]
        else:
            self.initial = {"slug": connecting.free_slug(choice.slug), "base_url": choice.server.base_url}
        if not choice.needs_key:
            self.fields["key"].help_text = "Empty: the server needs none. Stored encrypted, never shown again."


@never_cache
def new_provider(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the form; when it is valid make the provider and go on to the list of its models."""
    require_operator(request)
    choice = connecting.choices().get(slug)
    if choice is None:
        raise Http404
    form = NewProviderForm(choice, request.POST or None)
    if request.method == "POST" and form.is_valid():
        wanted = {"slug": choice.slug, "base_url": "", **form.cleaned_data}
        try:
            provider = connecting.connect(choice, **wanted, actor=acting(request))
        except ValidationError as error:
            form.add_error(None, error) if not hasattr(error, "error_dict") else add_errors(form, error)
        else:
            return redirect(f"{reverse('admin_fetch_models', args=[provider.pk])}?new=1")
    context = {
        **admin.site.each_context(request),
        "title": f"Connect {choice.name}",
        "choice": choice,
        "form": form,
        "problem": problem_of(choice),
    }
    return TemplateResponse(request, "admin_dashboard/new_provider.html", context)


def add_errors(form: NewProviderForm, error: ValidationError) -> None:
    """Show each message beside its field; a message of a field that the form lacks is shown above the form."""
    for name, found in error.message_dict.items():
        form.add_error(name if name in form.fields else None, found)


def problem_of(choice: connecting.Choice) -> str:
    """Return why the proposed address can't be called, before anything is saved; empty: it can."""
    if choice.server is None:
        return ""
    row = Provider(slug=choice.slug, kind=choice.kind, base_url=choice.server.base_url)
    found = state.obstacle(row)
    return found.reason if found and found.state is state.State.REFUSED_ADDRESS else ""
