"""Invalidation of stored answers by an ID, an e-mail, a slug, or the system prompt itself."""

import re
from typing import Any
from uuid import UUID

from accounts.models import Organization, User
from aichat.catalog.models import AIModel
from aichat.core.errors import InvalidRequest
from aichat.promptcache import invalidation
from aichat.promptcache.key import prompt_version
from aichat.promptcache.models import Invalidation

Scope = Invalidation.Scope
PROMPT_VERSION = re.compile(r"[0-9a-f]{16}")


def invalidate(scope: str, name: str = "", *, actor: Any = None) -> Invalidation:
    """End the use of every answer made until now for `name`. Raises `InvalidRequest`."""
    return invalidation.invalidate(scope, target_of(scope, name.strip()), actor=actor)


def target_of(scope: str, name: str) -> str:
    """The target as an invalidation stores it. Raises `InvalidRequest` for an unknown scope or name."""
    if scope not in list(Scope):
        raise InvalidRequest(f"Scopes are {', '.join(Scope)}.", param="scope")
    if scope == Scope.ALL:
        if name:
            raise InvalidRequest("The scope all has no ID: leave it out, or name another scope.", param="id")
        return ""
    if not name:
        raise InvalidRequest(f"Say which {Scope(scope).label.lower()}.", param="id")
    if scope == Scope.PROMPT:
        return name if PROMPT_VERSION.fullmatch(name) else prompt_version(name)
    found: Any
    if scope == Scope.MODEL:
        found = AIModel.objects.filter(slug=name).values_list("slug", flat=True).first()
    elif scope == Scope.USER and "@" in name:
        found = User.objects.filter(email=User.objects.normalize_email(name)).values_list("pk", flat=True).first()
    else:
        rows: Any = User.objects if scope == Scope.USER else Organization.objects
        found = rows.filter(pk=as_uuid(name)).values_list("pk", flat=True).first()
    if found is None:
        raise InvalidRequest(f"There is no {Scope(scope).label.lower()} {name!r}.", param="id")
    return str(found)


def as_uuid(name: str) -> UUID:
    try:
        return UUID(name)
    except ValueError:
        raise InvalidRequest(f"{name!r} is no ID.", param="id") from None
