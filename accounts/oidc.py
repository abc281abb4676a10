"""Bearer JWTs of an OpenID Connect issuer (OIDC_ISSUER, OIDC_AUDIENCE): their first request makes their person a user.

A person is known by issuer and subject, never by e-mail: an address says nothing about who registered it here before.
Fetches over the network: not for the event loop. https://openid.net/specs/openid-connect-discovery-1_0.html
"""

import base64
import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

import jwt
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from accounts import issuer_groups, tenancy
from accounts.models import ExternalIdentity, Role, User
from accounts.services import LastAdmin, change_user
from aichat.core.database import transactions
from aichat.core.errors import ApiError
from aichat.core.outbound.public_addresses import public_handlers
from aichat.core.telemetry import product_events

logger = logging.getLogger(__name__)

# Public-key signatures only: with a shared secret the issuer's public key would be the secret.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LEEWAY = 10  # seconds the issuer's clock may differ
TIMEOUT = 5.0  # seconds for each answer of the issuer
FRESH_SECONDS = 300.0  # after which keys are fetched again: a key that the issuer withdrew is accepted so much longer
REFETCH_SECONDS = 10.0  # between two fetches at least, whatever keys the tokens name
LATEST = 253_402_300_800.0  # the year 10000, seconds since 1970
LONGEST_ANSWER = 1_000_000  # bytes
# What an issuer's answers raise that are no HTTP, no JSON, or not of the form they should have.
UNUSABLE = (
    OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError, RecursionError, jwt.PyJWTError,
)  # fmt: skip


class InvalidJwt(ApiError):
    status, code = 401, "invalid_api_key"


class IdentityProviderUnavailable(ApiError):
    status, code = 503, "identity_provider_unavailable"
    message = gettext_noop("The identity provider's keys can't be fetched at the moment: try again shortly.")


class IssuerKeys:
    """The issuer's public keys: fetched at first use, when they are old, and when a token names an unknown one.

    While the issuer can't be reached the keys known last stay in use.
    """

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.keys: list[jwt.PyJWK] = []
        self.about: dict[str, Any] = {}  # https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderMetadata
        self.fetched_at = self.tried_at = float("-inf")
        self.lock = threading.Lock()

    def named(self, key_id: str | None) -> list[jwt.PyJWK]:
        """Return the keys that may have signed a token: the keys of this name, or all when the token names none."""
        if time.monotonic() - self.fetched_at > FRESH_SECONDS:
            self.refresh(wait=not self.keys)
        found = self.matching(key_id)
        if not found:
            self.refresh(wait=True)
            found = self.matching(key_id)
        if not self.keys:
            raise IdentityProviderUnavailable(retry_after=REFETCH_SECONDS)
        return found

    def matching(self, key_id: str | None) -> list[jwt.PyJWK]:
        return [key for key in self.keys if key_id is None or key.key_id == key_id]

    def refresh(self, *, wait: bool) -> None:
        """Fetch the keys unless that was tried just now. Without `wait`, return at once when another thread is fetching."""
        if not self.lock.acquire(blocking=wait):
            return
        try:
            if time.monotonic() - self.tried_at < REFETCH_SECONDS:
                return
            self.tried_at = time.monotonic()
            self.keys = self.fetch()
            self.fetched_at = time.monotonic()
        except UNUSABLE as error:
            logger.warning("can't fetch the keys of %s: %s", self.issuer, error)
        finally:
            self.lock.release()

    def fetch(self) -> list[jwt.PyJWK]:
        about = get_json(f"{self.issuer}/.well-known/openid-configuration")
        if about["issuer"].rstrip("/") != self.issuer:
            raise ValueError(f"it says it is {about['issuer']}")
        address = about["jwks_uri"]
        if not self.is_safe(address):
            raise ValueError("its keys are not behind https")
        self.about = about
        usable = [row for row in get_json(address)["keys"] if row.get("use", "sig") == "sig" and row["kty"] != "oct"]
        keys = [jwt.PyJWK.from_dict(row) for row in usable]
        return [key for key in keys if key.algorithm_name in ALGORITHMS]

    def is_safe(self, address: str) -> bool:
        """Return whether an address of the issuer may be asked: it is behind TLS, or the issuer itself is not."""
        return address.startswith("https://") or (self.issuer.startswith("http://") and address.startswith("http://"))

    def endpoint(self, name: str) -> str:
        """Return one of the issuer's addresses, such as `token_endpoint`. Raises `IdentityProviderUnavailable`."""
        if time.monotonic() - self.fetched_at > FRESH_SECONDS:
            self.refresh(wait=not self.about)
        address = self.about.get(name)
        if not isinstance(address, str) or not self.is_safe(address):
            raise IdentityProviderUnavailable(retry_after=REFETCH_SECONDS)
        return address


