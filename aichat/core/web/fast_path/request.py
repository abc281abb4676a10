"""Django's request, whose parts are made when they are read: a chat reads five headers and the body."""

from collections.abc import Mapping
from functools import cached_property
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest

from aichat.core.web.addresses import with_prefix


class RequestHeaders(dict[str, str]):
    """A request's headers by name in any case. Names with an underscore are left out, as Django does."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        for raw_name, raw_value in pairs:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            if "_" not in name:
                self[name] = f"{super().__getitem__(name)},{value}" if super().__contains__(name) else value

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class FastPathRequest(ASGIRequest):
    """A request whose body was read. Raises `UnicodeDecodeError` for a query that is not UTF-8.

    `ASGIRequest.__init__` parses what no chat needs (0.05 ms), so it runs only for `complete`; what it sets and a chat does
    need is set here. `test_a_request_has_what_djangos_has` compares both, written for Django 5.2.
    """

    def __init__(self, scope: Mapping[str, Any], body: bytes) -> None:
        scope.get("query_string", b"").decode()
        self.scope = scope
        self.method, self.path_info, self.script_name = scope["method"], scope["path"], settings.URL_PREFIX
        self.path = self.script_name + self.path_info
        self.resolver_match = None
        self._body, self._stream = body, BytesIO(body)
        self._post_parse_error = self._read_started = False
        self.headers = RequestHeaders(scope["headers"])  # type: ignore[assignment]

    @cached_property
    def content_type(self) -> str:  # type: ignore[override]
        given: str = self.headers.get("content-type", "")
        return given if given == "application/json" else self.complete.content_type or ""

    @cached_property
    def content_params(self) -> dict[str, str]:  # type: ignore[override]
        return self.complete.content_params or {}

    @cached_property
    def META(self) -> dict[str, Any]:  # type: ignore[override]
        return self.complete.META

    @cached_property
    def complete(self) -> ASGIRequest:
        """The same request, made by Django, for its less common parts."""
        return ASGIRequest(with_prefix(self.scope), self._stream)
