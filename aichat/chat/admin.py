"""The admin's pages of conversations, to read, and of with whom they are shared."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from accounts.models import User
from aichat.chat import sharing
from aichat.chat.models import Conversation, ConversationShare, Feedback, Message
from aichat.chat.sharing import Access
from aichat.core.admin import audit_log
from aichat.core.admin.base import (
    Admin,
    LongListAdmin,
    ReadOnlyInline,
    acting,
    by_email,
    exact_or_by_email,
    link_to,
    link_to_request,
)
from aichat.flags import evaluation
from aichat.flags.features import MESSAGE_CONTENT


def may_read(request: HttpRequest) -> bool:
    """Whether the administrator may read what people wrote: the switch `message_content` can be narrowed to some."""
    return evaluation.is_enabled(MESSAGE_CONTENT, request.user)


class MessageInline(ReadOnlyInline):
    model = Message
    ordering = ["id"]
    per_page = 50
    show_change_link = False
    fields = readonly_fields = ["created_at", "role", "content", "model", "finish_reason", "request_link"]

    @display(description="Request ID")
    def request_link(self, message: Message) -> str:
        return link_to_request(message.request_id)


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
        if not term:
            return rows, False
        if ids := list(Message.objects.filter(request_id=term).values_list("conversation_id", flat=True)):
            return rows.filter(pk__in=ids), False
        titled: QuerySet[Conversation] = super().get_search_results(request, rows, term)[0]
        return (titled if titled.order_by().exists() else by_email(rows, User.objects.all(), term)), False


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


@admin.register(ConversationShare)
class ConversationShareAdmin(Admin):
    """Who shares what with whom. Owners share; here a share is looked up, narrowed, widened or taken back."""

    list_display = ["shared", "owner", "organization", "reader", "access"]
    list_display_links = ["shared"]
    search_fields = ["user__email"]
    search_help_text = "Beginning of the reader's e-mail, or a conversation's ID"
    ordering = ["-pk"]
    list_select_related = ["user"]
    fields = readonly_fields = ["shared", "owner", "organization", "reader", "access"]
    actions = ["let_read", "let_write", "take_back"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConversationShare]:
        return sharing.all_shares()

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        page.result_list = with_conversations(list(page.result_list))
        return page

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        share = super().get_object(request, object_id, from_field)
        return with_conversations([share])[0] if share else None

    def get_search_results(
        self, request: HttpRequest, rows: QuerySet[ConversationShare], term: str
    ) -> tuple[QuerySet[ConversationShare], bool]:
        term = term.strip()
        return exact_or_by_email(rows, Q(object_pk=term), User.objects.all(), term), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Taken back by the action, which says whose it was in the audit log."""
        return False

    @display(description="Conversation")
    def shared(self, share: Any) -> str:
        return f"Conversation {share.object_pk}"

    @display(description="Owner")
    def owner(self, share: Any) -> str:
        return link_to(share.conversation and share.conversation.user)

    @display(description="Organization")
    def organization(self, share: Any) -> str:
        return link_to(share.conversation and share.conversation.organization)

    @display(description="Shared with")
    def reader(self, share: Any) -> str:
        return link_to(share.user)

    @display(description="May", label={"read": "info", "write": "warning"})
    def access(self, share: Any) -> str:
        return str(share.access)

    @admin.action(description="Let them read only")
    def let_read(self, request: HttpRequest, rows: QuerySet[ConversationShare]) -> None:
        self.set_access(request, rows, Access.READ)

    @admin.action(description="Let them write too")
    def let_write(self, request: HttpRequest, rows: QuerySet[ConversationShare]) -> None:
        self.set_access(request, rows, Access.WRITE)

    def set_access(self, request: HttpRequest, rows: QuerySet[ConversationShare], access: Access) -> None:
        changed = [share for share in with_conversations(list(rows)) if share.access != access]
        for share in changed:
            sharing.set_access(share, access)
            self.record(request, share, access)
        self.message_user(request, f"Changed shares: {len(changed)} of {len(rows)}.")

    @admin.action(description="Take back")
    def take_back(self, request: HttpRequest, rows: QuerySet[ConversationShare]) -> None:
        shares = with_conversations(list(rows))
        for share in shares:
            self.record(request, share, None)
            share.delete()
        self.message_user(
            request, f"Shares that are taken back, so that the next request finds nothing: {len(shares)}."
        )

    def record(self, request: HttpRequest, share: Any, access: Access | None) -> None:
        """Log the change in the history of the conversation, because the share may be gone."""
        row = share.conversation or share
        audit_log.record(acting(request), row, audit_log.CHANGED, {f"shared with {share.user}": (share.access, access)})


def with_conversations(shares: list[Any]) -> list[Any]:
    """Give each share its `conversation` (None: deleted since) and `access`, by two queries for any number of shares."""
    ids = [share.object_pk for share in shares]
    found = {str(row.pk): row for row in Conversation.objects.select_related("user", "organization").filter(pk__in=ids)}
    known = sharing.meanings()
    for share in shares:
        share.conversation, share.access = found.get(share.object_pk), known[share.permission_id]
    return shares