class NoRedirects(HTTPRedirectHandler):
    """Follows no redirect: the issuer's answer must not lead to another server, or into the operator's network."""

    def redirect_request(self, *args: Any) -> None:
        return None


def get_json(asked: "str | Request") -> Any:
    """Fetch JSON of at most LONGEST_ANSWER bytes; `asked` may be a request with a body. Raises `OSError`, `ValueError`.

    The address of the keys is the issuer's word, so private ones are connected only where the operator allows that: by
    ALLOW_PRIVATE_OIDC, or by an issuer without TLS, which is trusted only in a network of one's own.
    """
    may_be_private = settings.ALLOW_PRIVATE_OIDC or settings.OIDC_ISSUER.startswith("http://")
    with build_opener(NoRedirects, *([] if may_be_private else public_handlers())).open(
        asked, timeout=TIMEOUT
    ) as answer:
        return json.loads(answer.read(LONGEST_ANSWER))


def exchange(fields: Mapping[str, str]) -> str:
    """Return the ID token for an authorization code: `fields` are those of the token request, without the client.

    Raises `InvalidJwt` when the issuer refuses the code, `IdentityProviderUnavailable`.
    """
    issuer = keys_of(settings.OIDC_ISSUER)
    address = issuer.endpoint("token_endpoint")
    client, secret = settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET
    headers = {"Accept": "application/json"}
    ways = issuer.about.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    if secret and "client_secret_basic" in ways:
        login = base64.b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()
        headers["Authorization"] = f"Basic {login}"
    else:
        fields = {**fields, "client_id": client, **({"client_secret": secret} if secret else {})}
    try:
        token = get_json(Request(address, urlencode(fields).encode(), headers))["id_token"]  # noqa: S310
        if not isinstance(token, str):
            raise TypeError("its ID token is no text")
    except HTTPError as error:
        logger.warning("%s refused a code: %s", settings.OIDC_ISSUER, error.code)
        if 400 <= error.code < 500:
            raise InvalidJwt(gettext("The identity provider refused this login: log in again.")) from None
        raise IdentityProviderUnavailable(retry_after=1) from None
    except UNUSABLE as error:
        logger.warning("can't exchange a code at %s: %s", settings.OIDC_ISSUER, error)
        raise IdentityProviderUnavailable(retry_after=1) from None
    return token


@cache
def keys_of(issuer: str) -> IssuerKeys:
    return IssuerKeys(issuer)


def looks_like_jwt(secret: str) -> bool:
    """Return whether a bearer token is one of the issuer's: ours have no dots."""
    return bool(settings.OIDC_ISSUER and settings.OIDC_AUDIENCE) and secret.count(".") == 2


def user_of(token: str) -> User:
    """Return the active user a JWT speaks for, made at first sight. Raises `InvalidJwt`, `IdentityProviderUnavailable`."""
    return user_of_claims(verify(token, audience=settings.OIDC_AUDIENCE))


def user_of_claims(claims: Mapping[str, Any], *, is_login: bool = False) -> User:
    """Return the active user whom the claims of a right token name, made at first sight. Raises `InvalidJwt`.

    `is_login` says that it is the ID token of a login, which has all claims.
    """
    identity = ExternalIdentity.objects.select_related("user").filter(**key_of(claims)).first()
    user = identity.user if identity else _make_user(claims)
    if not user.is_active:
        raise InvalidJwt("This account is disabled.")
    _follow_role(user, claims)
    if settings.OIDC_GROUPS_CLAIM:
        groups = _claim(claims, settings.OIDC_GROUPS_CLAIM)
        if issuer_groups.said(claims, groups, is_login=is_login):
            issuer_groups.follow(user, groups)
    if user.deletion_requested_at and float(claims.get("iat", 0)) > user.deletion_requested_at.timestamp():
        user.take_deletion_back()  # they have logged in at the issuer since they asked
    return user


def verify(token: str, *, audience: str) -> dict[str, Any]:
    """Return the claims of a token whose signature, algorithm, issuer, audience and times are right."""
    issuer = keys_of(settings.OIDC_ISSUER)
    try:
        key_id = jwt.get_unverified_header(token).get("kid")
        try:
            return _decode(token, issuer.named(key_id), audience)
        except jwt.InvalidSignatureError:
            if key_id is not None:
                raise
            issuer.refresh(wait=True)  # a token that names no key may be of a new one
            return _decode(token, issuer.keys, audience)
    except jwt.PyJWTError as error:
        raise InvalidJwt(f"This token can't be accepted: {error}.") from None
    except (ValueError, TypeError, OverflowError, RecursionError):  # JSON that the library does not expect
        raise InvalidJwt("This token can't be accepted: it is malformed.") from None


