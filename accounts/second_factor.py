"""The second factor of a login: codes of an authenticator app (RFC 6238), and recovery codes for when the app is lost.

Passkeys are a second factor, too: see `accounts/passkeys.py`.

| step | who | what |
| --- | --- | --- |
| 1 | the person, with their password | `begin`: a secret for the app, which protects nothing yet |
| 2 | the person, with a code of the app | `enable`: logins need a code from now on, all other logins end |
| 3 | each login | `passes`: a code of the app, good once, or a recovery code, good once |
| 4 | the person, with a code; an administrator; `reset_mfa` | `disable`, `reset`: a password is enough again |

`User.mfa_enabled_at` says whether logins need a code. The secret is sealed with SECRET_KEY: whoever reads the database
alone can't make codes. Recovery codes are hashed, and need no SECRET_KEY.
"""

import base64
import hashlib
import hmac
import logging
import secrets
from urllib.parse import quote, urlencode

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from accounts import logins
from accounts.models import AccessToken, Passkey, RecoveryCode, SecondFactor, User
from aichat.core.admin import audit_log
from aichat.core.database import clock, transactions
from aichat.core.errors import ApiError, InvalidRequest

logger = logging.getLogger(__name__)
PERIOD = 30  # seconds for which the app shows a code
DIGITS = 6
SKEW = 1  # periods that the clock of the phone may be early or late
SECRET_BYTES = 20  # https://www.rfc-editor.org/rfc/rfc4226#section-4
RECOVERY_CODES = 10
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # 5 bits a character, without those that look alike
LONGEST = 64  # characters that somebody may send as a code
ISSUER = "aichat"


class SecondFactorRequired(ApiError):
    status, code = 401, "mfa_required"
    message = gettext_noop(
        "This account has a second factor: send `code` as well, from the app or a recovery code, or `passkey`."
    )


class WrongCode(ApiError):
    status, code = 401, "mfa_invalid"
    message = gettext_noop(
        "This code is wrong or was used: send the next one of the authenticator app, or a recovery code."
    )


def begin(user: User) -> tuple[str, str]:
    """Return a new secret for the person's app, in base32, and the otpauth address that has it; nothing is on yet.

    A secret of an earlier `begin` ends. Raises `InvalidRequest` when an app is in use.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    transactions.run_atomic(_begin, user, secret)
    text = base64.b32encode(secret).decode()
    query = urlencode({"secret": text, "issuer": ISSUER, "algorithm": "SHA1", "digits": DIGITS, "period": PERIOD})
    return text, f"otpauth://totp/{ISSUER}:{quote(user.email)}?{query}"


def enable(user: User, code: str, *, keep: AccessToken | None) -> list[str]:
    """Have logins need a code from now on, and return the recovery codes; every login but the token `keep` ends.

    Where a passkey is a second factor already, there are no new recovery codes, and no login ends. Raises `InvalidRequest`
    for a code that the app of `begin` did not make.
    """
    factor = SecondFactor.objects.filter(user=user).first()
    if factor is None:
        raise InvalidRequest(gettext("There is no secret to confirm: POST /api/v1/me/mfa makes one."))
    if user.mfa_enabled_at is not None and factor.last_step:
        raise already_on()
    if not _use_app_code(factor, _cleaned(code)):
        raise InvalidRequest(
            gettext("This is not the code that the app shows now. Is the phone's clock right?"), param="code"
        )
    return transactions.run_atomic(_enable, user, factor, keep)


def turn_on(user: User, keep: AccessToken | None) -> list[str]:
    """Have logins need a second factor from now on, in the transaction that stores the first one.

    Returns the recovery codes, and ends every login but the token `keep`. When the person had a second factor before, no
    login ends, and the list is empty.
    """
    now = timezone.now()
    if not User.objects.filter(pk=user.pk, mfa_enabled_at=None).update(mfa_enabled_at=now):
        return []
    user.mfa_enabled_at = now
    SecondFactor.objects.filter(user=user, last_step=0).delete()  # an app that nobody has proved to be theirs
    logins.end_logins(user, but=keep)
    audit_log.record(user, user, audit_log.CHANGED, {"mfa_enabled_at": (None, now)})
    return _new_recovery_codes(user)


def has_app(user: User) -> bool:
    """Return whether the person has an authenticator app of which a code was used."""
    return SecondFactor.objects.filter(user=user, last_step__gt=0).exists()


def passes(user: User, code: str) -> bool:
    """Return whether the code is one of the person's app, or a recovery code of theirs. Either is used up by it."""
    code = _cleaned(code)
    if len(code) == DIGITS and code.isascii() and code.isdigit():
        factor = SecondFactor.objects.filter(user=user, last_step__gt=0).first()
        return factor is not None and _use_app_code(factor, code)
    used, _ = RecoveryCode.objects.filter(user=user, digest=_digest(user, code)).delete()
    return bool(used)


def recovery_codes_left(user: User) -> int:
    return RecoveryCode.objects.filter(user=user).count()


