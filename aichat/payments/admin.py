"""The admin's pages of money that comes in: plans, subscriptions, payments, vouchers, and a form that makes vouchers."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html_join
from unfold.decorators import action, display

from aichat.core.admin.base import Admin, ReadOnlyAdmin, acting, credits_column, link_to
from aichat.core.money import format_credits
from aichat.core.web.csv_export import csv_response
from aichat.payments import alert_delivery, subscriptions, vouchers
from aichat.payments.forms import VouchersForm
from aichat.payments.models import AlertMessage, AlertSettings, Payment, Plan, Subscription, Voucher, VoucherRedemption
from credits.models import LedgerEntry


@admin.register(Plan)
class PlanAdmin(Admin):
    """What can be subscribed to. A plan with subscriptions is not deleted: offer it no more (`is_active`)."""

    list_display = ["slug", "name", "price_shown", "currency", "interval", "credits_shown", "is_active"]
    list_filter = ["is_active", "interval"]
    search_fields = ["slug", "name"]
    ordering = ["slug"]
    fields = [
        "slug", "name", "price", "currency", "interval", "credits", "credits_expire", "rollover", "prorate", "stripe_price",
        "is_active",
    ]  # fmt: skip
    credits_fields = {
        "price": "In units of the currency, such as 9.99.",
        "credits": "Credits that each period gives; a change counts from the next period on.",
        "rollover": "Credits that go on into the next period at most, where credits expire; empty: none.",
    }

    price_shown = credits_column("price", "Price", ordering="price")
    credits_shown = credits_column("credits", "Credits", ordering="credits")

    def has_delete_permission(self, request: HttpRequest, obj: Plan | None = None) -> bool:
        return obj is not None and not obj.subscriptions.exists()


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    """Who has which plan until when. An administrator gives one by the API or with a person's role, and ends it here."""

    list_display = [
        "organization", "plan", "source", "state", "period_start", "period_end", "cancel_at_period_end", "created_at",
    ]  # fmt: skip
    list_filter = ["is_live", "plan"]
    list_select_related = ["organization", "plan"]
    search_fields = ["organization__name", "organization__personal_to__email", "external_id"]
    search_help_text = "Organization, e-mail of its person, or the seller's ID"
    ordering = ["-created_at"]
    fields = readonly_fields = [
        "organization_link", "plan", "source", "external_id", "state", "period_start", "period_end", "renews_at",
        "cancel_at_period_end", "told_at", "created_at",
    ]  # fmt: skip
    actions = ["end"]

    @display(description="Status", label={"active": "success", "past_due": "warning", "cancelled": "danger"})
    def state(self, row: Subscription) -> str:
        return row.status_at(timezone.now())

    @display(description="Organization")
    def organization_link(self, row: Subscription) -> str:
        return link_to(row.organization)

    @admin.action(description="End now")
    def end(self, request: HttpRequest, chosen: QuerySet[Subscription]) -> None:
        for row in chosen:
            subscriptions.end(row, acting(request))
        messages.success(request, "Ended: the roles follow, credits stay.")


class OwedFilter(admin.SimpleListFilter):
    """Payments whose credits were spent before they could be taken back."""

    title, parameter_name = "owed", "owed"

    def lookups(self, request: HttpRequest, model_admin: object) -> list[tuple[str, str]]:
        return [("yes", "Something is owed")]

    def queryset(self, request: HttpRequest, rows: QuerySet[Payment]) -> QuerySet[Payment]:
        return rows.filter(owed__gt=0) if self.value() == "yes" else rows


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    """What sellers received, the credits that it gave, what was given back, and what is owed since."""

    list_display = [
        "created_at", "source", "external_id", "organization", "money", "credits_shown", "state", "owed_shown",
    ]  # fmt: skip
    list_filter = [OwedFilter, "created_at"]
    list_select_related = ["organization"]
    search_fields = ["external_id", "organization__name", "organization__personal_to__email"]
    search_help_text = "The seller's ID, organization, or e-mail of its person"
    ordering = ["-created_at"]
    fields = readonly_fields = [
        "source", "external_id", "organization_link", "money", "plan", "subscription", "credits_shown", "state",
        "taken_shown", "owed_shown", "entries", "created_at",
    ]  # fmt: skip

    credits_shown = credits_column("credits", "Credits", ordering="credits")
    taken_shown = credits_column("taken_back", "Taken back")
    owed_shown = credits_column("owed", "Owed", ordering="owed")

    @display(description="Money")
    def money(self, row: Payment) -> str:
        return f"{format_credits(row.amount)} {row.currency}"

    @display(description="Status", label={"paid": "success", "refunded": "danger", "partly refunded": "warning"})
    def state(self, row: Payment) -> str:
        return row.state

    @display(description="Organization")
    def organization_link(self, row: Payment) -> str:
        return link_to(row.organization)

    @display(description="Ledger entries")
    def entries(self, row: Payment) -> str:
        found = LedgerEntry.objects.filter(wallet=row.organization_id, reference__startswith=f"payment:{row.pk}")
        return format_html_join(", ", "{}", ((link_to(entry),) for entry in found[:20])) or "-"


