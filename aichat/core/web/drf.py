"""DRF's own hooks: paging, content negotiation and the JSON parser of every endpoint."""

from typing import Any

import orjson
from django.core.exceptions import ValidationError
from rest_framework import exceptions, serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from aichat.core.errors import InvalidRequest
from aichat.core.web.json_bodies import check_structure

MOST_VALUES_OF_A_RESOURCE = 10_000  # JSON values in the body of a plain resource


class ForgedCursor(InvalidRequest):
    def __init__(self) -> None:
        super().__init__("Take the cursor from `next` or `previous`.", param="cursor")


class CursorPages(CursorPagination):
    """`{"next", "previous", "results"}`, newest first; `?page_size=` up to 200."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "page_size"
    ordering = "-id"

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema of a page. DRF's own writes null as OpenAPI 3.0 does, which 3.1 does not understand."""
        link = {"type": ["string", "null"], "format": "uri"}
        members = {"next": link, "previous": link, "results": schema}
        return {"type": "object", "required": list(members), "properties": members}

    def decode_cursor(self, request: Request) -> Any:
        """The cursor of the query. Raises `InvalidRequest` for one that no answer contained."""
        try:
            return super().decode_cursor(request)
        except (exceptions.NotFound, ValueError):
            raise ForgedCursor() from None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> Any:
        """The rows of the page. Raises `InvalidRequest` for a cursor whose position is no value of the ordering column."""
        cursor = self.decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            column = self.get_ordering(request, queryset, view)[0].lstrip("-")
            try:
                queryset.model._meta.get_field(column).to_python(cursor.position)
            except (ValidationError, ValueError, OverflowError):
                raise ForgedCursor() from None
            if "\0" in cursor.position:
                raise ForgedCursor()
        return super().paginate_queryset(queryset, request, view)


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
        body = stream.read()
        check_structure(body, MOST_VALUES_OF_A_RESOURCE)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise exceptions.ParseError(str(error)) from None


class StrictMembers(serializers.Serializer[Any]):
    """A mixin for serializers of request bodies: a member that no field takes is an error that names it.

    Without it a misspelt limit, or a password sent to the wrong route, would be ignored and look accepted. A model
    serializer of this kind updates only the columns that the body names.
    """

    def to_internal_value(self, data: Any) -> Any:
        """Raises `ValidationError` for a member that is unknown or can only be read."""
        if isinstance(data, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            unknown = next((name for name in data if name not in writable), None)
            if unknown is not None:
                raise serializers.ValidationError(
                    {unknown[:100]: [f"It can't be set here: write {', '.join(writable)}."]}
                )
        return super().to_internal_value(data)

    def update(self, instance: Any, validated_data: dict[str, Any]) -> Any:
        for name, value in validated_data.items():
            setattr(instance, name, value)
        instance.save(update_fields=list(validated_data))
        return instance
