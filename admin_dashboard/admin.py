"""Pages of the admin that need more than one app; Django finds them here."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display

from admin_dashboard.experiments import admin as experiments
from aichat.chat.models import Feedback, Message
from aichat.flags import flags
from aichat.flags.switches import MESSAGE_CONTENT

__all__ = ["FeedbackAdmin", "experiments"]

FACTS = ["created_at", "verdict", "user", "organization", "model", "experiment", "variant"]
CONTENT = ["comment", "question", "answer"]


def may_read(request: HttpRequest) -> bool:
    """Whether the administrator may read what people wrote: the switch `message_content` can be narrowed to some."""
    return flags.is_enabled(MESSAGE_CONTENT, request.user)


@admin.register(Feedback)
class FeedbackAdmin(ModelAdmin):
    """What people think of answers: to read. The answer and the comment are for administrators who may read them."""

    actions: Any = None
    show_full_result_count = False
    list_display = ["created_at", "verdict", "user", "model", "experiment", "variant"]
    list_filter = ["rating", "created_at"]
    list_select_related = ["user"]
    search_fields = ["experiment", "model"]
    search_help_text = "Experiment or model"
    ordering = ["-created_at"]
    readonly_fields = [*FACTS, *CONTENT]

    def get_fields(self, request: HttpRequest, obj: Feedback | None = None) -> list[str]:
        return [*FACTS, *(CONTENT if may_read(request) else [])]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Feedback | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Feedback | None = None) -> bool:
        return False

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
