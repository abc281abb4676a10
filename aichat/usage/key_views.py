"""The endpoints of API keys with what each key has spent. They stand here, because `accounts` may not import usage."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts import key_views as accounts
from accounts.models import AccessToken
from aichat.usage.queries import sums
from aichat.usage.windows import EPOCH, Window


def spent_by(keys: Iterable[AccessToken]) -> dict[UUID, int]:
    """The microcredits that each key has spent so far, by its stable ID."""
    ids = {key.stable_id for key in keys}
    if not ids:
        return {}
    found = sums(Window(EPOCH, timezone.now()), ["api_key_id"], api_key_id__in=ids)
    return {key[0]: figures.charged for key, figures in found.items()}


class ApiKeysView(accounts.ApiKeysView):
    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        """The serializer of a page of keys, with their spending."""
        if kwargs.get("many") and args:
            kwargs["context"] = {**self.get_serializer_context(), "spent": spent_by(args[0])}
        return super().get_serializer(*args, **kwargs)


class ApiKeyView(accounts.ApiKeyView):
    def context_of(self, row: AccessToken) -> dict[str, Any]:
        return {"spent": spent_by([row])}


class RotateApiKeyView(accounts.RotateApiKeyView):
    def context_of(self, row: AccessToken) -> dict[str, Any]:
        return {"spent": spent_by([row])}
