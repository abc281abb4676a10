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
from aichat.core.web.fast_path.request import RequestHeaders

SMALL_BODY = 64 * 1024  # bytes that are read before anybody is authenticated
RESOURCE_BODY = 2**20  # bytes of a body where nothing is generated: plain resources, the admin's forms, logins
Scope = dict[str, Any]


async def of_body(scope: Scope) -> tuple[int, JsonResponse | None]:
    """The most bytes of body that are read, and the refusal of a body that is not read because nobody knows its caller.

    A route where models answer takes MAX_REQUEST_BYTES, any other RESOURCE_BODY.
    """
    most: int = settings.MAX_REQUEST_BYTES
    announced = announced_length(scope)
    if announced is not None and announced <= SMALL_BODY:
        return most, None
    if not generates(scope):
        return min(most, RESOURCE_BODY), None
    if announced is not None and announced > most:
        return most, None  # the middleware refuses it by its announced length, and nothing of it is read
    headers = RequestHeaders(scope["headers"])
    try:
        await Recognition(credential(headers), headers.get("X-Organization", "")).caller()
    except Exception as error:
        return most, responses.error_response(error)
    return most, None


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
