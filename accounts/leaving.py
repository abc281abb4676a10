"""Leaving for good: a person asks, may come back by logging in within the days of grace, and is erased after them.

| step | who | what |
| --- | --- | --- |
| 1 | the person, with their password | `ask`: the account is marked, all logins end; API keys work on |
| 2a | the person logs in | `User.take_deletion_back`: the mark is gone |
| 2b | `erase_due`, after ACCOUNT_DELETION_GRACE_DAYS | closes the account in one commit: no name, address, key, team |
| 3 | `erase_due` | has the parts delete their rows (`erases`), again in each run for an hour: work under way may write |
| 4 | `erase_due` | notes the end (`erased_at`) |

The row of the person stays without anything personal, because entries of the ledger and usage records refer to it. Every
step may be repeated, also after its process died.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import make_password
from django.utils import formats, timezone, translation
from django.utils.translation import gettext, gettext_noop

from accounts import caller_cache, languages, second_factor, services, tenancy
from accounts.models import AccessToken, ExternalIdentity, Invitation, Membership, Organization, Role, User
from aichat.core.admin import audit_log
from aichat.core.database import clock, transactions
from aichat.core.database.batches import in_batches
from aichat.core.errors import ApiError, InvalidRequest
from aichat.core.outbound import mail

logger = logging.getLogger(__name__)
STRAGGLERS = timedelta(hours=1)
AT_ONCE = 50
DELETED = "Deleted account"
OWNER = Membership.Role.OWNER

_checks: list[Callable[[User], object]] = []
_erasers: list[Callable[[User], object]] = []


class SoleOwner(InvalidRequest):
    message = gettext_noop("You are the only owner of a team with other members: make one of them an owner first.")


class TakenBack(Exception):
    """Says that the person came back before the account was closed."""


def checks(check: Callable[[User], object]) -> None:
    """Register what raises `InvalidRequest` while something has to be done before its person may leave."""
    _checks.append(check)


def erases(eraser: Callable[[User], object]) -> None:
    """Register what deletes a part's rows of a person, once at the start of the process. It may run more than once."""
    _erasers.append(eraser)


def grace() -> timedelta:
    return timedelta(days=settings.ACCOUNT_DELETION_GRACE_DAYS)


def ask(user: User) -> datetime:
    """Mark the account for deletion, end all logins, and return when it will be erased; asked again, the same time.

    Raises `LastAdmin`, `SoleOwner` with the names of the teams, and what the parts raise that registered by `checks`.
    """
    asked_at = transactions.run_atomic(_ask, user)
    if settings.EMAIL_URL and not user.email.endswith(".invalid"):
        try:
            language = languages.of_mail_to(user)
            with translation.override(language):
                at = formats.date_format(asked_at + grace(), gettext("j F Y, H:i"))
            mail.send(user.email, "accounts/mail/deletion", {"at": at}, language=language)
        except ApiError as error:
            logger.warning("no notice of a deletion: %s", error.code)
    return asked_at + grace()


def _ask(user: User) -> datetime:
    if user.role == Role.ADMIN:
        try:
            services.keep_an_admin(user, role=user.role, is_active=False)
        except services.LastAdmin:
            raise services.LastAdmin() from None  # without `param`, which names a field of another form
    for check in _checks:
        check(user)
    teams = _teams_of(user)
    names = [team.name for team in teams if _heir(team.pk, user) is not None]
    if names:
        raise SoleOwner(f"{gettext(SoleOwner.message)} ({', '.join(names)[:500]})")
    if User.objects.filter(pk=user.pk, deletion_requested_at=None).update(deletion_requested_at=clock.shared_now()):
        audit_log.record(user, user, audit_log.CHANGED, {}, act=audit_log.DELETION_ASKED)
    user.end_logins()
    caller_cache.changed(user.pk)
    asked_at = User.objects.values_list("deletion_requested_at", flat=True).get(pk=user.pk)
    assert asked_at is not None
    return asked_at


