"""Deletes conversations in small steps: those of a person who leaves for good."""

from collections.abc import Sequence

from django.db.models import QuerySet
from guardian.models import UserObjectPermission

from accounts.models import User
from aichat.chat.models import Conversation, Feedback, Message
from aichat.core.database import transactions

AT_ONCE = 20  # conversations in one commit


def erase(user: User) -> int:
    """Delete the person's conversations, ratings, and what others shared with them; returns how many conversations."""
    UserObjectPermission.objects.filter(user_id=user.pk).delete()
    Feedback.objects.filter(user_id=user.pk).delete()
    return delete(Conversation.objects.filter(user_id=user.pk).order_by("updated_at"))


def delete(conversations: QuerySet[Conversation]) -> int:
    """Delete conversations with their messages, ratings and shares; returns how many. Bills stay."""
    deleted = 0
    while keys := list(conversations.values_list("pk", flat=True)[:AT_ONCE]):
        transactions.run_atomic(_delete, keys)
        deleted += len(keys)
    return deleted


def _delete(keys: Sequence[object]) -> None:
    UserObjectPermission.objects.filter(object_pk__in=[str(key) for key in keys]).delete()
    Message.objects.filter(conversation_id__in=keys).delete()  # and their ratings
    Conversation.objects.filter(pk__in=keys).delete()
