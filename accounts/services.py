"""The verbs of accounts (users, roles, tokens) behind the endpoints, the admin and the commands."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError
from django.db.models import F, ManyToOneRel, Q
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from accounts import tenancy
from accounts.models import AccessToken, Membership, Organization, Role, User
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.errors import InvalidRequest, NotFound, PermissionDenied
from aichat.core.telemetry import product_events

API_KEY_PREFIX = "sk-"
# The columns of a key that limit it, besides its end.
KEY_LIMITS = (
    "rate_limit", "spend_limit", "spend_limit_day", "spend_limit_month", "allowed_models", "allowed_ips", "scopes",
)  # fmt: skip
RoleFollower = Callable[[User], None]
_role_followers: list[RoleFollower] = []


def follow_roles(follower: RoleFollower) -> None:
    """Have `follower(user)` called in the transaction of each change of a role, once at the start of the process.

    So what stands behind a role, such as a subscription, changes with it. The floors above register here.
    """
    _role_followers.append(follower)


def tell_followers(user: User) -> None:
    """Tell those who registered by `follow_roles` that the user has another role. Call it in the change's transaction."""
    for follower in _role_followers:
        follower(user)


def register_user(
    *,
    email: str,
    password: str,
    name: str = "",
    role: Role = Role.USER,
    email_confirmed: bool = False,
    then: Callable[[User], object] = lambda user: None,
) -> User:
    """Make a user with a personal organization. Raises `InvalidRequest` for a weak password or an e-mail that is taken.

    `email_confirmed` says that somebody vouches for the address: an administrator, or a code that was mailed to it.
    `then(user)` runs in the same transaction; what it raises undoes the sign-up.
    """
    email = User.objects.normalize_email(email)
    try:
        validate_email(email)
    except ValidationError:
        raise InvalidRequest(gettext("Write an e-mail address."), param="email") from None
    try:
        validate_password(password, User(email=email, name=name))
    except ValidationError as error:
        raise InvalidRequest(" ".join(error.messages), param="password") from None
    try:
        confirmed_at = timezone.now() if email_confirmed else None
        user = transactions.run_atomic(_create_with_organization, email, password, name, role, confirmed_at, then)
    except IntegrityError:
        raise InvalidRequest(
            gettext("An account can't be made with this e-mail address. If it is yours, log in."), param="email"
        ) from None
    product_events.emit(product_events.SignedUp(user=user.pk, method="password"))
    return user


def _create_with_organization(
    email: str,
    password: str,
    name: str,
    role: Role,
    confirmed_at: datetime | None,
    then: Callable[[User], object],
) -> User:
    user = User.objects.create_user(email, password, name=name, role=role, email_confirmed_at=confirmed_at)
    tenancy.personal_organization(user)
    if role != Role.USER:
        tell_followers(user)
    then(user)
    return user


def create_login_token(user: User) -> tuple[AccessToken, str]:
    """Make a login token; return its row and its secret, which is shown once."""
    row, secret = AccessToken.objects.create(user=user, kind=AccessToken.Kind.LOGIN)
    return row, secret


class LastAdmin(InvalidRequest):
    message = gettext_noop("This is the last active administrator: give somebody else the role ADMIN first.")


def change_user(
    user: User, *, role: Role | None = None, is_active: bool | None = None, actor: User | None = None
) -> None:
    """Change what a user may do; takes effect with their next request. The only way to change either.

    The change is logged as the `actor`'s; without one (a command) it is not logged. Raises `LastAdmin` when no active
    administrator would be left, also when two are demoted at the same moment, and `PermissionDenied` for a role above the
    actor's.
    """
    transactions.run_atomic(_change_user, user, role, is_active, actor)


