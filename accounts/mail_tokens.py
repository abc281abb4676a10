"""The codes in mails: signed, stored nowhere, and worth nothing once what they were made for has changed.

A code names a person, a purpose and a value (such as the new address). It is signed together with the person's password
hash, address and time of confirmation: whatever changes one of these, above all using the code, ends it.
"""

from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext_noop

from accounts.models import User
from aichat.core.errors import InvalidRequest

RESET, EMAIL = "reset", "email"
SECONDS = {RESET: 3600, EMAIL: 3 * 86_400}
LONGEST = 1000  # characters


class InvalidMailToken(InvalidRequest):
    message = gettext_noop("This code is wrong, was used, or has expired: ask for a new mail.")


def make(purpose: str, user: User, value: str = "") -> str:
    """Return a code for the user; it holds for `SECONDS[purpose]` seconds."""
    return signing.dumps([user.pk.hex, value, _state(purpose, user)], salt=_salt(purpose))


def read(purpose: str, token: str) -> tuple[User, str]:
    """Return the person and the value that a code was made for. Raises `InvalidMailToken`."""
    try:
        key, value, state = signing.loads(token, salt=_salt(purpose), max_age=SECONDS[purpose])
    except signing.BadSignature:
        raise InvalidMailToken(param="token") from None
    user = User.objects.filter(pk=key, is_active=True).first()
    if user is None or not constant_time_compare(state, _state(purpose, user)):
        raise InvalidMailToken(param="token")
    return user, str(value)


def _salt(purpose: str) -> str:
    return f"accounts.mail_tokens.{purpose}"


def _state(purpose: str, user: User) -> str:
    seen = f"{user.password}|{user.email}|{user.email_confirmed_at}"
    return salted_hmac(_salt(purpose), seen, algorithm="sha256").hexdigest()[:32]