def renew_recovery_codes(user: User) -> list[str]:
    """Make new recovery codes; the old ones no longer work. Raises `InvalidRequest` without a second factor."""
    return transactions.run_atomic(_renew, user)


def disable(user: User, *, actor: User | None = None, **details: str) -> bool:
    """Switch the second factor off: the password is enough again. Returns whether it was on.

    `details` are kept in the audit log with the actor.
    """
    return transactions.run_atomic(_disable, user, actor or user, details)


def reset(user: User, *, actor: User | None = None, reason: str) -> bool:
    """Take away the second factor of somebody who lost it; their logins end. Returns whether they had one."""

    def work() -> bool:
        logins.end_logins(user)
        return _disable(user, actor or user, {"reason": reason})

    return transactions.run_atomic(work)


def erase(user: User) -> None:
    """Forget everything about the person's second factor, in the transaction that closes their account."""
    SecondFactor.objects.filter(user=user).delete()
    RecoveryCode.objects.filter(user=user).delete()
    Passkey.objects.filter(user=user).delete()


def app_code(secret: bytes, step: int) -> str:
    """Return the code that an app with this secret shows in a period: https://www.rfc-editor.org/rfc/rfc6238#section-4"""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    at = mac[-1] & 0x0F
    number = int.from_bytes(mac[at : at + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def current_step() -> int:
    return int(clock.shared_now().timestamp()) // PERIOD


def _begin(user: User, secret: bytes) -> None:
    User.objects.filter(pk=user.pk).update(revision=F("revision") + 1)  # a second change waits here, on every engine
    if User.objects.filter(pk=user.pk, mfa_enabled_at__isnull=False).exists() and has_app(user):
        raise already_on()
    SecondFactor.objects.filter(user=user).delete()
    SecondFactor.objects.create(user=user, sealed_secret=_seal().encrypt(secret).decode())


def _enable(user: User, factor: SecondFactor, keep: AccessToken | None) -> list[str]:
    User.objects.filter(pk=user.pk).update(revision=F("revision") + 1)
    if not SecondFactor.objects.filter(pk=factor.pk).exists():
        raise InvalidRequest(gettext("Another secret was made meanwhile: confirm that one."), param="code")
    codes = turn_on(user, keep)
    if not codes:  # a passkey was there before: `turn_on` has logged nothing
        audit_log.record(user, user, audit_log.CHANGED, {}, act=audit_log.APP_ADDED)
    return codes


def _disable(user: User, actor: User, details: dict[str, str]) -> bool:
    before = User.objects.values_list("mfa_enabled_at", flat=True).get(pk=user.pk)
    was_on = bool(User.objects.filter(pk=user.pk, mfa_enabled_at__isnull=False).update(mfa_enabled_at=None))
    erase(user)
    user.mfa_enabled_at = None
    logins.changed(user)
    if was_on:
        audit_log.record(actor, user, audit_log.CHANGED, {"mfa_enabled_at": (before, None)}, **details)
    return was_on


def _renew(user: User) -> list[str]:
    if not User.objects.filter(pk=user.pk, mfa_enabled_at__isnull=False).update(revision=F("revision") + 1):
        raise InvalidRequest(gettext("There is no second factor: POST /api/v1/me/mfa begins one."))
    audit_log.record(user, user, audit_log.CHANGED, {}, act=audit_log.CODES_RENEWED)
    return _new_recovery_codes(user)


def _new_recovery_codes(user: User) -> list[str]:
    RecoveryCode.objects.filter(user=user).delete()
    codes = [
        "-".join("".join(secrets.choice(ALPHABET) for _ in range(4)) for _ in range(4)) for _ in range(RECOVERY_CODES)
    ]
    RecoveryCode.objects.bulk_create([RecoveryCode(user=user, digest=_digest(user, _cleaned(code))) for code in codes])
    return codes


def _use_app_code(factor: SecondFactor, code: str) -> bool:
    """Return whether the app shows this code about now, and nobody used it or a later one before."""
    try:
        secret = _seal().decrypt(factor.sealed_secret.encode())
    except InvalidToken:
        logger.error("a second factor was sealed with another SECRET_KEY: manage.py reset_mfa takes it away")
        return False
    now = current_step()
    for step in range(now - SKEW, now + SKEW + 1):
        if hmac.compare_digest(app_code(secret, step).encode(), code.encode()):
            return bool(SecondFactor.objects.filter(pk=factor.pk, last_step__lt=step).update(last_step=step))
    return False


def _cleaned(code: str) -> str:
    return "".join(code.split()).replace("-", "").lower()


def _digest(user: User, code: str) -> str:
    return hashlib.sha256(f"{user.pk.hex}:{code}".encode()).hexdigest()


def _seal() -> Fernet:
    key = hashlib.sha256(f"accounts.second_factor:{settings.SECRET_KEY}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def already_on() -> InvalidRequest:
    return InvalidRequest(gettext("An authenticator app is set up: DELETE /api/v1/me/mfa first, with a code."))
