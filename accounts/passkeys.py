"""Passkeys (WebAuthn): a second factor, and a login without password where the device knows its person.

| step | who | what |
| --- | --- | --- |
| 1 | the person, with the proofs of `accounts/passkey_views.py` | `begin_registration`: a challenge for the browser |
| 2 | the browser | `register`: the passkey; the first second factor turns `User.mfa_enabled_at` on |
| 3 | each login, or whatever needs a proof | `ask` or `ask_alone`, then `use`: the challenge, signed |

A challenge is signed by us and stored nowhere. It names what it is for, whose it is and the host, ends after minutes, and
is good once: the passkey's row keeps when the last challenge was made that it answered, and takes later ones only. What
the browser answers is judged in `accounts/webauthn.py`.
"""

import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.db import IntegrityError
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop
from rest_framework.request import Request

from accounts import second_factor
from accounts.models import AccessToken, Passkey, User
from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.errors import ApiError, InvalidRequest, NotFound, PermissionDenied

if TYPE_CHECKING:
    from accounts import webauthn

logger = logging.getLogger(__name__)
GOOD_FOR = 300  # seconds between the challenge and its answer
MOST = 20  # passkeys of a person
SALT = "accounts.passkeys"
LONGEST_STATE = 1000  # characters
REGISTER, LOGIN, SECOND, PROOF = "register", "login", "second", "proof"


class InvalidPasskey(ApiError):
    status, code = 401, "passkey_invalid"
    message = gettext_noop(
        "This passkey was not accepted: it is not known here, or the attempt was used or is too old. Try again."
    )


@dataclass(frozen=True, slots=True)
class Challenge:
    """A value that a passkey has to sign, with its purpose, its person or login (`whose`, an ID), its host and its time.

    `value` is base64url, `made_at` in microseconds since 1970.
    """

    purpose: str
    whose: str
    host: str
    value: str
    made_at: int

    @property
    def raw(self) -> bytes:
        return signing.b64_decode(self.value.encode())


@dataclass(frozen=True, slots=True)
class Answer:
    """A client's answer to a challenge: the state that came with it, and the credential of the browser as JSON."""

    state: str
    credential: Mapping[str, Any]


def site_of(request: Request | HttpRequest) -> "webauthn.Site":
    """Return the request's host name, which ALLOWED_HOSTS lets in, and its pages' origins. Raises `InvalidRequest`."""
    from accounts.webauthn import Site  # loads the library

    netloc = request.get_host().lower()
    host = urlsplit(f"//{netloc}").hostname or ""
    if _is_address(host):
        raise InvalidRequest(gettext("Passkeys belong to a host name: open this server by its name, or by localhost."))
    is_local = host == "localhost" or host.endswith(".localhost")
    bare = netloc.removesuffix(":443")
    trusted = {origin for origin in settings.CSRF_TRUSTED_ORIGINS if urlsplit(origin).hostname == host}
    return Site(host, frozenset({f"https://{bare}", *trusted, *([f"http://{netloc.removesuffix(':80')}"] * is_local)}))


def require_password(user: User) -> None:
    """Raise `PermissionDenied` for people whom an identity provider logs in: a passkey would outlive their place there."""
    if not (settings.PASSWORD_LOGIN and user.has_usable_password()):
        raise PermissionDenied(gettext("Your identity provider logs you in: set up passkeys there."))


def of_person(user: User) -> QuerySet[Passkey]:
    return Passkey.objects.filter(user=user)


def begin_registration(user: User, site: "webauthn.Site", *, whose: str) -> dict[str, Any]:
    """Return what a browser needs to make a passkey, `{state, public_key}`. `whose` is the ID of the login that asks."""
    from accounts import webauthn

    challenge = _new(REGISTER, whose, site)
    known = of_person(user).filter(host=site.host).values_list("credential_id", flat=True)
    options = webauthn.creation_options(site, challenge.raw, user=user.pk.bytes, name=user.email, known=known)
    return _asked(challenge, options)


def register(
    user: User, site: "webauthn.Site", answer: Answer, *, name: str, whose: str, keep: AccessToken | None
) -> tuple[Passkey, list[str]]:
    """Store the passkey that a browser made; returns it, and recovery codes if it is the first second factor.

    Then every login but the token `keep` ends. Raises `InvalidRequest`.
    """
    from accounts import webauthn

    challenge = _opened(answer.state, REGISTER, whose, site)
    if challenge is None:
        raise InvalidRequest(gettext(InvalidPasskey.message), param="state")
    try:
        made = webauthn.registered(site, challenge.value, answer.credential)
    except webauthn.NotProven as error:
        text = gettext("This is no passkey for this server: %(reason)s")
        raise InvalidRequest(text % {"reason": error}, param="credential") from None

    def work() -> tuple[Passkey, list[str]]:
        User.objects.filter(pk=user.pk).update(revision=F("revision") + 1)  # a second change waits here
        if of_person(user).count() >= MOST:
            text = gettext("You have %(most)s passkeys, which is the most: remove one first.")
            raise InvalidRequest(text % {"most": MOST})
        if Passkey.objects.filter(credential_id=made.credential_id).exists():
            raise _known()
        row = Passkey.objects.create(
            user=user,
            name=name,
            host=site.host,
            credential_id=made.credential_id,
            public_key=made.public_key,
            sign_count=made.sign_count,
            last_challenge=challenge.made_at,
        )
        audit_log.record(user, user, audit_log.CHANGED, {"passkey": (None, name)}, act=audit_log.PASSKEY_ADDED)
        return row, second_factor.turn_on(user, keep)

    try:
        return transactions.run_atomic(work)
    except IntegrityError:  # another request stored it at the same moment
        raise _known() from None


