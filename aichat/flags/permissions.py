"""A permission for DRF views that need a flag to be on: `permission_classes = [IsUser, needs("images")]`."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from aichat.flags import evaluation


def needs(key: str) -> type[BasePermission]:
    """A permission that answers 403 `FeatureDisabled` unless the flag is on for the caller."""

    class FlagIsOn(BasePermission):
        def has_permission(self, request: Request, view: Any) -> bool:
            evaluation.require(key, request.auth or request.user)
            return True

    return FlagIsOn
