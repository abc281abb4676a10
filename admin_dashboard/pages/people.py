"""The pages of people with what an operator asks about them: credits, spending, keys, sessions; and the tasks."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminTextInputWidget

from accounts import logins, services, tenancy
from accounts.admin import UserAdmin
from accounts.key_admin import KeyForm
from accounts.models import AccessToken, Organization, User
from admin_dashboard.pages.formatting import day_label, days, usage_url
from aichat.chat.models import Conversation
from aichat.core.admin.actions import confirmed_action
from aichat.core.admin.base import CreditsFormField, acting, rounded
from aichat.core.admin.charts import Chart, Series
from aichat.core.database.batches import column_by_key
from aichat.core.errors import ApiError
from aichat.core.money import CREDIT
from aichat.usage import queries
from aichat.usage.windows import Window
from credits.admin import MOST_GIVEN, gift_page
from credits.models import Wallet
from credits.services import wallet_of

DAYS = 30  # whose spending is shown
MOST_SHOWN = 20  # keys and sessions on a person's page

admin.site.unregister(User)


@admin.register(User)
class PersonAdmin(UserAdmin):
    """People with their credits and spending. It stands on this floor because those are kept above `accounts`."""

    list_display = ["email", "name", "role_label", "is_active", "balance", "spent", "last_seen", "created_at"]
    list_fullwidth = True
    change_form_outer_before_template = "admin_dashboard/person.html"
    actions = ["give_to_chosen", *UserAdmin.actions]
    actions_detail = ["give_credits", "make_key", "show_usage", "end_logins", "mail_reset", "reset_second_factor"]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Return the page of people, each with the figures of its columns: four queries for any number."""
        found = super().get_changelist_instance(request)
        people = list(found.result_list)
        available, spent, seen = balances(people), spending(people), last_seen(people)
        for person in people:
            person.available, person.charged = available.get(person.pk, 0), spent.get(person.pk, 0)
            person.seen = seen[person.pk]
        found.result_list = people
        return found

    @display(description="Credits")
    def balance(self, person: Any) -> str:
        return rounded(person.available)

    @display(description=f"Spent, {DAYS} days")
    def spent(self, person: Any) -> str:
        return rounded(person.charged)

    @display(description="Last seen")
    def last_seen(self, person: Any) -> datetime | None:
        return person.seen  # type: ignore[no-any-return]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        person = self.get_object(request, object_id) if object_id and request.method == "GET" else None
        shown = {"person": about(person)} if person is not None else {}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **shown})

    @admin.action(description="Give credits to the chosen")
    def give_to_chosen(self, request: HttpRequest, people: QuerySet[User]) -> HttpResponse | None:
        chosen = list(people[: MOST_GIVEN + 1])
        if len(chosen) > MOST_GIVEN:
            messages.error(request, f"Choose at most {MOST_GIVEN}.")
            return None
        wallets = [wallet_of(tenancy.personal_organization(person)) for person in chosen]
        return gift_page(self, request, wallets)

    @action(description="Give credits", url_path="give-credits", icon="add_card")
    def give_credits(self, request: HttpRequest, object_id: str) -> HttpResponse:
        person = self.get_object(request, object_id)
        if person is None:
            return redirect("admin:accounts_user_changelist")
        return redirect("admin:credits_wallet_change_credits", tenancy.personal_organization(person).pk)

    @action(description="Make a key", url_path="make-key", icon="key")
    def make_key(self, request: HttpRequest, object_id: str) -> HttpResponse:
        person = self.get_object(request, object_id)
        if person is None:
            return redirect("admin:accounts_user_changelist")
        return make_key(self, request, person)

    @action(description="Usage", url_path="usage", icon="bar_chart")
    def show_usage(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(usage_url(Window.last_days(DAYS), user__exact=object_id))

    @confirmed_action(
        "End logins",
        url_path="end-logins",
        icon="logout",
        question="End all logins of this person?",
        explanation="They log in again with their password. API keys go on.",
        button="End all logins",
    )
    def end_logins(self, request: HttpRequest, person: User) -> None:
        logins.end_logins(person)
        self.log_change(request, person, "Ended all logins.")
        messages.success(request, f"All logins of {person} ended.")


# --- Figures ----------------------------------------------------------------------------------------------------------


def balances(people: Iterable[User]) -> dict[UUID, int]:
    """Return the microcredits that each person can spend, of their personal organization."""
    owners = dict(
        Organization.objects.filter(personal_to__in=[person.pk for person in people]).values_list("pk", "personal_to")
    )
    found = column_by_key(Wallet, owners, "available")
    return {owners[organization]: available for organization, available in found.items()}


def spending(people: Iterable[User]) -> dict[UUID, int]:
    """Return the microcredits that each person was charged in the last days."""
    keys = [person.pk for person in people]
    if not keys:
        return {}
    found = queries.sums(Window.last_days(DAYS), ("user_id",), user__in=keys)
    return {key: figures.charged for (key,), figures in found.items()}


def last_seen(people: Iterable[User]) -> dict[UUID, datetime | None]:
    """Return when each person logged in, or used a key or login, for the last time."""
    people = list(people)
    tokens = AccessToken.objects.filter(user__in=[person.pk for person in people]).order_by()
    used = dict(tokens.values("user").annotate(at=Max("last_used_at")).values_list("user", "at"))
    moments = {person.pk: [person.last_login, used.get(person.pk)] for person in people}
    return {pk: max(filter(None, both), default=None) for pk, both in moments.items()}


def about(person: User) -> dict[str, Any]:
    """Return what a person's page shows above the form."""
    window = Window.last_days(DAYS)
    by_day = queries.sums(window, ("day",), user=person.pk)
    by_key = queries.sums(window, ("api_key_id",), user=person.pk)
    wallet = Wallet.objects.filter(organization__personal_to=person).first()
    every_key = AccessToken.objects.api_keys().filter(user=person, replaced_by=None)
    keys = list(every_key.order_by("-created")[:MOST_SHOWN])
    spent = [figures.charged for figures in by_day.values()]
    return {
        "cards": [
            ("Credits to spend", rounded(wallet.available if wallet else 0)),
            ("Held by requests", rounded(wallet.held if wallet else 0)),
            (f"Spent, {DAYS} days", rounded(sum(spent))),
            ("Requests", f"{sum(figures.requests for figures in by_day.values()):,}"),
            ("Conversations", f"{Conversation.objects.filter(user=person).count():,}"),
        ],
        "chart": spending_chart(window, {key[0]: figures.charged for key, figures in by_day.items()}),
        "keys": [(key, key_state(key), rounded(by_key[key.id,].charged if (key.id,) in by_key else 0)) for key in keys],
        "sessions": list(logins.sessions_of(person).order_by("-created")[:MOST_SHOWN]),
        "seen": last_seen([person])[person.pk],
    }


def spending_chart(window: Window, charged: dict[date, int]) -> str:
    """Return a chart of the credits a day; empty for somebody who spent nothing."""
    if not any(charged.values()):
        return ""
    every_day = days(window)
    values = [charged.get(day, 0) / CREDIT for day in every_day]
    labels = [day_label(day) for day in every_day]
    return Chart(title="Spent by day", unit="credits", labels=labels, series=[Series("credits", values)]).bars()


def key_state(key: AccessToken) -> str:
    if key.revoked_at:
        return "revoked"
    return "in use" if key.is_usable(timezone.now()) else "expired"


# --- A key ------------------------------------------------------------------------------------------------------------


class NewKeyForm(KeyForm):
    """A key for a person, with its limits."""

    name = forms.CharField(max_length=100, widget=UnfoldAdminTextInputWidget(), help_text="What it is for.")
    spend_limit = CreditsFormField(required=False, help_text="Credits it may ever spend; empty: no limit.")
    spend_limit_month = CreditsFormField(required=False, help_text="Credits a month (UTC); empty: no limit.")
    last_day = forms.DateField(
        required=False, widget=UnfoldAdminDateWidget(), help_text="UTC, the last day on which it works; empty: no end."
    )

    class Meta:
        model = AccessToken
        fields = ["name", "spend_limit", "spend_limit_month", "rate_limit", "allowed_models", "allowed_ips", "scopes"]
        widgets = {"rate_limit": UnfoldAdminTextInputWidget()}

    def clean_last_day(self) -> datetime | None:
        last: date | None = self.cleaned_data["last_day"]
        if last is None:
            return None
        if last < timezone.now().astimezone(UTC).date():
            raise forms.ValidationError("This day is over.")
        return datetime.combine(last, time(), UTC) + timedelta(days=1)


def make_key(page: PersonAdmin, request: HttpRequest, person: User) -> HttpResponse:
    """Show the form; when it is valid make the key and show it, this one time."""
    form = NewKeyForm(request.POST or None)
    secret = ""
    if not person.is_active:
        messages.error(request, f"{person} is deactivated: a key would not work.")
    elif request.method == "POST" and form.is_valid():
        wanted = dict(form.cleaned_data)
        try:
            _, secret = services.create_api_key(
                user=person,
                organization=tenancy.personal_organization(person),
                expires_at=wanted.pop("last_day"),
                actor=acting(request),
                **wanted,
            )
        except ApiError as error:
            form.add_error(None, error.message)
    models = request.build_absolute_uri(f"{settings.URL_PREFIX}/v1/models")
    context = {
        **page.admin_site.each_context(request),
        "title": f"A key for {person}",
        "opts": page.opts,
        "form": form,
        "owner": person,
        "secret": secret,
        "example": f'curl {models} -H "Authorization: Bearer {secret}"',
    }
    page_with_key = TemplateResponse(request, "admin_dashboard/make_key.html", context)
    add_never_cache_headers(page_with_key)
    return page_with_key
