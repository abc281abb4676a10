"""The admin page of the audit log."""

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.urls import NoReverseMatch
from django.utils.html import format_html_join
from unfold.decorators import display

from aichat.core.admin import audit_log
from aichat.core.admin.base import LongListAdmin, link

FLAGS = {1: "added", 2: "changed", 3: "deleted"}


@admin.register(LogEntry)
class AuditLogAdmin(LongListAdmin):
    """The audit log: every write of an administrator, in the admin or over the API."""

    list_display = ["action_time", "user", "what", "row", "changes", "request_id"]
    list_display_links = ["action_time"]
    list_filter = [("content_type", admin.RelatedOnlyFieldListFilter)]
    ordering = ["-pk"]
    list_select_related = ["user", "content_type"]
    search_fields = ["user__email", "object_repr", "change_message"]
    search_help_text = "E-mail, name of what was changed, or request ID"
    fields = readonly_fields = ["action_time", "user", "what", "row", "changes", "address", "request_id", "reason"]

    @display(description="Did", label={"added": "success", "changed": "info", "deleted": "danger"})
    def what(self, entry: LogEntry) -> str:
        return FLAGS[entry.action_flag]

    @display(description="What")
    def row(self, entry: LogEntry) -> str:
        text = f"{entry.content_type.name if entry.content_type else ''} {entry.object_repr}"
        try:
            url = entry.get_admin_url()
        except NoReverseMatch:
            url = None
        return link(url, text) if url and entry.action_flag != 3 else text

    @display(description="From → to")
    def changes(self, entry: LogEntry) -> str:
        values: dict[str, list[str | None]] = audit_log.details(entry).get("values", {})
        lines = ((name, *("—" if v in (None, "") else v for v in pair)) for name, pair in values.items())
        return format_html_join("", "<div>{}: {} → {}</div>", lines) or "-"

    @display(description="Request ID")
    def request_id(self, entry: LogEntry) -> str:
        return audit_log.details(entry).get("request_id") or "-"

    @display(description="Address")
    def address(self, entry: LogEntry) -> str:
        return audit_log.details(entry).get("address") or "-"

    @display(description="Reason")
    def reason(self, entry: LogEntry) -> str:
        return audit_log.details(entry).get("reason") or "-"
