"""Verbs on the logins of a person: change the password, and end them."""

from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop

from accounts import caller_cache, mail_tokens
from accounts.models import AccessToken, User
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.errors import InvalidRequest, NotFound, PermissionDenied


class PasswordsOff(PermissionDenied):
    message = gettext_noop(
        "Passwords are switched off on this server (PASSWORD_LOGIN): use single sign-on, or an API key."
    )


def require_passwords() -> None:
    """Raise `PasswordsOff` where people log in by single sign-on alone."""
    if not settings.PASSWORD_LOGIN:
        raise PasswordsOff()


def change_password(user: User, new: str, *, keep: AccessToken | None = None) -> None:
    """Give the user a new password; every login but the token `keep` ends. Raises `InvalidRequest` for a weak one."""
    _check_strength(user, new, param="new_password")
    transactions.run_atomic(_change_password, user, new, keep)


def reset_password(token: str, new: str) -> None:
    """Give the person whom a mailed code names a new password; all their logins end, and so does the code.

    Raises `InvalidRequest` for a wrong or used code, and for a weak password (the code then stays good).
    """
    user, _ = mail_tokens.read(mail_tokens.RESET, token)
    _check_strength(user, new, param="password")
    transactions.run_atomic(_reset_password, user, user.password, make_password(new))


def _reset_password(user: User, old: str, new: str) -> None:
    if not User.objects.filter(pk=user.pk, password=old, is_active=True).update(password=new):
        raise mail_tokens.InvalidMailToken(param="token")  # the code was used a moment ago
    if settings.EMAIL_VERIFICATION != "none" and not user.email_confirmed:
        # Whoever signed up with this address never showed that it is theirs: their keys must not outlive the reset.
        AccessToken.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())
    end_logins(user)
    audit_log.record(user, user, audit_log.CHANGED, {}, act=audit_log.PASSWORD_RESET)


def _check_strength(user: User, password: str, *, param: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InvalidRequest(" ".join(error.messages), param=param) from None


def sessions_of(user: User) -> QuerySet[AccessToken]:
    """Return the person's login tokens that are in use, newest first."""
    tokens: QuerySet[AccessToken] = AccessToken.objects.usable().filter(user=user, kind=AccessToken.Kind.LOGIN)
    return tokens


def end_session(user: User, session_id: UUID) -> None:
    """Revoke one login token of the user. Raises `NotFound` for one that is not theirs, or ended before."""
    session = sessions_of(user).filter(id=session_id).first()
    if session is None:
        raise NotFound()
    session.revoke()


def _change_password(user: User, new: str, keep: AccessToken | None) -> None:
    user.set_password(new)
    # Not `save`: that would end the login which asks for the change as well.
    User.objects.filter(pk=user.pk).update(password=user.password)
    end_logins(user, but=keep)
    audit_log.record(user, user, audit_log.CHANGED, {}, act=audit_log.PASSWORD_CHANGED)


def changed(user: User) -> None:
    """Have the next request read the user anew, in every process."""
    caller_cache.changed(user.pk)


def end_logins(user: User, but: AccessToken | None = None) -> None:
    """Revoke the user's login tokens, in this process at once; API keys stay."""
    user.end_logins(but)
    caller_cache.changed(user.pk)