def erase_due() -> int:
    """Erase the accounts whose grace is over; returns how many were closed now. Safe to run twice, and at any time."""
    clock.keep_compared()
    seen: set[UUID] = set()
    closed = 0
    due = User.objects.filter(deletion_requested_at__lte=clock.shared_now() - grace(), erased_at=None)
    while batch := list(due.exclude(pk__in=seen).order_by("deletion_requested_at")[:AT_ONCE]):
        for user in batch:
            seen.add(user.pk)
            try:
                closed += erase(user)
            except TakenBack:
                continue
            except Exception:  # the others are erased all the same, and this one is tried again in the next run
                logger.exception("an account was not erased", extra={"account": str(user.pk)})
    return closed


def erase(user: User) -> bool:
    """Close the account and delete what is the person's; returns whether it was closed now. Raises `TakenBack`."""
    was_open = user.is_active or not user.email.endswith("@deleted.invalid")
    transactions.run_atomic(_close, user)
    for eraser in _erasers:
        eraser(user)
    asked_at = user.deletion_requested_at
    if asked_at and clock.shared_now() > asked_at + grace() + STRAGGLERS:
        User.objects.filter(pk=user.pk).update(erased_at=timezone.now())
    return was_open


def _close(user: User) -> None:
    marked = User.objects.filter(pk=user.pk, deletion_requested_at=user.deletion_requested_at, erased_at=None)
    if user.is_active and user.role == Role.ADMIN:
        services.keep_an_admin(user, role=user.role, is_active=False)
    if not marked.update(
        is_active=False,
        email=f"{user.pk.hex}@deleted.invalid",
        name="",
        password=make_password(None),
        email_confirmed_at=None,
        mfa_enabled_at=None,
        analytics_consent=False,
        last_login=None,
    ):
        raise TakenBack
    for team in _teams_of(user):
        heir = _heir(team.pk, user)
        if heir is not None:  # since the person asked, the team has lost its other owners, or got its first members
            Membership.objects.filter(pk=heir.pk).update(role=OWNER)
            caller_cache.changed(heir.user_id)
        Membership.objects.filter(organization=team, user=user).delete()
    tokens = AccessToken.objects.filter(user=user)
    tokens.filter(revoked_at=None).update(revoked_at=timezone.now())
    tokens.update(name="")
    ExternalIdentity.objects.filter(user=user).delete()
    second_factor.erase(user)
    Invitation.objects.filter(invited_by=user).delete()
    Invitation.objects.filter(email=user.email).delete()
    Invitation.objects.filter(user=user).delete()
    own = list(Organization.objects.filter(personal_to=user).values_list("pk", flat=True))
    Organization.objects.filter(pk__in=own).update(name=DELETED)
    keys = tokens.filter(kind=AccessToken.Kind.API_KEY).values_list("pk", flat=True)
    for batch in in_batches([str(key) for key in (user.pk, *own, *keys)]):
        # Names, network addresses and e-mails go; that something was changed, when and by whom, stays.
        LogEntry.objects.filter(object_id__in=batch).update(object_repr=DELETED, change_message="")
    # Entries of memberships and invitations are named by the address: "bob@example.com in Wonderland".
    for words in (" in ", " into "):
        named = LogEntry.objects.filter(object_repr__startswith=f"{user.email}{words}"[:200])
        named.update(object_repr=DELETED, change_message="")
    caller_cache.changed(user.pk, *own)


def _teams_of(user: User) -> list[Organization]:
    """Return the teams the user belongs to; their members can't change until the transaction ends."""
    ids = Membership.objects.filter(user=user).values_list("organization_id", flat=True)
    teams = list(Organization.objects.filter(pk__in=list(ids), personal_to=None).order_by("pk"))
    for team in teams:
        tenancy.lock(team.pk)
    return teams


def _heir(team: UUID, user: User) -> Membership | None:
    """Return who becomes owner when the user, the only owner, leaves: an admin, or else the member of longest standing.

    None when the user is no owner, when there is another owner, or when nobody else is left. Deactivated people don't count.
    """
    members = Membership.objects.filter(organization_id=team)
    others = members.exclude(user=user).filter(user__is_active=True)
    if not members.filter(user=user, role=OWNER).exists() or others.filter(role=OWNER).exists():
        return None
    by_standing = others.order_by("created_at", "pk")
    return by_standing.filter(role=Membership.Role.ADMIN).first() or by_standing.first()
