"""One DRF permission per role. A view without one needs a user; a public view says `permission_classes = [Public]`."""

from typing import Any, ClassVar

from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request

from accounts.models import Role, User


class Public(AllowAny):
    """Nobody needs to log in."""

    level = "PUBLIC"


class HasRole(BasePermission):
    role: ClassVar[Role]

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, User) and request.user.has_role(self.role)


class IsUser(HasRole):
    role = Role.USER


class IsSubscriber(HasRole):
    role = Role.SUBSCRIBER


class IsAdmin(HasRole):
    role = Role.ADMIN
