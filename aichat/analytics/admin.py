"""The admin's page of product events: to look at, and to filter."""

from contextlib import suppress
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from unfold.decorators import display

from accounts.models import User
from aichat.analytics.models import Event
from aichat.core.admin.base import LongListAdmin, exact_or_by_email, link, link_to_request, pretty
from aichat.core.telemetry.product_events import AMOUNTS


@admin.register(Event)
class EventAdmin(LongListAdmin):
    """What people did and met: identifiers and numbers."""

    list_display = ["created_at", "name", "person", "summary", "request_link"]
    list_filter = ["name", "created_at"]
    search_fields = ["request_id"]
    search_help_text = "Request ID, user's ID, or beginning of their e-mail"
    ordering = ["-created_at", "-id"]
    fields = readonly_fields = ["created_at", "name", "person", "organization_id", "request_link", "facts_shown"]

    @display(description="User")
    def person(self, event: Event) -> str:
        return (
            link(reverse("admin:accounts_user_change", args=[event.user_id]), event.user_id) if event.user_id else "-"
        )

    @display(description="Facts")
    def summary(self, event: Event) -> str:
        return ", ".join(
            f"{name} {value} credits" if name in AMOUNTS else f"{name} {value}" for name, value in event.told.items()
        )

    @display(description="Facts")
    def facts_shown(self, event: Event) -> str:
        return pretty(event.told)

    @display(description="Request ID")
    def request_link(self, event: Event) -> str:
        return link_to_request(event.request_id)

    def get_search_results(
        self, request: HttpRequest, rows: QuerySet[Event], term: str
    ) -> tuple[QuerySet[Event], bool]:
        term = term.strip()
        found = Q(request_id=term)
        with suppress(ValueError):
            found |= Q(user_id=UUID(term))
        return exact_or_by_email(rows, found, User.objects.all(), term, path="user_id"), False
