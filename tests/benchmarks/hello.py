"""The floor under any ASGI application: it reads the body and answers bytes made beforehand, and knows nothing else."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.benchmarks.upstream import WHOLE

BODY = WHOLE.partition(b"\r\n\r\n")[2]
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def application(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
