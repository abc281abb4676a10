"""Deletes conversations in small steps: those that are too old, and those of a person who leaves for good."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from guardian.models import UserObjectPermission

from accounts.models import Organization, User
from aichat.chat.models import Attachment, Conversation, Feedback, Message
from aichat.core.database import batches, clock, transactions

AT_ONCE = 20  # conversations in one commit


def purge() -> int:
    """Delete conversations without a message for RETENTION_DAYS, or for the days of their organization; return how many."""
    clock.keep_compared()
    own = dict(Organization.objects.exclude(retention_days=None).values_list("pk", "retention_days"))
    deleted = 0
    if settings.RETENTION_DAYS:
        others = Conversation.objects.exclude(organization_id__in=list(own))
        deleted += delete(_unused_for(settings.RETENTION_DAYS, others))
    for organization, days in own.items():
        if days:
            deleted += delete(_unused_for(days, Conversation.objects.filter(organization_id=organization)))
    return deleted


def _unused_for(days: int, conversations: QuerySet[Conversation]) -> QuerySet[Conversation]:
    return conversations.filter(updated_at__lt=clock.shared_now() - timedelta(days=days)).order_by("updated_at")


def erase(user: User) -> int:
    """Delete the person's conversations, ratings, and what others shared with them; return how many conversations."""
    UserObjectPermission.objects.filter(user_id=user.pk).delete()
    Feedback.objects.filter(user_id=user.pk).delete()
    Attachment.objects.filter(user_id=user.pk, conversation=None).delete()
    return delete(Conversation.objects.filter(user_id=user.pk).order_by("updated_at"))


def delete(conversations: QuerySet[Conversation]) -> int:
    """Delete conversations with their messages, ratings and shares; return how many. Bills stay."""
    return batches.delete(conversations, AT_ONCE, delete_batch=_delete_at_once)


def _delete_at_once(conversations: QuerySet[Conversation], keys: Sequence[UUID]) -> int:
    return transactions.run_atomic(_delete, conversations, keys)


def _delete(conversations: QuerySet[Conversation], keys: Sequence[UUID]) -> int:
    # Read again: a conversation that somebody went on with meanwhile is no longer too old.
    keys = list(conversations.filter(pk__in=keys).values_list("pk", flat=True))
    UserObjectPermission.objects.filter(object_pk__in=[str(key) for key in keys]).delete()
    Message.objects.filter(conversation_id__in=keys).delete()  # with their ratings
    Conversation.objects.filter(pk__in=keys).delete()
    return len(keys)