@admin.register(Voucher)
class VoucherAdmin(ReadOnlyAdmin):
    """Vouchers can be made and listed, not changed. Their codes are in the file that the form answers, and nowhere else."""

    list_display = [
        "prefix", "amount_credits", "redemptions", "max_redemptions", "expires_at", "note", "created_by", "created_at",
    ]  # fmt: skip
    list_filter = ["expires_at"]
    list_select_related = ["created_by"]
    search_fields = ["prefix", "note"]
    search_help_text = "The first six characters of a code, or a part of the note"
    ordering = ["-created_at"]
    fields = readonly_fields = [
        "prefix", "amount_credits", "redemptions", "max_redemptions", "expires_at", "note", "created_by", "created_at",
    ]  # fmt: skip
    actions = ["export"]
    actions_list = ["make"]

    amount_credits = credits_column("amount", "Credits", ordering="amount")

    @admin.action(description="Download as CSV")
    def export(self, request: HttpRequest, chosen: QuerySet[Voucher]) -> StreamingHttpResponse:
        rows = (
            {
                "prefix": row.prefix,
                "credits": format_credits(row.amount),
                "redemptions": row.redemptions,
                "max_redemptions": row.max_redemptions,
                "expires_at": row.expires_at,
                "note": row.note,
                "created_at": row.created_at,
            }
            for row in chosen
        )
        return csv_response(request, rows, "vouchers.csv")

    @action(description="Make vouchers", url_path="make", icon="add")
    def make(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """A form; when it is valid, a CSV file of the new codes, which can't be had a second time."""
        form = VouchersForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            facts = dict(form.cleaned_data)
            credits, ends = format_credits(facts["amount"]), facts["expires_at"]
            codes = vouchers.make_vouchers(facts.pop("amount"), **facts, actor=acting(request))
            rows = ({"code": code, "credits": credits, "expires_at": ends, "note": facts["note"]} for code in codes)
            response = csv_response(request, rows, "voucher-codes.csv")
            response["Cache-Control"] = "no-store"
            return response
        context = {**self.admin_site.each_context(request), "title": "Make vouchers", "opts": self.opts, "form": form}
        return TemplateResponse(request, "payments/make_vouchers.html", context)


@admin.register(VoucherRedemption)
class VoucherRedemptionAdmin(ReadOnlyAdmin):
    """Who redeemed which voucher."""

    list_display = ["created_at", "voucher", "user", "organization_link"]
    list_select_related = ["voucher", "user", "organization"]
    search_fields = ["user__email", "voucher__prefix"]
    ordering = ["-created_at"]
    fields = readonly_fields = ["voucher", "user", "organization_link", "created_at"]

    @display(description="Organization")
    def organization_link(self, row: VoucherRedemption) -> str:
        return link_to(row.organization)


@admin.register(AlertSettings)
class AlertSettingsAdmin(ReadOnlyAdmin):
    """What organizations are told of. Their owners and admins set it."""

    list_display = ["organization", "low_shown", "budget_shown", "budget_percent", "is_low", "told_percents"]
    list_select_related = ["organization"]
    search_fields = ["organization__name", "organization__personal_to__email"]
    ordering = ["-id"]
    fields = readonly_fields = [
        "organization_link", "low_shown", "budget_shown", "budget_percent", "email", "is_low", "month", "spent_shown",
        "told_percents",
    ]  # fmt: skip

    spent_shown = credits_column("spent", "Spent in the month")

    @display(description="Low balance")
    def low_shown(self, row: AlertSettings) -> str:
        return "-" if row.low_balance is None else format_credits(row.low_balance)

    @display(description="Monthly budget")
    def budget_shown(self, row: AlertSettings) -> str:
        return "-" if row.monthly_budget is None else format_credits(row.monthly_budget)

    @display(description="Organization")
    def organization_link(self, row: AlertSettings) -> str:
        return link_to(row.organization)


@admin.register(AlertMessage)
class AlertMessageAdmin(ReadOnlyAdmin):
    """Alerts on their way, with the problem of those that did not arrive; those without organization are the operator's."""

    list_display = ["created_at", "organization", "kind", "channel", "state", "attempts", "problem"]
    list_filter = ["state", "kind", "created_at"]
    list_select_related = ["organization"]
    search_fields = ["organization__name", "organization__personal_to__email"]
    ordering = ["-created_at"]
    fields = readonly_fields = [
        "organization_link", "kind", "facts", "channel", "state", "attempts", "next_at", "problem", "created_at",
    ]  # fmt: skip
    actions = ["again"]

    @display(description="Organization")
    def organization_link(self, row: AlertMessage) -> str:
        return link_to(row.organization)

    @admin.action(description="Send again")
    def again(self, request: HttpRequest, chosen: QuerySet[AlertMessage]) -> None:
        count = sum(alert_delivery.send_again(row) for row in chosen)
        messages.success(request, f"{count} will be sent again.")
