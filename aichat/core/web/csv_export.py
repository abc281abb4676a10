"""Streams CSV whose cells a spreadsheet does not run as formulas."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from rest_framework.renderers import BaseRenderer, JSONRenderer

from aichat.core.web.json_lines import on_threads


class CSVRenderer(BaseRenderer):
    """Lets a client ask for CSV (`format=csv`, or Accept); the view streams the CSV itself, and errors stay JSON."""

    media_type, format, charset = "text/csv", "csv", "utf-8"

    def render(self, data: Any, media_type: str | None = None, context: Any = None) -> Any:
        return JSONRenderer().render(data)


def csv_response(
    request: HttpRequest, rows: Iterable[Mapping[str, Any]], name: str, columns: Iterable[str] = ()
) -> StreamingHttpResponse:
    """A streamed CSV response of `rows`. The header is `columns`, else the keys of the first row.

    Under ASGI each part is made on a database thread, for `rows` may read from the database. Parts may be made on different
    threads, so `rows` keeps no cursor open (`batches.rows_by_key`).
    """
    parts = csv_parts(rows, columns)
    content = on_threads(parts) if isinstance(request, ASGIRequest) else parts
    response = StreamingHttpResponse(content, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def csv_parts(rows: Iterable[Mapping[str, Any]], columns: Iterable[str] = (), size: int = 500) -> Iterator[bytes]:
    """Yield CSV in UTF-8: the header, then `size` rows at a time."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    header = list(columns)
    if header:
        writer.writerow(header)
    for number, row in enumerate(rows):
        if not header:
            header = list(row)
            writer.writerow(header)
        writer.writerow(safe(value) for value in row.values())
        if number % size == size - 1:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def safe(value: Any) -> Any:
    """Quote text that a spreadsheet would run as a formula: names come from strangers."""
    is_formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") and not is_number(value)
    return f"'{value}" if is_formula else value


def is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdigit()
