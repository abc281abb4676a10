"""The admin's page of usage records: to look at, and to find one request among millions."""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from accounts.models import User
from aichat.core.admin.base import LongListAdmin, credits_column, exact_or_by_email, link_to_request, pretty, rounded
from aichat.usage.models import UsageRecord
from aichat.usage.queries import FINAL, FINE


class FailedFilter(admin.SimpleListFilter):
    """The requests that error rates count: ended otherwise than whole or cancelled."""

    title, parameter_name = "failed", "failed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Failed requests")]

    def queryset(self, request: HttpRequest, records: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
        return records.filter(FINAL).exclude(status__in=FINE) if self.value() == "yes" else records


class InexactFilter(admin.SimpleListFilter):
    """The records whose figures are not the provider's own: estimated by us, or reported and not believed."""

    title, parameter_name = "not exact", "inexact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Estimated or not believed")]

    def queryset(self, request: HttpRequest, records: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
        inexact = (UsageRecord.Source.ESTIMATED, UsageRecord.Source.IMPLAUSIBLE)
        return records.filter(source__in=inexact) if self.value() == "yes" else records


@admin.register(UsageRecord)
class UsageRecordAdmin(LongListAdmin):
    """One row for each attempt that mattered."""

    list_display = [
        "when", "user", "served", "status_label", "tokens", "credits_short", "cost_short", "latency", "request_short",
    ]  # fmt: skip
    list_filter = ["created_at", FailedFilter, InexactFilter, "source", "status", "kind", "model"]
    list_select_related = ["user"]
    search_fields = ["request_id"]
    search_help_text = "Request ID, model, or beginning of the user's e-mail"
    ordering = ["-created_at"]
    list_fullwidth = True
    readonly_fields = ["reported_shown", "credits", "shortfall_credits", "cost", "prices_shown", "request_link"]
    fieldsets = [
        (None, {"fields": ["created_at", "request_link", "user", "organization", "api_key_id", "kind"]}),
        ("Served", {"fields": [
            "requested_model", "model", "provider", "status", "finish_reason", "attempt", "final", "streamed", "cached",
            "fallback", "experiment", "variant",
        ]}),
        ("Amounts", {"fields": [
            "input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens", "images", "source", "reported_shown",
        ]}),
        ("Money", {"fields": ["credits", "shortfall_credits", "cost", "prices_shown", "hold_id", "reference"]}),
        ("Time", {"fields": ["latency_ms", "first_token_ms"]}),
    ]  # fmt: skip

    credits = credits_column("charged", "Credits")
    shortfall_credits = credits_column("shortfall", "Not taken")

    @display(description="Status", label={"ok": "success", "partial": "warning", "cancelled": "info"})
    def status_label(self, record: UsageRecord) -> str:
        return record.status

    # The columns of the list are short, so that a row is one line of 1,400 pixels; the exact value is in the title.

    @display(description="When", ordering="created_at")
    def when(self, record: UsageRecord) -> SafeString:
        moment = f"{record.created_at:%Y-%m-%d %H:%M:%S.%f} UTC"
        return format_html(
            '<span class="whitespace-nowrap" title="{}">{}</span>', moment, f"{record.created_at:%m-%d %H:%M:%S}"
        )

    @display(description="Model")
    def served(self, record: UsageRecord) -> SafeString:
        return format_html('<span title="of {}">{}</span>', record.provider, record.model)

    @display(description="Tokens in / out")
    def tokens(self, record: UsageRecord) -> str:
        return f"{record.input_tokens:,} / {record.output_tokens:,}"

    @display(description="Credits")
    def credits_short(self, record: UsageRecord) -> SafeString:
        return rounded(record.charged)

    @display(description="Cost")
    def cost_short(self, record: UsageRecord) -> SafeString:
        dollars = Decimal(record.cost_nanousd) / 10**9
        return format_html('<span title="${}">${}</span>', format(dollars, "f"), f"{dollars:.4f}")

    @display(description="Time")
    def latency(self, record: UsageRecord) -> str:
        return f"{record.latency_ms:,} ms"

    @display(description="Request")
    def request_short(self, record: UsageRecord) -> SafeString:
        url = reverse("admin_request", args=[record.request_id])
        return format_html('<a href="{}" title="{}">{}…</a>', url, record.request_id, record.request_id[:8])

    @display(description="Cost (USD)")
    def cost(self, record: UsageRecord) -> str:
        return format(Decimal(record.cost_nanousd) / 10**9, "f")

    @display(description="As reported")
    def reported_shown(self, record: UsageRecord) -> str:
        return pretty(record.reported) if record.reported else "–"

    @display(description="Prices in force")
    def prices_shown(self, record: UsageRecord) -> str:
        return pretty(record.prices)

    @display(description="Request ID")
    def request_link(self, record: UsageRecord) -> str:
        return link_to_request(record.request_id)

    def get_search_results(
        self, request: HttpRequest, records: QuerySet[UsageRecord], term: str
    ) -> tuple[QuerySet[UsageRecord], bool]:
        term = term.strip()
        return exact_or_by_email(records, Q(request_id=term) | Q(model=term), User.objects.all(), term), False
