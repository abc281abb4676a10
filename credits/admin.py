"""The admin's pages of the ledger: to look at, and one form that moves credits by the ledger's own verbs."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid5

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action, display

from accounts.models import Organization
from aichat.core.admin.base import Admin, LongListAdmin, ReadOnlyAdmin, acting, credits_column, link_to
from aichat.core.admin.charts import Chart, Series, compact
from aichat.core.database.models import uuid7
from aichat.core.errors import ApiError
from aichat.core.money import CREDIT, credits_in_words, format_credits
from credits.administration import change_balance, refund_charge
from credits.forms import CreditsForm, GiftForm, RefundForm
from credits.models import CreditPlan, Hold, LedgerEntry, Wallet
from credits.services import Kind, wallet_of

SHOWN = 50  # entries and holds on a wallet's page
MOST_GIVEN = 200  # wallets that are given credits at once
CHARTED = 300  # entries in its chart
DONE: dict[str, str] = {Kind.GRANT: "granted", Kind.ADJUSTMENT: "taken away", Kind.REFUND: "given back"}


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    """The page of balances. Balances move by ledger entries alone, so nothing here can be edited."""

    list_display = ["organization", "owner", "balance_credits", "available_credits", "held_credits", "created_at"]
    list_select_related = ["organization__personal_to"]
    search_fields = ["organization__name", "organization__personal_to__email"]
    search_help_text = "Organization, or e-mail of the person it belongs to"
    sortable_by: Any = ()
    fields = readonly_fields = [
        "organization", "owner", "balance_credits", "available_credits", "held_credits", "created_at",
    ]  # fmt: skip
    change_form_outer_after_template = "credits/wallet.html"
    actions = ["give_credits"]
    actions_detail = ["change_credits"]

    balance_credits = credits_column("balance", "Balance")
    available_credits = credits_column("available", "Available")
    held_credits = credits_column("held", "Held")

    @display(description="Personal to")
    def owner(self, wallet: Wallet) -> str:
        return link_to(wallet.organization.personal_to)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Wallet | None:
        """The wallet of an organization; the first look at an organization's wallet opens it."""
        found = super().get_object(request, object_id, from_field)
        if found is None and _is_uuid(object_id):
            organization = Organization.objects.filter(pk=object_id).first()
            return wallet_of(organization) if organization else None
        return found  # type: ignore[no-any-return]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        more = movements(UUID(object_id)) if object_id and _is_uuid(object_id) else {}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **more})  # type: ignore[no-any-return]

    @action(description="Grant or adjust", url_path="credits", icon="add_card")
    def change_credits(self, request: HttpRequest, object_id: str) -> HttpResponse:
        wallet = self.get_object(request, object_id)
        if wallet is None:
            return redirect("admin:credits_wallet_changelist")
        return move_credits(self, request, wallet, CreditsForm, partial(change_balance, wallet), verb="Give")

    @admin.action(description="Give credits to the chosen")
    def give_credits(self, request: HttpRequest, wallets: QuerySet[Wallet]) -> HttpResponse | None:
        chosen = list(wallets.select_related("organization")[: MOST_GIVEN + 1])
        if len(chosen) > MOST_GIVEN:
            messages.error(request, f"Choose at most {MOST_GIVEN}.")
            return None
        is_sent = "apply" in request.POST
        form = GiftForm(request.POST if is_sent else None, initial={"reference": uuid7()})
        if is_sent and form.is_valid():
            given = 0
            for wallet in chosen:
                try:
                    give(wallet, acting(request), **form.cleaned_data)
                    given += 1
                except ApiError as error:
                    messages.error(request, f"{wallet.organization}: {error.message}")
            amount = format_credits(form.cleaned_data["amount"])
            messages.success(request, f"{amount} credits granted to each of {given}.")
            return None
        return gift_page(self, request, chosen, form)


def left_of(charge: LedgerEntry) -> int:
    """The microcredits of a charge that can still be given back."""
    hold = Hold.objects.filter(wallet=charge.wallet_id, reference=charge.reference).first()
    return max(0, -charge.amount - (hold.refunded if hold else 0))


