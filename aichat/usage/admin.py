"""The admin's page of usage records: to look at, and to find one request among millions."""

from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.models import User
from aichat.core.admin.base import LongListAdmin, by_email, credits_column, link, pretty
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
        "created_at", "user", "organization", "model", "provider", "status_label", "input_tokens", "output_tokens",
        "credits", "cost", "latency_ms", "request_link",
    ]  # fmt: skip
    list_filter = ["created_at", FailedFilter, InexactFilter, "source", "status", "kind", "model"]
    list_select_related = ["user", "organization"]
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
        return link(f"/admin/requests/{record.request_id}/", record.request_id)

    def get_search_results(
        self, request: HttpRequest, records: QuerySet[UsageRecord], term: str
    ) -> tuple[QuerySet[UsageRecord], bool]:
        term = term.strip()
        if "@" in term:
            return by_email(records, User.objects.all(), term), False
        return (records.filter(Q(request_id=term) | Q(model=term)) if term else records), False
