"""Authenticates callers by the Authorization header, for DRF views and async views alike."""

from dataclasses import dataclass
from typing import Any, cast

from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.crypto import hash_token
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts import oidc, tenancy
from accounts.models import AccessToken, Organization, User
from aichat.core.errors import ApiError, NotAuthenticated, NotFound
from aichat.core.telemetry import tracing


class InvalidApiKey(ApiError):
    status, code = 401, "invalid_api_key"
    message = "This key or token is unknown, expired or revoked: log in again or make a new key."


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: the user, the organization that pays, and the token that authenticated them."""

    user: User
    organization: Organization
    token: AccessToken | None  # None: a JWT of the identity provider

    @property
    def api_key(self) -> AccessToken | None:
        return self.token if self.token and self.token.kind == AccessToken.Kind.API_KEY else None


def authenticate(authorization: str, organization: str = "") -> Caller:
    """The caller behind an Authorization header.

    `organization` is the X-Organization header: it picks one of a login token's organizations.
    Raises `NotAuthenticated` (no bearer token), `InvalidApiKey`, `InvalidJwt`, `NotFound` (somebody else's organization).
    """
    scheme, _, secret = authorization.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise NotAuthenticated()
    token = None if oidc.looks_like_jwt(secret) else stored_token(secret)
    user = token.user if token else oidc.user_of(secret)
    owner = (token and token.organization) or tenancy.choose_organization(user, organization)
    if organization and str(owner.pk) != organization.lower():  # a key's; better no answer than another wallet's
        raise NotFound("This API key belongs to another organization than X-Organization names.")
    tracing.bind(user=user.pk, organization=owner.pk)
    return Caller(user, owner, token)


def stored_token(secret: str) -> AccessToken:
    """The login token or API key with this secret, found by its digest, so that no comparison can be timed.

    Raises `InvalidApiKey` when it is unknown, expired or revoked, or its user is deactivated.
    """
    try:
        token: AccessToken = AccessToken.objects.select_related("user", "organization").get(digest=hash_token(secret))
    except AccessToken.DoesNotExist:
        raise InvalidApiKey() from None
    if not token.is_usable(timezone.now()) or not token.user.is_active:
        raise InvalidApiKey()
    return token


def calling(request: Request) -> Caller:
    """The caller of a DRF view's request."""
    return cast(Caller, request.auth)


class BearerAuthentication(BaseAuthentication):
    """DRF authentication: sets `request.user` to the user and `request.auth` to the `Caller`."""

    def authenticate(self, request: Request) -> tuple[User, Caller] | None:
        authorization = request.headers.get("Authorization", "")
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