def ask(user: User, site: "webauthn.Site", *, purpose: str, whose: str) -> dict[str, Any] | None:
    """Return what a browser needs to sign with one of the person's passkeys; None if they have none for this host."""
    known = list(of_person(user).filter(host=site.host).values_list("credential_id", flat=True))
    if not known:
        return None
    from accounts import webauthn

    challenge = _new(purpose, whose, site)
    return _asked(challenge, webauthn.request_options(site, challenge.raw, known=known, alone=False))


def ways(user: User, request: Request | HttpRequest, *, purpose: str, whose: str) -> dict[str, Any]:
    """Return how the person can prove their second factor: `methods`, and the challenge for their passkeys of this host."""
    methods = ["app"] if second_factor.has_app(user) else []
    try:
        asked = ask(user, site_of(request), purpose=purpose, whose=whose)
    except InvalidRequest:  # the server was opened by an IP address, which has no passkeys
        asked = None
    methods += ["passkey"] if asked else []
    return {"methods": [*methods, "recovery_code"], **({"passkey": asked} if asked else {})}


def ask_alone(site: "webauthn.Site") -> dict[str, Any]:
    """Return what a browser needs to log in without a password: the device chooses the passkey, and so says whose it is."""
    from accounts import webauthn

    challenge = _new(LOGIN, "", site)
    return _asked(challenge, webauthn.request_options(site, challenge.raw, known=(), alone=True))


def use(
    answer: Answer, site: "webauthn.Site", *, purpose: str, whose: str = "", user: User | None = None
) -> User | None:
    """Use up a challenge and return the person whose passkey signed it; None for anything that proves nothing.

    `user` is whose passkey it must be; without one (purpose LOGIN) the device must have recognized its person.
    """
    from accounts import webauthn

    challenge = _opened(answer.state, purpose, whose, site)
    if challenge is None:
        return None
    rows = Passkey.objects.select_related("user").filter(host=site.host, user__is_active=True)
    if user is not None:
        rows = rows.filter(user=user)
    row = rows.filter(credential_id=webauthn.credential_id_of(answer.credential)).first()
    if row is None or not row.user.has_usable_password():
        return None
    try:
        count = webauthn.signed(site, challenge.value, answer.credential, row.public_key, alone=purpose == LOGIN)
    except webauthn.NotProven as problem:
        logger.info("a passkey was refused: %s", problem)
        return None
    if count <= row.sign_count and (count or row.sign_count):
        # Its key exists twice, or two logins at the same moment overtook each other.
        logger.warning(
            "a passkey's count of signatures went back: it may have been copied", extra={"passkey": str(row.pk)}
        )
        return None
    fresh = Passkey.objects.filter(pk=row.pk, last_challenge__lt=challenge.made_at, sign_count=row.sign_count)
    if not fresh.update(last_challenge=challenge.made_at, sign_count=count, last_used_at=timezone.now()):
        return None
    return row.user


def rename(row: Passkey, name: str) -> Passkey:
    """Give a passkey another name."""
    before, row.name = row.name, name
    row.save(update_fields=["name"])
    if before != name:
        values = {"passkey": (before, name)}
        audit_log.record(row.user, row.user, audit_log.CHANGED, values, act=audit_log.PASSKEY_RENAMED)
    return row


def remove(user: User, passkey_id: UUID) -> None:
    """Forget a passkey; without another one and without an app the second factor is off. Raises `NotFound`."""

    def work() -> None:
        User.objects.filter(pk=user.pk).update(revision=F("revision") + 1)  # a second change waits here
        row = one(user, passkey_id)
        audit_log.record(user, user, audit_log.CHANGED, {"passkey": (row.name, None)}, act=audit_log.PASSKEY_REMOVED)
        row.delete()
        if not of_person(user).exists() and not second_factor.has_app(user):
            second_factor.disable(user)

    transactions.run_atomic(work)


def one(user: User, passkey_id: UUID) -> Passkey:
    """Return one of the person's passkeys. Raises `NotFound`."""
    row = of_person(user).filter(pk=passkey_id).first()
    if row is None:
        raise NotFound()
    return row


def _known() -> InvalidRequest:
    return InvalidRequest(gettext("This passkey is registered already."), param="credential")


def _new(purpose: str, whose: str, site: "webauthn.Site") -> Challenge:
    return Challenge(purpose, whose, site.host, secrets.token_urlsafe(32), time.time_ns() // 1000)


def _asked(challenge: Challenge, options: dict[str, Any]) -> dict[str, Any]:
    return {"state": signing.dumps(asdict(challenge), salt=SALT), "public_key": options}


def _opened(state: str, purpose: str, whose: str, site: "webauthn.Site") -> Challenge | None:
    """Return the challenge in a signed state; None if the state is too old, not ours, or was made for something else."""
    try:
        challenge = Challenge(**signing.loads(state, salt=SALT, max_age=GOOD_FOR))
    except (signing.BadSignature, TypeError):
        return None
    is_it = (challenge.purpose, challenge.whose, challenge.host) == (purpose, whose, site.host)
    return challenge if is_it else None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
