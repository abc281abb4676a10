"""The ASGI application: Django's handler, a bounded request body, and what starts and stops with the process."""

import logging
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aichat.settings")

import django
from django.conf import settings
from django.core import checks
from django.core.handlers.asgi import ASGIHandler

django.setup(set_prefix=False)

from aichat import lifecycle

logger = logging.getLogger(__name__)
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Application(ASGIHandler):
    """Speaks HTTP and the lifespan protocol (https://asgi.readthedocs.io/en/latest/specs/lifespan.html)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["type"] == "http":
            await super().__call__(scope, self.bounded(scope, receive), send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await lifecycle.startup()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await lifecycle.shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that drops what exceeds MAX_REQUEST_BYTES, so that no client can fill the disk; marks the scope."""
        received = 0

        async def bounded_receive() -> Mapping[str, Any]:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > settings.MAX_REQUEST_BYTES:
                    scope["aichat.body_too_large"] = True
                    return {**message, "body": b""}
            return message

        return bounded_receive


def stop_on_errors() -> None:
    """A wrong setting stops the start with its mend, instead of failing requests later; a doubtful one is logged."""
    problems = checks.run_checks(tags=["aichat"])
    errors = [problem for problem in problems if problem.is_serious()]
    if errors:
        sys.exit("\n".join(f"Configuration error: {error.msg} {error.hint or ''}" for error in errors))
    for warning in problems:
        logger.warning("%s %s", warning.msg, warning.hint or "")


stop_on_errors()
application = Application()
