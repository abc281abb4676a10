"""DRF's own hooks: paging, content negotiation and the JSON parser of every endpoint."""

from typing import Any

import orjson
from rest_framework import exceptions
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from aichat.core.errors import (
    InvalidRequest,
)


class CursorPages(CursorPagination):
    """`{"next", "previous", "results"}`, newest first; `?page_size=` up to 200."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-id"

    def decode_cursor(self, request: Request) -> Any:
        try:
            return super().decode_cursor(request)
        except exceptions.NotFound:
            raise InvalidRequest("Take the cursor from `next` or `previous`.", param="cursor") from None


class Negotiation(DefaultContentNegotiation):
    """DRF's content negotiation, which answers 400 instead of 404 to a `?format=` without a renderer."""

    def filter_renderers(self, renderers: Any, format: str) -> Any:
        if format not in (known := [renderer.format for renderer in renderers]):
            raise InvalidRequest(f"Write {' or '.join(known)}.", param="format")
        return super().filter_renderers(renderers, format)


class AnyAccept(Negotiation):
    """Answers with the first renderer, whatever the Accept header asks for: for endpoints of OpenAI's API."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class JSONParser(BaseParser):
    """Parses strict JSON: refuses lone surrogates and NaN, which no database can store, and endless nesting."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        try:
            return orjson.loads(stream.read())
        except orjson.JSONDecodeError as error:
            raise exceptions.ParseError(str(error)) from None
