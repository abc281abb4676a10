"""Our server with a stop-watch around the stages of a chat: `gunicorn tests.benchmarks.stages:application`.

`GET /stages` answers the milliseconds that each stage took in the worker that is asked, and forgets them. The stages are
functions of the product, wrapped from outside: nothing in the product knows of it.
"""

import functools
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import django
import orjson

django.setup(set_prefix=False)  # before our models can be imported

from aichat.api import async_views  # noqa: E402
from aichat.asgi import application as server  # noqa: E402
from aichat.generation import pipeline, prompt_cache  # noqa: E402
from aichat.generation.charging.bill import Bill  # noqa: E402

took: dict[str, list[float]] = defaultdict(list)
began: ContextVar[float] = ContextVar("began")
ended: ContextVar[list[float]] = ContextVar("ended")  # a list, because the generation runs in a task of its own


def note(stage: str, since: float) -> None:
    took[stage].append(1000 * (time.perf_counter() - since))


def timed(stage: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(work)
    async def measured(*args: Any, **options: Any) -> Any:
        since = time.perf_counter()
        try:
            return await work(*args, **options)
        finally:
            note(stage, since)

    return measured


def generating(generate: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(generate)
    async def measured(*args: Any, **options: Any) -> Any:
        note("1 before the generation", began.get())
        try:
            return await generate(*args, **options)
        finally:
            ended.get().append(time.perf_counter())

    return measured


async_views.respond.__defaults__ = (generating(pipeline.generate),)
setattr(prompt_cache, "look", timed("2 prompt cache", prompt_cache.look))  # noqa: B010
setattr(Bill, "reserve", timed("3 reserve", Bill.reserve))  # noqa: B010
setattr(pipeline.Run, "answer", timed("4 provider (50 ms of its own)", pipeline.Run.answer))  # noqa: B010
setattr(Bill, "settle", timed("5 settle", Bill.settle))  # noqa: B010


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "http" and scope["path"] == "/stages":
        body = orjson.dumps({"worker": os.getpid(), "took": took})
        took.clear()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})
        return
    began.set(time.perf_counter())
    ended.set([])
    await server(scope, receive, send)
    if times := ended.get():
        note("6 after the generation", times[-1])