def gift_page(page: Admin, request: HttpRequest, chosen: list[Wallet], form: CreditsForm | None = None) -> HttpResponse:
    """The form that gives credits to each of the chosen wallets; it is sent to the list of wallets."""
    address = reverse("admin:credits_wallet_changelist")
    form = form or GiftForm(initial={"reference": uuid7()})
    return form_page(page, request, form, "Give", title="Give credits", chosen=chosen, back=address, send_to=address)


def give(wallet: Wallet, actor: Any, *, amount: int, reason: str, reference: UUID) -> LedgerEntry:
    """Grant credits to one of several wallets; the form sent twice grants once to each."""
    own = uuid5(reference, str(wallet.pk))
    return change_balance(wallet, amount=amount, reason=reason, actor=actor, reference=own)


def form_page(page: Admin, request: HttpRequest, form: CreditsForm, verb: str, **more: Any) -> TemplateResponse:
    """The form that moves credits: it says what the amount is worth, and its button what will be done."""
    initial = form.initial.get("amount")
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "form": form,
        "verb": verb,
        "button": f"{verb} {credits_in_words(initial)}" if initial else f"{verb} credits",
        "worth": worth(initial) if initial else "",
        "credits_per_usd": settings.CREDITS_PER_USD,
        **more,
    }
    return TemplateResponse(request, "credits/change_credits.html", context)


def worth(microcredits: int) -> str:
    """What credits are worth, as "12.5 credits = $0.0125"."""
    credits = format_credits(microcredits)
    if not settings.CREDITS_PER_USD:
        return f"{credits} credits"
    dollars = (Decimal(credits) / settings.CREDITS_PER_USD).quantize(Decimal("0.000001")).normalize()
    return f"{credits} credits = ${dollars:f}"


def move_credits(
    page: Admin,
    request: HttpRequest,
    wallet: Wallet,
    form_type: type[CreditsForm],
    move: Callable[..., LedgerEntry],
    *,
    verb: str,
    **initial: Any,
) -> HttpResponse:
    """Show the form; when it is valid call `move(amount=, reason=, reference=, actor=)` and lead to the wallet."""
    form = form_type(request.POST or None, initial={"reference": uuid7(), **initial})
    if request.method == "POST" and form.is_valid():
        try:
            entry = move(**form.cleaned_data, actor=acting(request))
        except ApiError as error:
            form.add_error("amount", error.message)
        else:
            amount, balance = format_credits(abs(entry.amount)), format_credits(entry.balance_after)
            messages.success(request, f"{amount} credits {DONE[entry.kind]}: the balance is {balance}.")
            return redirect("admin:credits_wallet_change", wallet.pk)
    return form_page(
        page,
        request,
        form,
        verb,
        title=f"Credits of {wallet.organization}",
        wallet=wallet,
        balance=format_credits(wallet.balance),
        available=format_credits(wallet.available),
        back=reverse("admin:credits_wallet_change", args=[wallet.pk]),
    )


def movements(wallet_id: UUID) -> dict[str, Any]:
    """The template variables of a wallet's page: the chart of its balance, its latest entries and its open holds."""
    newest = LedgerEntry.objects.filter(wallet=wallet_id).select_related("actor").order_by("-sequence")
    entries = list(newest[:CHARTED])
    holds = Hold.objects.filter(wallet=wallet_id, state=Hold.State.OPEN).order_by("expires_at")
    return {
        "entries": [
            (entry, format_credits(entry.amount), format_credits(entry.balance_after)) for entry in entries[:SHOWN]
        ],
        "holds": [(hold, format_credits(hold.amount)) for hold in holds[:SHOWN]],
        "chart": balance_chart(entries[::-1]),
        "wallet_id": wallet_id,
    }


def balance_chart(entries: list[LedgerEntry]) -> str:
    """An SVG chart of the balance after each entry, oldest entry first; empty without entries."""
    if not entries:
        return ""
    days = (entries[-1].created_at - entries[0].created_at).days
    pattern = "%b %-d" if days else "%H:%M"
    return Chart(
        title="Balance",
        unit="credits",
        labels=[entry.created_at.strftime(pattern) for entry in entries],
        series=[Series("after each entry", [entry.balance_after / CREDIT for entry in entries])],
        format=compact,
    ).lines()


