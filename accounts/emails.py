"""The mails of accounts: codes for a new password and for confirming or changing an address, and notices of changes."""

import logging

from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone
from django.utils.translation import gettext

from accounts import caller_cache, languages, mail_tokens
from accounts.mail_tokens import EMAIL, RESET, InvalidMailToken
from accounts.models import User
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.errors import ApiError, InvalidRequest
from aichat.core.outbound import mail

logger = logging.getLogger(__name__)


def link(page: str, token: str) -> str:
    """Return the address of the page that takes a code; empty without APP_URL."""
    return f"{settings.APP_URL}/{page}?token={token}" if settings.APP_URL else ""


def ask_for_reset(email: str) -> None:
    """Mail the person a code for a new password. For strangers the same work is done, and no mail is sent.

    People without a password (single sign-on) get none this way. Raises `MailUnavailable`.
    """
    mail.require()
    found = User.objects.filter(email=User.objects.normalize_email(email), is_active=True).first()
    user = found or User()
    token = mail_tokens.make(RESET, user)
    if found and user.has_usable_password():
        _send(user, "reset", {"token": token, "link": link("reset-password", token)})
    else:
        mail.send_nothing()


def send_reset(user: User, *, by: User) -> None:
    """Mail the person a code for a new password, because an administrator asked.

    Raises `MailUnavailable`, and `InvalidRequest` for people without a password.
    """
    mail.require()
    if not user.is_active or not user.has_usable_password():
        raise InvalidRequest(gettext("This account has no password, or is deactivated: nothing was sent."))
    token = mail_tokens.make(RESET, user)
    _send(user, "reset", {"token": token, "link": link("reset-password", token)})
    audit_log.record(by, user, audit_log.CHANGED, {}, act=audit_log.RESET_SENT)


def send_confirmation(user: User, email: str = "") -> None:
    """Mail a code to `email` (their present address if empty) that makes it the person's confirmed address."""
    to = email or user.email
    token = mail_tokens.make(EMAIL, user, to)
    _send(user, "confirm", {"token": token, "link": link("verify-email", token)}, to=to)


def _send(user: User, template: str, facts: dict[str, str], to: str = "") -> None:
    """Mail to a person's present or new address, in their language."""
    mail.send(to or user.email, f"accounts/mail/{template}", facts, language=languages.of_mail_to(user))


def ask_for_change(user: User, email: str) -> None:
    """Mail a code to the new address and a notice to the old one. The present address is only confirmed again.

    An address that somebody has gets no mail, and the answer is the same: it tells nobody who has an account.
    """
    mail.require()
    email = User.objects.normalize_email(email)
    if email == user.email:
        send_confirmation(user)
        return
    if User.objects.filter(email=email).exists():
        mail.send_nothing()
    else:
        send_confirmation(user, email)
    _send(user, "email_change", {"email": email})


def tell_of_second_factor(user: User, change: str) -> None:
    """Mail the person that their second factor was changed (`app`, `passkey`, `off`): a thief can't do it unnoticed.

    Without a mail server, and for people without an address, nothing is sent.
    """
    if not settings.EMAIL_URL or user.email.endswith(".invalid"):
        return
    try:
        _send(user, "second_factor", {"change": change})
    except ApiError as error:
        logger.warning("no notice of a changed second factor: %s", error.code)


def confirm(user: User, email: str) -> None:
    """Make `email` the user's confirmed address, if neither has changed since `user` was read.

    Raises `InvalidMailToken`, of two at the same moment for one of them.
    """
    try:
        transactions.run_atomic(_confirm, user, email)
    except IntegrityError:
        raise InvalidMailToken(gettext("This address can't be used: somebody else has it."), param="token") from None


def _confirm(user: User, email: str) -> None:
    unchanged = User.objects.filter(pk=user.pk, email=user.email, email_confirmed_at=user.email_confirmed_at)
    if not unchanged.update(email=email, email_confirmed_at=timezone.now()):
        raise InvalidMailToken(param="token")
    if email != user.email:
        audit_log.record(user, user, audit_log.CHANGED, {"email": (user.email, email)})
    caller_cache.changed(user.pk)
