"""Authenticates callers by the Authorization header, for DRF views and async views alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from django.conf import settings
from django.http.cookie import parse_cookie
from django.utils.translation import gettext_noop
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.crypto import hash_token
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts import oidc, tenancy
from accounts.models import AccessToken, Membership, Organization, User
from aichat.core.database import clock
from aichat.core.errors import ApiError, NotAuthenticated, NotFound
from aichat.core.telemetry import tracing

KEY_HEADERS = ("x-api-key", "api-key")
# The portal's pages: a browser sends the cookie LOGIN_COOKIE_NAME by itself, and only a script of our own origin can add the
# header. Another site's form or script can do neither: the cookie is SameSite=Strict, and CORS does not allow the header.
PORTAL_HEADER = "X-Portal"


class InvalidApiKey(ApiError):
    status, code = 401, "invalid_api_key"
    message = gettext_noop("This key or token is unknown, expired or revoked: log in again or make a new key.")


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller sends a request: the user, the organization that pays, and the token that authenticated them."""

    user: User
    organization: Organization
    token: AccessToken | None  # None: a JWT of the identity provider
    # The place in a team, with its spending limits. Read for async views only (`caller_cache`): no other view spends.
    membership: Membership | None = field(default=None, compare=False)
    api_key: AccessToken | None = field(init=False)  # the token when it is an API key, not a login
    has_limited_key: bool = field(init=False, compare=False)  # what the key's limits forbid: `accounts/permissions.py`
    has_spend_limit: bool = field(init=False, compare=False)  # any of those that `credits/spending_limits.py` counts

    def __post_init__(self) -> None:
        is_key = self.token is not None and self.token.kind == AccessToken.Kind.API_KEY
        key = self.token if is_key else None
        spenders = (key, self.membership, self.user, self.organization)
        limited = [one for one in spenders if one is not None and one.has_spend_limit]
        object.__setattr__(self, "api_key", key)
        object.__setattr__(self, "has_limited_key", key is not None and key.is_limited)
        object.__setattr__(self, "has_spend_limit", bool(limited))


class CredentialsDiffer(NotAuthenticated):
    message = gettext_noop(
        "Authorization, x-api-key and api-key hold different credentials: send one, or the same in each."
    )


def credential(headers: Mapping[str, str]) -> str:
    """Return a request's credential as an Authorization header: its own, or a bearer of `x-api-key` or `api-key`.

    OpenAI's clients send a bearer token, Anthropic's `x-api-key`, Azure's `api-key`. A page of the portal sends the header
    X-Portal, and the browser adds the cookie with the login token. An Authorization header of another scheme (a proxy's
    Basic login) counts only when none of the others is there. Raises `CredentialsDiffer`.
    """
    authorization = headers.get("Authorization", "")
    keys = {key.strip() for name in headers.keys() & KEY_HEADERS if (key := headers[name])}
    if not keys:
        return authorization or _of_portal(headers)
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() == "bearer":
        keys.add(secret.strip())
    if len(keys) > 1:
        raise CredentialsDiffer
    return f"Bearer {keys.pop()}"


def _of_portal(headers: Mapping[str, str]) -> str:
    if not headers.get(PORTAL_HEADER, ""):
        return ""
    token = parse_cookie(headers.get("Cookie", "")).get(settings.LOGIN_COOKIE_NAME, "")
    return f"Bearer {token}" if token else ""


def authenticate(
    authorization: str, organization: str = "", find: Callable[[str], AccessToken] | None = None
) -> Caller:
    """Return the caller behind an Authorization header.

    `organization` is the X-Organization header: it picks one of a login token's organizations. `find` is `stored_token`, or
    does the same from rows that were read already.
    Raises `NotAuthenticated` (no bearer token), `InvalidApiKey`, `InvalidJwt`, `NotFound` (somebody else's organization).
    """
    secret = bearer_secret(authorization)
    if not secret:
        raise NotAuthenticated()
    token = None if oidc.looks_like_jwt(secret) else (find or stored_token)(secret)
    user = token.user if token else oidc.user_of(secret)
    owner = (token and token.organization) or tenancy.choose_organization(user, organization)
    if organization and str(owner.pk) != organization.lower():
        # A key has one organization: no answer is better than one that another wallet pays.
        raise NotFound("This API key belongs to another organization than X-Organization names.")
    tracing.bind(user=user.pk, organization=owner.pk)
    return Caller(user, owner, token)


def bearer_secret(authorization: str) -> str:
    """Return the token in an Authorization header; "" for another scheme than Bearer."""
    scheme, _, secret = authorization.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def stored_token(secret: str) -> AccessToken:
    """Return the login token or API key with this secret, found by its digest, so that no comparison can be timed.

    Raises `InvalidApiKey` when it is unknown, expired or revoked, or its user is deactivated.
    """
    rows = AccessToken.objects.select_related("user", "organization")
    return require_usable(rows.filter(digest=hash_token(secret)).first())


def require_usable(token: AccessToken | None) -> AccessToken:
    """Return the token. Raises `InvalidApiKey` if there is none, it is expired or revoked, or its user is deactivated."""
    if token is None or not token.is_usable(clock.shared_now()) or not token.user.is_active:
        raise InvalidApiKey()
    return token


def calling(request: Request) -> Caller:
    """Return the caller of a DRF view's request."""
    return cast(Caller, request.auth)


class BearerAuthentication(BaseAuthentication):
    """DRF authentication: sets `request.user` to the user and `request.auth` to the `Caller`."""

    def authenticate(self, request: Request) -> tuple[User, Caller] | None:
        authorization = credential(request.headers)
        if not authorization:
            return None
        caller = authenticate(authorization, request.headers.get("X-Organization", ""))
        return caller.user, caller

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A login token or an API key (sk-…)."}
