"""No body holds up the event loop: a task that ticks beside it tells for how long it was kept waiting."""

import asyncio
import gc
import time
from typing import Any

import httpx
import pytest
from asgiref.testing import ApplicationCommunicator

from aichat.core.errors import InvalidRequest
from aichat.core.web.json_bodies import check_structure, has_at_most
from tests.conftest import Actor

MEGABYTES = 10_000_000
USER = b'{"role":"user","content":"hi"}'
PART = b'{"type":"text","text":"x"}'


def repeated(item: bytes, most: int = MEGABYTES) -> bytes:
    return b",".join([item] * (most // (len(item) + 1)))


def chat(messages: bytes, rest: bytes = b"") -> bytes:
    return b'{"model":"demo","messages":[' + messages + b"]" + rest + b"}"


def said(text: bytes) -> bytes:
    return b'{"role":"user","content":' + text + b"}"


def chats() -> dict[str, bytes]:
    """Bodies of chat completions, up to 10 MB each; made when they are needed, not by each worker that reads this file."""
    return {
        "numbers for messages": chat(repeated(b"1")),
        "empty messages": chat(repeated(b'{"role":"user"}')),
        "valid messages": chat(repeated(USER)),
        "valid messages, as many as allowed": chat(b",".join([USER] * 2048)),
        "parts": chat(said(b"[" + repeated(PART) + b"]")),
        "parts, as many values as allowed": chat(b",".join([said(b"[" + b",".join([PART] * 700) + b"]")] * 23)),
        "tools": chat(USER, b',"tools":[' + repeated(b'{"type":"function","function":{"name":"f"}}') + b"]"),
        "empty lists": chat(USER, b',"unknown":[' + repeated(b"[]") + b"]"),
        "empty lists, as many as allowed": chat(USER, b',"unknown":[' + b",".join([b"[]"] * 24_000) + b"]"),
        "objects in a schema": chat(
            USER,
            b',"tools":[{"type":"function","function":{"name":"f","parameters":{"a":['
            + repeated(b'{"a":1}')
            + b"]}}}]",
        ),
        "deep nesting": chat(USER, b',"unknown":' + b"[" * 5_000_000),
        "members": chat(USER, b"," + b",".join(b'"%d":1' % number for number in range(800_000))),
        "one text": chat(said(b'"' + b"x" * 9_900_000 + b'"')),
        "one text as long as allowed": chat(said(b'"' + b"x" * 3_999_999 + b'"')),
        "escapes, as many as allowed": chat(said(b'"' + b"\\n" * 2_500_000 + b'"')),
        "escapes": chat(said(b'"' + b"\\n" * 4_900_000 + b'"')),
        "surrogates": chat(said(b'"' + b"\\ud83d\\ude00" * 800_000 + b'"')),
        "commas in a text": chat(said(b'"' + b"," * 3_999_999 + b'"')),
        "quotes in a text": chat(said(b'"' + b'\\"' * 3_999_999 + b'"')),
        "quotes and commas in a text": chat(said(b'"' + b'\\",' * 1_300_000 + b'"')),
        "texts across slices": chat(repeated(b'"' + b'\\",' * 20_000 + b'"')),
        "backslashes behind commas": b'["' + b"," * 50_000 + b"\\" * 9_900_000,
        "short texts": chat(repeated(b'"a"')),
        "an image": chat(
            said(b'[{"type":"image_url","image_url":{"url":"data:image/png;base64,' + b"A" * 9_900_000 + b'"}}]')
        ),
        "no JSON": b"[" + b" " * 9_900_000,
        "a long number": chat(USER, b',"seed":' + b"9" * 9_900_000),
    }


def others() -> dict[str, tuple[str, bytes]]:
    """Bodies of other operations, with their path."""
    turns = b",".join([USER, b'{"role":"assistant","content":"hi"}'] * 6_000)
    blocks = said(b"[" + b",".join([PART] * 700) + b"]")
    return {
        "lists, to a plain resource": ("/api/v1/api-keys", b"[" + repeated(b"[]", 1_000_000) + b"]"),
        "turns of Anthropic's": ("/v1/messages", b'{"model":"demo","max_tokens":9,"messages":[' + turns + b"]}"),
        "blocks of Anthropic's": (
            "/v1/messages",
            b'{"model":"demo","max_tokens":9,"messages":[' + b",".join([blocks] * 23) + b"]}",
        ),
        "turns to count": ("/v1/messages/count_tokens", b'{"model":"demo","messages":[' + turns + b"]}"),
        "items of the Responses API": ("/v1/responses", b'{"model":"demo","input":[' + turns + b"]}"),
        "texts to embed": ("/v1/embeddings", b'{"model":"demo","input":[' + b",".join([b'"a"'] * 2048) + b"]}"),
        "tokens to embed": (
            "/v1/embeddings",
            b'{"model":"demo","input":[' + b",".join([b"[" + b"1," * 8_000 + b"1]"] * 37) + b"]}",
        ),
    }


def test_values_are_counted_outside_of_texts() -> None:
    assert has_at_most(b'["' + b"," * 1000 + b'\\"[{"]', 10)
    assert has_at_most(b'["' + b'\\\\"' + b',"' + b",[" * 100_000 + b'"]', 10)
    assert not has_at_most(b'["a' + b'\\"' * 100_000 + b'",1,2,3,4,5,6,7,8,9,10]', 10)
    check_structure(b"[" + repeated(b'"a"', 100_000) + b"]")
    with pytest.raises(InvalidRequest):
        check_structure(b"[" + repeated(b'"a"', 1_000_000) + b"]")
    with pytest.raises(InvalidRequest, match="escapes"):
        check_structure(b'"' + b"\\n" * 2_500_001 + b'"')


async def longest_wait(stop: asyncio.Event) -> float:
    """Seconds of the process's CPU for which a task that was due could not run, at worst: other programs don't count."""
    worst, before = 0.0, time.process_time()
    while not stop.is_set():
        await asyncio.sleep(0)
        now = time.process_time()
        worst, before = max(worst, now - before), now
    return worst


async def status_of(key: str, path: str, body: bytes) -> int:
    """The answer's status; the body comes in pieces of the server's size."""
    from aichat.asgi import application

    headers = {
        "host": "localhost",
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "content-length": str(len(body)),
    }
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path, "scheme": "http",
        "raw_path": path.encode(), "query_string": b"", "client": ("127.0.0.1", 1), "server": ("localhost", 80),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    connection: Any = ApplicationCommunicator(application, scope)  # type: ignore[no-untyped-call]
    pieces = [body[start : start + 65536] for start in range(0, len(body), 65536)]
    for number, piece in enumerate(pieces):
        await connection.send_input({"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1})
    started = await connection.receive_output(timeout=30)
    while (await connection.receive_output(timeout=30)).get("more_body"):
        pass
    await connection.wait(timeout=30)
    return int(started["status"])


async def held(key: str, path: str, body: bytes) -> tuple[int, float]:
    """The answer's status, and for how long it held the event loop at worst (seconds)."""
    stop = asyncio.Event()
    waiting = asyncio.create_task(longest_wait(stop))
    status = await status_of(key, path, body)
    stop.set()
    return status, await waiting


async def test_no_body_holds_the_event_loop_and_none_is_a_500(
    transactional_db: None, catalog: None, alice: Actor
) -> None:
    """50 ms of CPU are promised; the test leaves air for a collection of garbage. `-s` shows the worst."""
    gc.freeze()
    try:
        found = {name: await held(alice.key, "/v1/chat/completions", body) for name, body in chats().items()}
        found |= {name: await held(alice.key, *asked) for name, asked in others().items()}
    finally:
        gc.unfreeze()
    slowest = max(found, key=lambda name: found[name][1])
    print(f"\n{len(found)} bodies, worst: {slowest}, {found[slowest][1] * 1000:.0f} ms")  # noqa: T201
    assert {status for status, _ in found.values()} <= {200, 400, 404}  # no model embeds here
    assert {name: seconds for name, (_, seconds) in found.items() if seconds > 0.15} == {}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(b",".join([USER] * 2049)), "messages"),
        (chat(said(b"[" + b",".join([PART] * 1025) + b"]")), "messages.0.content"),
        (chat(USER, b',"stop":["1","2","3","4","5"]'), "stop"),
        (chat(USER, b',"max_tokens":' + b"9" * 30), "max_tokens"),
        (chat(USER, b',"seed":' + b"9" * 30), "seed"),
        (chat(said(b'"' + b"x" * 4_000_001 + b'"')), "messages.0.content"),
    ],
)
def test_what_is_over_a_limit_is_named(server: str, alice: Actor, body: bytes, param: str) -> None:
    with httpx.Client(base_url=server, headers={**alice.headers, "Content-Type": "application/json"}) as client:
        answer = client.post("/v1/chat/completions", content=body, timeout=30)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
