"""Conversations shared with a person, to read or to go on: django-guardian's permissions on one conversation.

`view_conversation` is reading, `change_conversation` is writing too. In a team, members share with members, and what is
shared is seen while acting for the team, so it ends with the membership. A personal conversation is shared with anybody
who has an account. Whoever goes on with a conversation pays for their own turns.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.contrib.auth.models import Permission
from django.db.models import Q, QuerySet
from django.utils.translation import gettext, gettext_noop
from guardian.models import UserObjectPermission

from accounts.authentication import Caller
from accounts.models import Membership, User
from accounts.tenancy import as_id, lock
from aichat.chat.models import Conversation, ConversationShare
from aichat.core.database import transactions
from aichat.core.errors import InvalidRequest, NotFound, PermissionDenied


class Access(StrEnum):
    READ = "read"
    WRITE = "write"


WRONG_PERSON = gettext_noop("Write the e-mail address of another person with an account.")
WRONG_MEMBER = gettext_noop("Write the e-mail address of another member of the organization.")
CODENAMES = {"view_conversation": Access.READ, "change_conversation": Access.WRITE}


class ReadOnly(PermissionDenied):
    message = gettext_noop("This conversation is shared with you to read: its owner can let you write.")


def conversations_of(caller: Caller) -> QuerySet[Conversation]:
    """The caller's own conversations in the organization they act for."""
    return Conversation.objects.filter(organization=caller.organization, user=caller.user)


def find(caller: Caller, conversation_id: object, access: Access = Access.READ) -> Conversation:
    """The caller's own conversation, or one shared with them. Raises `NotFound`, `ReadOnly`.

    The caller's own is found by one query; only for another's the shares are read.
    """
    own = conversations_of(caller).filter(id=as_id(conversation_id)).first()
    if own is not None:
        return own
    row = Conversation.objects.select_related("organization").filter(id=as_id(conversation_id)).first()
    if row is None or not is_reachable(caller, row):
        raise NotFound()
    given = _given(user_id=caller.user.pk, object_pk=str(row.pk))
    if not given:
        raise NotFound()
    if access == Access.WRITE and access not in given.values():
        raise ReadOnly(param="conversation_id")
    return row


def is_reachable(caller: Caller, conversation: Conversation) -> bool:
    """Whether the caller may see the conversation if it is shared: a team's is seen by who acts for the team alone."""
    return conversation.organization_id == caller.organization.pk or conversation.organization.is_personal


def shared_with(caller: Caller) -> QuerySet[Conversation]:
    """Others' conversations the caller may read."""
    ids = [as_id(row["object_pk"]) for row in _rows(user_id=caller.user.pk).values("object_pk")]
    here = Q(organization=caller.organization) | Q(organization__personal_to__isnull=False)
    return Conversation.objects.filter(here, id__in=ids)


def shares_of(conversation: Conversation) -> list[dict[str, Any]]:
    """The people a conversation is shared with: ID, e-mail and access."""
    given = _given(object_pk=str(conversation.pk))
    people = User.objects.filter(pk__in=given).order_by("email")
    return [{"id": user.pk, "email": user.email, "access": given[user.pk]} for user in people]


def share(conversation: Conversation, *, email: str, access: Access) -> dict[str, Any]:
    """Share a conversation with a person, replacing the access they had. Raises `InvalidRequest`."""
    user = User.objects.filter(email=User.objects.normalize_email(email), is_active=True).first()
    organization = conversation.organization
    if user and not organization.is_personal:
        user = user if Membership.objects.filter(organization=organization, user=user).exists() else None
    if user is None or user.pk == conversation.user_id:
        raise InvalidRequest(gettext(WRONG_PERSON if organization.is_personal else WRONG_MEMBER), param="email")
    transactions.run_atomic(_share, conversation, user, access)
    return {"id": user.pk, "email": user.email, "access": access}


def all_shares() -> QuerySet[ConversationShare]:
    """Every share of everybody, for the operator."""
    return ConversationShare.objects.filter(permission_id__in=list(meanings()))


def meanings() -> dict[Any, Access]:
    """The access that each `permission_id` stands for."""
    return {permission.pk: CODENAMES[permission.codename] for permission in _permissions()}


def set_access(share: ConversationShare, access: Access) -> None:
    """Write the person's permission row, replacing the one they had."""
    share.permission_id = next(key for key, meaning in meanings().items() if meaning == access)
    share.save(update_fields=["permission"])


def _share(conversation: Conversation, user: User, access: Access) -> None:
    lock(conversation.organization_id)  # two accesses at the same moment must not both be kept
    unshare(conversation, user.pk)
    codename = next(name for name, meaning in CODENAMES.items() if meaning == access)
    UserObjectPermission.objects.assign_perm(codename, user, obj=conversation)


def unshare(conversation: Conversation, user_id: UUID) -> bool:
    """Delete the person's permissions; returns whether there were any. Filters without a join, for MongoDB."""
    return bool(_rows(user_id=user_id, object_pk=str(conversation.pk)).delete()[0])


def _given(**which: Any) -> dict[UUID, Access]:
    """The access of each person."""
    known = meanings()
    rows = UserObjectPermission.objects.filter(permission_id__in=list(known), **which)
    return {user_id: known[permission] for user_id, permission in rows.values_list("user_id", "permission_id")}


def _rows(**which: Any) -> QuerySet[UserObjectPermission]:
    return UserObjectPermission.objects.filter(permission_id__in=[one.pk for one in _permissions()], **which)


def _permissions() -> Iterable[Permission]:
    return Permission.objects.filter(content_type__app_label="chat", codename__in=list(CODENAMES))
