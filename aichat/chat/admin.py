"""The admin's pages of conversations: to read."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.models import User
from aichat.admin import LongListAdmin, ReadOnlyInline, by_email, link
from aichat.chat.models import Conversation, Message


class MessageInline(ReadOnlyInline):
    model = Message
    ordering = ["id"]
    per_page = 50
    show_change_link = False
    fields = readonly_fields = ["created_at", "role", "content", "model", "finish_reason", "request_link"]

    @display(description="Request ID")
    def request_link(self, message: Message) -> str:
        return link(f"/admin/requests/{message.request_id}/", message.request_id) if message.request_id else "-"


@admin.register(Conversation)
class ConversationAdmin(LongListAdmin):
    """Conversations and their messages, to help a person who asks."""

    list_display = ["title", "user", "organization", "updated_at", "created_at"]
    list_filter = ["updated_at"]
    list_select_related = ["user", "organization"]
    search_fields = ["title"]
    search_help_text = "Title, request ID of a message, or beginning of the user's e-mail"
    ordering = ["-updated_at"]
    fields = readonly_fields = ["title", "user", "organization", "system", "created_at", "updated_at"]
    inlines = [MessageInline]

    def get_search_results(
        self, request: HttpRequest, rows: QuerySet[Conversation], term: str
    ) -> tuple[QuerySet[Conversation], bool]:
        term = term.strip()
        if "@" in term:
            return by_email(rows, User.objects.all(), term), False
        ids = list(Message.objects.filter(request_id=term).values_list("conversation_id", flat=True)) if term else []
        if ids:
            return rows.filter(pk__in=ids), False
        return super().get_search_results(request, rows, term)  # type: ignore[no-any-return]
