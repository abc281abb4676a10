"""The admin's pages of conversations: to read."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.models import User
from aichat.admin import LongListAdmin, ReadOnlyInline, by_email, link, link_to
from aichat.chat.models import Conversation, Feedback, Message
from aichat.flags import flags
from aichat.flags.switches import MESSAGE_CONTENT


def may_read(request: HttpRequest) -> bool:
    """Whether the administrator may read what people wrote: the switch `message_content` can be narrowed to some."""
    return flags.is_enabled(MESSAGE_CONTENT, request.user)


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

    def has_view_permission(self, request: HttpRequest, obj: Conversation | None = None) -> bool:
        return may_read(request) and super().has_view_permission(request, obj)

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


@admin.register(Feedback)
class FeedbackAdmin(LongListAdmin):
    """What people think of answers; the answer and the comment are for administrators who may read them."""

    list_display = ["created_at", "verdict", "user", "model", "experiment", "variant"]
    list_filter = ["rating", "created_at"]
    list_select_related = ["user"]
    search_fields = ["experiment", "model"]
    search_help_text = "Experiment or model"
    ordering = ["-created_at"]
    facts = ["created_at", "verdict", "user", "organization", "model", "experiment", "variant"]
    content = ["comment", "question", "answer", "conversation"]
    readonly_fields = [*facts, *content]

    def get_fields(self, request: HttpRequest, obj: Feedback | None = None) -> list[str]:
        return [*self.facts, *(self.content if may_read(request) else [])]

    @display(description="Rating", label={"liked": "success", "disliked": "danger"})
    def verdict(self, feedback: Feedback) -> str:
        return feedback.get_rating_display()

    @display(description="Question")
    def question(self, feedback: Feedback) -> str:
        turns = Message.objects.filter(conversation=feedback.message.conversation_id, pk__lt=feedback.message_id)
        asked = turns.filter(role=Message.Role.USER).order_by("-id").first()
        return asked.content if asked else "-"

    @display(description="Answer")
    def answer(self, feedback: Feedback) -> str:
        return feedback.message.content

    @display(description="Conversation")
    def conversation(self, feedback: Feedback) -> str:
        return link_to(feedback.message.conversation)