@admin.register(LedgerEntry)
class LedgerEntryAdmin(LongListAdmin):
    """Every movement of credits. Nobody can add, change or delete one here; a charge can be given back, by another entry."""

    list_display = [
        "created_at",
        "wallet_link",
        "kind_label",
        "amount_credits",
        "after",
        "actor",
        "reason",
        "request_id",
    ]
    list_filter = ["kind", "created_at"]
    list_select_related = ["wallet__organization", "actor"]
    ordering = ["-created_at"]
    search_fields = ["request_id"]
    search_help_text = "Request ID, reference, organization's name or e-mail"
    fields = readonly_fields = [
        "id", "wallet_link", "sequence", "kind", "amount_credits", "after", "reference", "request_id", "actor",
        "reason", "created_at", "digest",
    ]  # fmt: skip

    amount_credits = credits_column("amount", "Amount")
    after = credits_column("balance_after", "Balance after")
    actions_detail = ["give_back"]

    def has_give_back_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        charges = LedgerEntry.objects.filter(kind=Kind.CHARGE)
        return object_id is not None and _is_uuid(object_id) and charges.filter(pk=object_id).exists()

    @action(description="Refund", url_path="refund", icon="undo", permissions=["give_back"])
    def give_back(self, request: HttpRequest, object_id: str) -> HttpResponse:
        charge = LedgerEntry.objects.select_related("wallet__organization").get(pk=object_id)
        move = partial(refund_charge, charge)
        return move_credits(self, request, charge.wallet, RefundForm, move, verb="Refund", amount=left_of(charge))

    @display(
        description="Kind", label={"CHARGE": "info", "GRANT": "success", "STARTER": "success", "ADJUSTMENT": "warning"}
    )
    def kind_label(self, entry: LedgerEntry) -> str:
        return entry.kind

    @display(description="Wallet")
    def wallet_link(self, entry: LedgerEntry) -> str:
        return link_to(entry.wallet, entry.wallet.organization)

    def get_search_results(
        self, request: HttpRequest, entries: QuerySet[LedgerEntry], term: str
    ) -> tuple[QuerySet[LedgerEntry], bool]:
        return of_wallets_or_request(entries, term), False


@admin.register(Hold)
class HoldAdmin(LongListAdmin):
    """Credits set aside for requests. Nobody can add, change or delete one here."""

    list_display = [
        "created_at",
        "wallet_link",
        "state_label",
        "amount_credits",
        "expires_at",
        "closed_at",
        "request_id",
    ]
    list_filter = ["state"]
    list_select_related = ["wallet__organization"]
    ordering = ["-id"]  # in the order of time, and indexed
    search_fields = ["request_id"]
    search_help_text = "Request ID, reference, organization's name or e-mail"
    fields = readonly_fields = [
        "id", "wallet_link", "amount_credits", "state", "reference", "request_id", "expires_at", "created_at",
        "closed_at",
    ]  # fmt: skip

    amount_credits = credits_column("amount", "Amount")

    @display(description="State", label={"OPEN": "warning", "SETTLED": "success", "EXPIRED": "danger"})
    def state_label(self, hold: Hold) -> str:
        return hold.state

    @display(description="Wallet")
    def wallet_link(self, hold: Hold) -> str:
        return link_to(hold.wallet, hold.wallet.organization)

    def get_search_results(self, request: HttpRequest, holds: QuerySet[Hold], term: str) -> tuple[QuerySet[Hold], bool]:
        return of_wallets_or_request(holds, term), False


@admin.register(CreditPlan)
class CreditPlanAdmin(Admin):
    """The credits that every active user of a role gets each month. A change counts from the next allowance on."""

    list_display = ["role", "amount_credits"]
    ordering = ["role"]
    search_fields = ["role"]
    fields = ["role", "amount"]
    credits_fields = {"amount": "Credits a month, given once to each person, into their personal organization."}

    amount_credits = credits_column("amount", "Credits a month", ordering="amount")


def of_wallets_or_request(rows: QuerySet[Any], term: str) -> QuerySet[Any]:
    """Rows with this request ID or reference, or of organizations whose name or person's e-mail begins with the term.

    An index serves each of these look-ups.
    """
    term = term.strip()
    if not term:
        return rows
    named = Organization.objects.filter(Q(name__istartswith=term) | Q(personal_to__email__startswith=term.lower()))
    wallets = list(named.values_list("pk", flat=True)[:200])
    return rows.filter(Q(request_id=term) | Q(reference=term) | Q(wallet__in=wallets))


def _is_uuid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True