def _change_user(user: User, role: Role | None, is_active: bool | None, actor: User | None) -> None:
    user.refresh_from_db()
    role = role or Role(user.role)
    is_active = user.is_active if is_active is None else is_active
    if actor and not (actor.has_role(role) and actor.has_role(Role(user.role))):
        raise PermissionDenied(gettext("This role is above your own."))
    keep_an_admin(user, role=role, is_active=is_active)
    wanted = {"role": role, "is_active": is_active}
    values = {name: (getattr(user, name), new) for name, new in wanted.items() if getattr(user, name) != new}
    for name, (_, new) in values.items():
        setattr(user, name, new)
    user.save(update_fields=["role", "is_active"])
    if "role" in values:
        tell_followers(user)
    if actor and values:
        audit_log.record(actor, user, audit_log.CHANGED, values)


def keep_an_admin(user: User, *, role: str, is_active: bool) -> None:
    """Raises `LastAdmin` when these would leave no active administrator. Call it in the transaction of the change."""
    admins = User.objects.filter(role=Role.ADMIN, is_active=True)
    admins.update(revision=F("revision") + 1)  # a second change waits here for the first, on every engine
    if not (is_active and role == Role.ADMIN) and set(admins.values_list("pk", flat=True)) == {user.pk}:
        raise LastAdmin(param="role" if role != Role.ADMIN else "is_active")


def has_history(user: User) -> bool:
    """Return whether anything refers to the user: then they are deactivated, never deleted."""
    return any(
        relation.related_model._base_manager.filter(**{relation.field.name: user}).exists()
        for relation in User._meta.get_fields(include_hidden=True)
        if isinstance(relation, ManyToOneRel)
    )


def create_api_key(
    *,
    user: User,
    organization: Organization,
    name: str,
    expires_at: datetime | None = None,
    actor: User | None = None,
    **limits: Any,
) -> tuple[AccessToken, str]:
    """Make an API key; return its row and its secret (`sk-…`), which is shown once. `limits` are columns of `KEY_LIMITS`.

    The act is logged as the `actor`'s; without one (a command) it is not logged. Raises `NotFound` when the user is no
    member (any more).
    """
    row, secret = transactions.run_atomic(_create_api_key, user, organization, name, expires_at, limits, actor)
    product_events.emit(product_events.ApiKeyCreated(user=user.pk, organization=organization.pk, key=row.id))
    return row, secret


def revoke(row: AccessToken) -> None:
    """Revoke a token from the next request on, and with a key the old secrets that its rotations left.

    A rotation at the same moment may have given the key's ID to a new row: that one is revoked, too.
    """
    row.revoke()
    for other in AccessToken.objects.filter(Q(replaced_by=row.id) | Q(id=row.id), revoked_at=None):
        other.revoke()
    if row.kind == AccessToken.Kind.API_KEY:
        product_events.emit(
            product_events.ApiKeyRevoked(user=row.user_id, organization=row.organization_id, key=row.id)
        )


def _create_api_key(
    user: User,
    organization: Organization,
    name: str,
    expires_at: datetime | None,
    limits: dict[str, Any],
    actor: User | None,
) -> tuple[AccessToken, str]:
    tenancy.lock(organization.pk)  # else a removal at the same moment could miss the new key
    if not Membership.objects.filter(user=user, organization=organization).exists():
        raise NotFound()
    row: AccessToken
    row, secret = AccessToken.objects.create(
        user=user,
        expiry=None,
        prefix=API_KEY_PREFIX,
        kind=AccessToken.Kind.API_KEY,
        name=name,
        organization=organization,
        **limits,
    )
    if expires_at is not None:  # knox takes a duration, and would add it to a later moment
        row.expiry = expires_at
        row.save(update_fields=["expiry"])
    if actor:
        values = {"name": name, "expiry": expires_at, **limits}
        record_key(actor, row, audit_log.ADDED, {column: (None, value) for column, value in values.items() if value})
    return row, secret


def record_key(actor: User, row: AccessToken, verb: str, values: audit_log.Values, **more: str) -> None:
    """Log what somebody did to a token, which is named by its ID: the primary key is the digest of the secret."""
    audit_log.record(actor, row, verb, values, id=str(row.id), **more)


def record_revocation(actor: User, row: AccessToken) -> None:
    """Log that somebody revoked a token."""
    record_key(actor, row, audit_log.CHANGED, {"revoked_at": (None, row.revoked_at)}, act=audit_log.REVOKED)
