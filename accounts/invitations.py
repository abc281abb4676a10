"""Invitations into a team: nobody becomes a member who has not agreed.

Owners and admins of the team invite, never for a role above their own; what the inviter may do is asked again when the
invitation is accepted. A person who has an account sees it in their list and answers there. By the code that is mailed to
the address, which works once, only the person who has the address accepts it.
"""

import hashlib
import secrets
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils.translation import gettext, gettext_noop

from accounts import caller_cache, languages, teams, tenancy
from accounts.emails import link
from accounts.mail_tokens import InvalidMailToken
from accounts.models import Invitation, Membership, Role, User
from aichat.core.admin import audit_log
from aichat.core.database import clock, transactions
from aichat.core.errors import InvalidRequest, NotFound, PermissionDenied
from aichat.core.outbound import mail

GOOD_FOR = timedelta(days=7)
MOST_OPEN = 500  # of a team
WRONG = gettext_noop("This invitation is wrong, was used or withdrawn, or has expired: ask for a new one.")


def open_ones(by: Membership) -> QuerySet[Invitation]:
    """Return the team's invitations that can be accepted. Raises `PermissionDenied` for a MEMBER."""
    teams.require_over(by)
    return Invitation.objects.filter(organization_id=by.organization_id, expires_at__gt=clock.shared_now())


def invite(by: Membership, *, email: str, role: str) -> Invitation:
    """Mail somebody an invitation; one that the address had before is replaced.

    Raises `InvalidRequest`, `PermissionDenied`, and `MailUnavailable` without a mail server.
    """
    mail.require()
    return _invite(by, User.objects.normalize_email(email), role)


def ask(by: Membership, *, email: str, role: str) -> Invitation:
    """Ask a person who has an account: in their list, and by mail where there is a mail server.

    Raises `InvalidRequest` when nobody has this address, `PermissionDenied`.
    """
    return _invite(by, User.objects.normalize_email(email), role, must_exist=True)


def _invite(by: Membership, email: str, role: str, *, must_exist: bool = False) -> Invitation:
    token = secrets.token_urlsafe(32)

    def work() -> Invitation:
        if by.organization.is_personal:
            raise InvalidRequest(gettext("A personal organization has one member: make a team for several people."))
        teams.require_over(by, role)
        user = User.objects.filter(email=email, is_active=True).first()
        if user is None and must_exist:
            raise InvalidRequest(
                gettext("Nobody has this e-mail address here: invite them by mail instead."), param="email"
            )
        if Membership.objects.filter(organization=by.organization, user__email=email).exists():
            raise InvalidRequest(gettext("This person is a member already."), param="email")
        Invitation.objects.filter(organization=by.organization, expires_at__lte=clock.shared_now()).delete()
        Invitation.objects.filter(organization=by.organization, email=email).delete()
        if Invitation.objects.filter(organization=by.organization).count() >= MOST_OPEN:
            text = gettext("A team has at most %(most)s open invitations: withdraw some.")
            raise InvalidRequest(text % {"most": MOST_OPEN})
        invitation = Invitation.objects.create(
            organization=by.organization,
            email=email,
            user=user,
            role=role,
            token_digest=_digest(token),
            invited_by_id=by.user_id,
            expires_at=clock.shared_now() + GOOD_FOR,
        )
        audit_log.record(by.user, invitation, audit_log.ADDED, {"role": (None, role)})
        if settings.EMAIL_URL:
            mail.send(
                email, "accounts/mail/invitation", _facts(by, token), language=languages.of_mail_to(user or by.user)
            )
        return invitation

    return teams.alone(by, work)


def withdraw(by: Membership, invitation_id: object) -> None:
    """Withdraw an open invitation, so that nobody can accept it. Raises `NotFound`, `PermissionDenied`."""

    def work() -> None:
        invitation = open_ones(by).filter(pk=tenancy.as_id(invitation_id)).first()
        if invitation is None:
            raise NotFound()
        teams.require_over(by, invitation.role)
        audit_log.record(by.user, invitation, audit_log.DELETED, {"role": (invitation.role, None)})
        invitation.delete()

    teams.alone(by, work)


def of_person(user: User) -> QuerySet[Invitation]:
    """Return the invitations that the person can answer."""
    mine = Invitation.objects.select_related("organization", "invited_by")
    return mine.filter(user=user, expires_at__gt=clock.shared_now())


def accept_own(user: User, invitation_id: UUID) -> Membership:
    """Take the user into the team that asked them. Raises `NotFound`, and `InvalidMailToken` for an ended invitation."""
    return transactions.run_atomic(join, user, _own(user, invitation_id))


def decline(user: User, invitation_id: UUID) -> None:
    """Decline an invitation. Raises `NotFound`."""

    def work() -> None:
        invitation = _own(user, invitation_id)
        audit_log.record(user, invitation, audit_log.DELETED, {"role": (invitation.role, None)}, reason="declined")
        invitation.delete()

    transactions.run_atomic(work)


def _own(user: User, invitation_id: UUID) -> Invitation:
    invitation = of_person(user).filter(pk=invitation_id).first()
    if invitation is None:
        raise NotFound()
    return invitation


def find(token: str) -> Invitation:
    """Return the open invitation with this code. Raises `InvalidMailToken`."""
    found = (
        Invitation.objects.select_related("organization", "invited_by")
        .filter(token_digest=_digest(token), expires_at__gt=clock.shared_now())
        .first()
    )
    if found is None:
        raise InvalidMailToken(gettext(WRONG), param="token")
    return found


def accept(user: User, token: str) -> Membership:
    """Take the user into the team that invited their address. Raises `InvalidMailToken`."""
    return transactions.run_atomic(join, user, find(token))


def lets_register(invitation: Invitation) -> bool:
    """Return whether the invitation lets somebody sign up while registration is closed: it is an administrator's."""
    return invitation.invited_by.is_active and invitation.invited_by.has_role(Role.ADMIN)


def join(user: User, invitation: Invitation) -> Membership:
    """Take the user into the team and use the invitation up, in the caller's transaction. Raises `InvalidMailToken`."""
    tenancy.lock(invitation.organization_id)  # as for all changes of members, so no invitation is used twice
    if user.pk != invitation.user_id and invitation.email != user.email:
        raise InvalidMailToken(
            gettext("This invitation was sent to another address than your account's."), param="token"
        )
    by = Membership.objects.filter(
        organization_id=invitation.organization_id, user_id=invitation.invited_by_id, user__is_active=True
    ).first()
    used, _ = Invitation.objects.filter(pk=invitation.pk).delete()
    try:
        if by is None or not used:
            raise InvalidMailToken(gettext(WRONG), param="token")
        teams.require_over(by, invitation.role)
    except PermissionDenied:  # the inviter may no longer give this role
        raise InvalidMailToken(gettext(WRONG), param="token") from None
    known = Membership.objects.filter(organization_id=invitation.organization_id, user=user).first()
    membership = known or Membership.objects.create(
        organization=invitation.organization, user=user, role=invitation.role
    )
    if known is None:
        audit_log.record(user, membership, audit_log.ADDED, {"role": (None, invitation.role)}, reason="invitation")
    caller_cache.changed(user.pk)
    return membership


def _facts(by: Membership, token: str) -> dict[str, str]:
    return {
        "team": by.organization.name,
        "by": by.user.email,
        "token": token,
        "link": link("accept-invitation", token),
    }


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
