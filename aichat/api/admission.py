"""Decisions about a request whose body has not been read: how large it may be, and whether its caller is known.

A small body is read at once, which is cheaper. A larger one is read only for a caller whose key is right, so that a
stranger can't make the server take megabytes.
"""

from typing import Any

from django.conf import settings
from django.http import JsonResponse
from django.urls import Resolver404, resolve

from accounts.authentication import credential
from accounts.caller_cache import Recognition
from aichat.api.async_views import AsyncView
from aichat.core.web import responses
from aichat.core.web.fast_path.handler import is_fast_path
from aichat.core.web.fast_path.request import RequestHeaders

SMALL_BODY = 64 * 1024  # bytes that are read before anybody is authenticated
RESOURCE_BODY = 2**20  # bytes of a body where nothing is generated: plain resources, the admin's forms, logins
Scope = dict[str, Any]


def body_limit(scope: Scope) -> int:
    """The most bytes the route takes: MAX_REQUEST_BYTES where models answer, RESOURCE_BODY elsewhere."""
    most: int = settings.MAX_REQUEST_BYTES
    return most if is_fast_path(scope) or is_small(scope) or generates(scope) else min(most, RESOURCE_BODY)


async def refuse_unread(scope: Scope) -> JsonResponse | None:
    """The refusal of a large body before it is read, when its caller's key is missing or wrong."""
    if is_small(scope):
        return None
    announced = announced_length(scope)
    if announced is not None and announced > body_limit(scope):
        return None  # the middleware refuses it by its announced length, and nothing of it is read
    if not generates(scope):
        return None  # at most RESOURCE_BODY is read
    headers = RequestHeaders(scope["headers"])
    try:
        await Recognition(credential(headers), headers.get("X-Organization", "")).caller()
    except Exception as error:
        return responses.error_response(error)
    return None


def is_small(scope: Scope) -> bool:
    announced = announced_length(scope)
    return announced is not None and announced <= SMALL_BODY


def announced_length(scope: Scope) -> int | None:
    """The Content-Length in bytes, 0 for a request without a body, None for a body of unknown length.

    That is a chunked body, and a compressed one, whose announced length says nothing of what it inflates to.
    """
    length, is_unknown = 0, False
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-encoding" and value != b"identity"):
            is_unknown = True
        elif name == b"content-length" and value.isdigit():
            length = int(value)
    return None if is_unknown else length


def generates(scope: Scope) -> bool:
    """Whether the path leads to an async view, which may take a large body."""
    try:
        view = getattr(resolve(scope["path"]).func, "view_class", None)
    except Resolver404:
        return False
    return view is not None and issubclass(view, AsyncView)