def _decode(token: str, keys: list[jwt.PyJWK], audience: str) -> dict[str, Any]:
    """Return the claims, if one of the keys signed them. Raises `jwt.PyJWTError`."""
    problem: jwt.PyJWTError = jwt.InvalidTokenError("its key is none of the issuer's")
    for key in keys:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=audience,
                issuer=[settings.OIDC_ISSUER, f"{settings.OIDC_ISSUER}/"],
                leeway=LEEWAY,
                options={"require": ["iss", "sub", "aud", "exp"]},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
            problem = error  # another key may fit
        else:
            check_texts(claims)
            return claims
    raise problem


def key_of(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of the identity that the claims name."""
    return {"issuer": settings.OIDC_ISSUER, "subject": claims["sub"]}


def _make_user(claims: Mapping[str, Any]) -> User:
    """Make the user of an identity that is seen for the first time; concurrent requests all get the same user."""
    for _ in range(2):
        try:
            user = transactions.run_atomic(_make_with_identity, claims)
        except IntegrityError:  # another request made them, or somebody took the e-mail, at the same moment
            identity = ExternalIdentity.objects.select_related("user").filter(**key_of(claims)).first()
            if identity:
                return identity.user
        else:
            product_events.emit(product_events.SignedUp(user=user.pk, method="sso"))
            return user
    raise IdentityProviderUnavailable(retry_after=1)


def _make_with_identity(claims: Mapping[str, Any]) -> User:
    email = _verified_email(claims)
    confirmed_at: datetime | None = timezone.now()
    if not email or User.objects.filter(email=User.objects.normalize_email(email)).exists():
        email = f"{hashlib.sha256('|'.join(key_of(claims).values()).encode()).hexdigest()[:32]}@sso.invalid"
        confirmed_at = None
    name = claims.get("name")
    shown = name[:150] if isinstance(name, str) else ""
    user = User.objects.create_user(email, name=shown, email_confirmed_at=confirmed_at)
    ExternalIdentity.objects.create(user=user, **key_of(claims))
    tenancy.personal_organization(user)
    return user


def _verified_email(claims: Mapping[str, Any]) -> str:
    """Return the address the issuer vouches for; others could be anybody's, and adding members goes by e-mail."""
    email = claims.get("email")
    return str(email) if email and claims.get("email_verified") is True else ""


def check_texts(claims: Mapping[str, Any]) -> None:
    """Raise `InvalidTokenError` for a subject, name or e-mail that no account can have.

    A token is signed, but what its person typed at the identity provider is in it.
    """
    subject, email, name = claims["sub"], claims.get("email"), claims.get("name")
    if not 0 < float(claims["exp"]) < LATEST:
        raise jwt.InvalidTokenError("its claim exp is no time")
    if not isinstance(subject, str) or not 0 < len(subject) <= ExternalIdentity.LONGEST_SUBJECT:
        raise jwt.InvalidTokenError("its subject is empty or too long")
    for claim, value in (("sub", subject), ("email", email), ("name", name)):
        if isinstance(value, str) and not value.isprintable():
            raise jwt.InvalidTokenError(f"its claim {claim} has characters that are no text")
    if email is not None:
        try:
            validate_email(email)
        except ValidationError:
            raise jwt.InvalidTokenError("its claim email is no e-mail address") from None


def _follow_role(user: User, claims: Mapping[str, Any]) -> None:
    """With OIDC_ROLE_CLAIM the issuer says the role: the highest that OIDC_ROLE_MAP gives for the claim, else USER."""
    values = _claim(claims, settings.OIDC_ROLE_CLAIM) if settings.OIDC_ROLE_CLAIM else None
    if values is None:
        return
    said = [values] if isinstance(values, str) else values if isinstance(values, list) else []
    mapped = {settings.OIDC_ROLE_MAP.get(str(value)) for value in said}
    role = next((role for role in reversed(Role) if role in mapped), Role.USER)
    if role != user.role:
        try:
            change_user(user, role=role)
        except LastAdmin as error:
            logger.warning("%s keeps the role ADMIN: %s", user.pk, error)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by its path (`realm_access.roles`)."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for step in name.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found
