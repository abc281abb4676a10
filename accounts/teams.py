"""Teams: organizations of several people, and what members may do to each other.

An OWNER manages everybody, an ADMIN everybody but owners, a MEMBER nobody but themselves (they may leave). There is
always an owner. Changes of the same team wait for each other, so these rules hold also for two at the same moment.
"""

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from accounts import caller_cache, tenancy
from accounts.authentication import Caller
from accounts.models import AccessToken, Membership, Organization, User
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.errors import InvalidRequest, NotFound, PermissionDenied

T = TypeVar("T")
OWNER, ADMIN, MEMBER = Membership.Role.OWNER, Membership.Role.ADMIN, Membership.Role.MEMBER


class LastOwner(InvalidRequest):
    message = gettext_noop("A team keeps an owner: make another member one first.")


def memberships_of(caller: Caller) -> QuerySet[Membership]:
    """Return the caller's memberships: all for a login token, one for an API key, which belongs to one organization."""
    mine = Membership.objects.select_related("organization").filter(user=caller.user)
    return mine.filter(organization=caller.organization) if caller.api_key else mine


def membership_in(caller: Caller, organization_id: object) -> Membership:
    """Return the caller's place in an organization. Raises `NotFound`."""
    found = memberships_of(caller).filter(organization_id=tenancy.as_id(organization_id)).first()
    if found is None:
        raise NotFound()
    return found


def create_team(user: User, name: str) -> Membership:
    """Make a team whose owner is `user`; return their membership."""
    return transactions.run_atomic(_create_team, user, name)


def _create_team(user: User, name: str) -> Membership:
    organization = Organization.objects.create(name=name)
    return Membership.objects.create(organization=organization, user=user, role=OWNER)


def rename(by: Membership, name: str) -> None:
    if by.role == MEMBER:
        raise PermissionDenied(gettext("Owners and admins of a team rename it."))
    by.organization.name = name
    by.organization.save(update_fields=["name"])


def change_member(by: Membership, user_id: UUID, *, role: str) -> Membership:
    """Give a member another role. Raises `NotFound`, `PermissionDenied`, `LastOwner`."""

    def work() -> Membership:
        member = _member(by, user_id)
        require_over(by, member.role, role)
        if role != OWNER:
            _keep_an_owner(member)
        before, member.role = member.role, role
        member.save(update_fields=["role"])
        if before != role:
            audit_log.record(by.user, member, audit_log.CHANGED, {"role": (before, role)})
        return member

    return alone(by, work)


LIMITS = ("spend_limit_day", "spend_limit_month")


def limit_member(by: Membership, user_id: UUID, limits: dict[str, int | None]) -> Membership:
    """Set what a member may spend of the team's credits, in microcredits by column of `LIMITS`; None is no limit.

    Owners limit everybody, admins members only, so that nobody lifts what an owner set for them. Raises `NotFound`,
    `PermissionDenied`, `InvalidRequest` for a personal organization.
    """

    def work() -> Membership:
        if by.organization.is_personal:
            raise InvalidRequest(
                gettext("A personal organization has one member: limit its keys."), param=next(iter(limits))
            )
        member = _member(by, user_id)
        if by.role != OWNER and (by.role == MEMBER or member.role != MEMBER):
            raise PermissionDenied(gettext("Owners limit what everybody in a team spends, admins what members spend."))
        values = {name: (getattr(member, name), new) for name, new in limits.items()}
        for name, new in limits.items():
            setattr(member, name, new)
        member.save(update_fields=list(limits))
        audit_log.record(by.user, member, audit_log.CHANGED, values)
        return member

    return alone(by, work)


def remove_member(by: Membership, user_id: UUID) -> None:
    """Take a member out, or leave oneself: their keys for the team end with the same commit.

    Raises `NotFound`, `PermissionDenied`, `LastOwner`.
    """

    def work() -> None:
        member = _member(by, user_id)
        if member.user_id != by.user_id:
            require_over(by, member.role)
        _keep_an_owner(member)
        audit_log.record(by.user, member, audit_log.DELETED, {"role": (member.role, None)})
        member.delete()
        keys = AccessToken.objects.filter(user_id=user_id, organization=by.organization, revoked_at=None)
        keys.update(revoked_at=timezone.now())
        caller_cache.changed(user_id)

    alone(by, work)


def alone(by: Membership, work: Callable[[], T]) -> T:
    """Run `work` in a transaction in which nobody else can change the team's members.

    The role of `by` is read again first, because it may have changed. Raises `NotFound` when `by` is no member any more.
    """

    def locked() -> T:
        tenancy.lock(by.organization_id)
        current = Membership.objects.filter(pk=by.pk).first()
        if current is None:
            raise NotFound()
        by.role = current.role
        return work()

    return transactions.run_atomic(locked)


def _member(by: Membership, user_id: UUID) -> Membership:
    member = Membership.objects.select_related("user").filter(organization=by.organization, user_id=user_id).first()
    if member is None:
        raise NotFound()
    return member


def require_over(by: Membership, *roles: str) -> None:
    """Raise `PermissionDenied` unless `by` manages the team, and members with each of the roles."""
    if by.role == MEMBER or (by.role == ADMIN and OWNER in roles):
        raise PermissionDenied(gettext("Owners manage everybody in a team, admins everybody but owners."))


def _keep_an_owner(member: Membership) -> None:
    owners = Membership.objects.filter(organization_id=member.organization_id, role=OWNER)
    if member.role == OWNER and not owners.exclude(pk=member.pk).exists():
        raise LastOwner()
