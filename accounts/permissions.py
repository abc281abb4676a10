"""Levels: who may call a route. Every view states its own as `permission_classes = [Public | IsUser | …]`.

DRF views, async views and plain functions (by DRF's `@permission_classes`) state it in this one way; a test fails for a
route that states nothing. A DRF view without a statement needs a user (`DEFAULT_PERMISSION_CLASSES`).
"""

from typing import Any, ClassVar, cast

from django.utils.translation import gettext_noop
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request

from accounts import key_limits
from accounts.models import AccessToken, Role, Scope, User
from aichat.core.errors import PermissionDenied


class Public(AllowAny):
    """Lets in everybody: nobody needs to log in."""

    level = "PUBLIC"


class LimitedKey(PermissionDenied):
    message = gettext_noop(
        "This key has limits: it reads and generates. To manage, use a login token or a key without limits."
    )


class HasRole(BasePermission):
    """Lets in callers whose role covers `role`; an API key only from the addresses and for the uses that its limits allow."""

    role: ClassVar[Role]
    level: ClassVar[str]
    covering: ClassVar[frozenset[str]]  # the roles that have the permission

    def __init_subclass__(cls) -> None:
        cls.level = cls.role.value
        cls.covering = frozenset(role for role in Role if role.covers(cls.role))

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the role is enough. Raises `IpNotAllowed`, `LimitedKey`, `ScopeMissing`."""
        if not (isinstance(request.user, User) and request.user.role in self.covering):
            return False
        caller: Any = request.auth
        key = getattr(caller, "api_key", None)
        if key is not None:
            if caller.has_limited_key:
                require_within_limits(key, request, view)
            if getattr(request, "confirmation", None) is None:  # else it is noted once the caller is confirmed
                key_limits.note_use(key)
        return True

    @staticmethod
    def refuses_limited_keys(view: Any, method: str) -> bool:
        """Return whether the method of the view answers 403 to an API key with limits (for the OpenAPI document)."""
        return method not in limited_key_methods(view)


def require_within_limits(key: AccessToken, request: Any, view: Any) -> None:
    """Check the limits of an API key that need no work.

    Raises `IpNotAllowed`, `LimitedKey` (for what manages), `ScopeMissing`.
    """
    key_limits.require_address(key, request)
    if request.method not in limited_key_methods(view):
        raise LimitedKey()
    if key.scopes:
        key_limits.require_scope(key, scopes_of(view, request.method))


class IsUser(HasRole):
    role = Role.USER


class SecondFactorMissing(PermissionDenied):
    code = "mfa_required"
    message = gettext_noop(
        "Administrators need a second factor here (ADMIN_MFA): set one up first, POST /api/v1/me/mfa."
    )


class IsAdmin(HasRole):
    role = Role.ADMIN

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the caller is an administrator. Raises what every role does, and `SecondFactorMissing` (ADMIN_MFA).

        A JWT needs no second factor here: its issuer asked for one, or did not.
        """
        if not super().has_permission(request, view):
            return False
        is_jwt = getattr(request.auth, "token", None) is None
        if not is_jwt and not cast(User, request.user).may_administer:
            raise SecondFactorMissing()
        return True


class ForLimitedKeys(BasePermission):
    """States that a limited API key may use every method of the view: they spend or read, and manage nothing."""


class NotForLimitedKeys(BasePermission):
    """States that a limited API key may not even read what the view shows."""


READING = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS = READING | {"POST", "PUT", "PATCH", "DELETE"}


def limited_key_methods(view: Any) -> frozenset[str]:
    """Return the methods of a view (its class or an instance) that an API key with limits may use.

    A limited key reads its owner's data and generates: GET, and what is marked with `@charges`. Everything else could
    make it more than it is: another key, another member, more credits. A view says otherwise by a permission class.
    """
    stated = set(view.permission_classes)
    if ForLimitedKeys in stated:
        return METHODS
    if NotForLimitedKeys in stated or IsAdmin in stated:
        return frozenset()
    charging = (name for name in METHODS if getattr(getattr(view, name.lower(), None), "charges", False))
    return READING.union(charging)


ANY_SCOPE = frozenset(Scope)


def scopes_of(view: Any, method: str) -> frozenset[Scope]:
    """Return the scopes of which an API key needs one to use a method of a view (its class or an instance).

    A view that generates states its `scope`. What a limited key may not use needs `manage`; reading needs `read`, or the
    view's own scope.
    """
    if method not in limited_key_methods(view):
        return frozenset({Scope.MANAGE})
    stated: Any = getattr(view, "scope", frozenset())
    own = frozenset({stated}) if isinstance(stated, Scope) else frozenset(stated)
    return own | {Scope.READ} if method in READING else own
