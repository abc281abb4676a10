"""Levels: who may call a route. Every view states its own as `permission_classes = [Public | IsUser | …]`.

DRF views, async views and plain functions (by DRF's `@permission_classes`) say it in this one way; a test lists all
routes and fails for one that says nothing. What forgets it in spite of that needs a user (`DEFAULT_PERMISSION_CLASSES`).
"""

from typing import Any, ClassVar

from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request

from accounts.models import Role, User


class Public(AllowAny):
    """Nobody needs to log in."""

    level = "PUBLIC"


class HasRole(BasePermission):
    """The caller is logged in and their role covers `role`."""

    role: ClassVar[Role]
    level: ClassVar[str]
    covering: ClassVar[frozenset[str]]  # the roles that have the permission

    def __init_subclass__(cls) -> None:
        cls.level = cls.role.value
        cls.covering = frozenset(role for role in Role if role.covers(cls.role))

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, User) and request.user.role in self.covering


class IsUser(HasRole):
    role = Role.USER


class IsAdmin(HasRole):
    role = Role.ADMIN
