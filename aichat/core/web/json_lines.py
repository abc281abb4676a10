"""Streams JSON lines (https://jsonlines.org) that are read from the database while they are sent."""

from collections.abc import AsyncIterator, Iterator

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from aichat.core.database import executor

JSON_LINES = "application/jsonl"


def json_lines_response(request: HttpRequest, parts: Iterator[bytes], name: str) -> StreamingHttpResponse:
    """A streamed response of `parts`, each of which is asked for on a database thread when the one before was sent."""
    content = on_threads(parts) if isinstance(request, ASGIRequest) else parts
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(content, content_type=JSON_LINES, headers=headers)


async def on_threads(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Ask a plain iterator for each part on a database thread: it may query the database, but keeps no cursor open."""
    while (part := await executor.run(next, parts, None)) is not None:
        yield part
