"""X-Request-ID on every response, one access line per request, and nothing secret in any line."""

import asyncio
import json
import logging
import re
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.test import Client

from aichat.core.telemetry.log_writer import JsonFormatter
from credits.models import Hold
from tests.conftest import PASSWORD, Actor
from tests.logs import Logs, wait_for

CHAT = "/api/v1/chat"


def speak(address: str, request: bytes, *, end: bytes = b"", seconds: float = 10) -> bytes:
    """Send raw bytes; read until `end` was seen or the server closes."""
    parts = urlsplit(address)
    answer = b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=seconds) as connection:
        connection.sendall(request)
        while not (end and end in answer) and (chunk := connection.recv(65536)):
            answer += chunk
    return answer


# --- The ID -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/nowhere", 404),
        ("POST", "/healthz", 405),
        ("GET", "/api/v1/chat", 405),
        ("PUT", "/v1/chat/completions", 405),
        ("OPTIONS", "/v1/chat/completions", 204),
        ("POST", "/api/v1/chat", 401),
        ("DELETE", "/api/v1/credits", 401),
        ("GET", "/admin/", 302),
        ("GET", "/admin/login/", 200),
        ("GET", "/admin/nowhere/", 302),
        ("GET", "/static/admin/css/base.css", 200),
        ("GET", "/static/nowhere.css", 404),
        ("GET", "/api/schema/", 200),
        ("HEAD", "/healthz", 200),
    ],
)
def test_every_response_carries_the_clients_request_id(
    http: httpx.Client, logs: Logs, method: str, path: str, status: int
) -> None:
    response = http.request(method, path, headers={"X-Request-ID": "mine-1.2_3"})
    assert (response.status_code, response.headers.get_list("x-request-id")) == (status, ["mine-1.2_3"])
    line = logs.access("mine-1.2_3")
    assert (line["method"], line["path"], line["status"], line["finished"]) == (method, path, status, True)
    assert line["duration_ms"] > 0


def test_a_cors_preflight_and_the_answer_after_it_carry_the_id(http: httpx.Client, settings: Any, alice: Actor) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST", "X-Request-ID": "pre"}
    preflight = http.options(CHAT, headers={**asked, "Access-Control-Request-Headers": "authorization,x-request-id"})
    assert (preflight.status_code, preflight.headers["x-request-id"]) == (200, "pre")
    assert preflight.headers["access-control-allow-origin"] == "https://app.example.com"
    answer = http.post(CHAT, json={"message": "Hi"}, headers={**alice.headers, "Origin": "https://app.example.com"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    stranger = http.options(CHAT, headers={**asked, "Origin": "https://evil.example.com"})
    assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize("garbled", ["a b", "x" * 65, "<script>", "", "ä", "a\tb"])
def test_an_id_that_does_not_match_is_replaced(server: str, garbled: str) -> None:
    request = f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-ID: {garbled}\r\n\r\n"
    answer = speak(server, request.encode("latin-1")).decode()
    made = re.findall(r"(?im)^x-request-id: (.*?)\r$", answer)
    assert len(made) == 1 and re.fullmatch(r"[0-9a-f]{32}", made[0])


async def test_a_request_django_refuses_before_its_middleware_has_id_shape_and_line(logs: Logs) -> None:
    from aichat.asgi import application

    sent: list[Any] = []
    incoming = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        return incoming.pop() if incoming else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"x-request-id", b"early")]
    scope = {"type": "http", "method": "GET", "path": "/healthz", "query_string": b"\xff=1", "headers": headers}
    await application(scope, receive, send)
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"X-Request-ID"]) == (400, b"early")
    error = json.loads(sent[1]["body"])["error"]
    assert (error["code"], error["request_id"]) == ("invalid_request", "early")
    assert logs.access("early")["status"] == 400


def test_a_defect_is_a_500_with_the_id_and_no_traceback(
    http: httpx.Client, alice: Actor, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("credits.views.services.wallet_of", broken)  # a DRF view
    monkeypatch.setattr("aichat.chat.views.services.new_conversation", broken)  # an async view
    for number, answer in enumerate(
        [
            http.get("/api/v1/credits", headers={**alice.headers, "X-Request-ID": "defect0"}),
            http.post(CHAT, json={"message": "Hi"}, headers={**alice.headers, "X-Request-ID": "defect1"}),
        ]
    ):
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal_error"
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"] == f"defect{number}"
        assert "secret" not in answer.text
        assert any("RuntimeError" in line.get("exc_info", "") for line in logs.of(f"defect{number}"))


def test_a_stream_carries_the_id_and_is_logged_at_its_end(http: httpx.Client, alice: Actor, logs: Logs) -> None:
    body = {"message": "Hi", "stream": True}
    with http.stream("POST", CHAT, json=body, headers={**alice.headers, "X-Request-ID": "stream"}) as response:
        assert response.headers["x-request-id"] == "stream"
        events = response.iter_lines()
        next(events)
        assert not [line for line in logs.of("stream") if line["logger"] == "aichat.access"]
        rest = list(events)
    line = logs.access("stream")
    assert json.loads(rest[-2].removeprefix("data: "))["request_id"] == "stream"
    assert line["duration_ms"] > 50  # its words take 10 ms each
    assert (line["user"], line["organization"]) == (str(alice.user.pk), str(alice.organization.pk))


def test_traceparent_is_logged_when_it_is_one(http: httpx.Client, logs: Logs) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    http.get("/healthz", headers={"X-Request-ID": "good", "traceparent": parent})
    http.get("/healthz", headers={"X-Request-ID": "bad", "traceparent": parent + '"}'})
    assert (logs.access("good")["traceparent"], logs.access("bad")["traceparent"]) == (parent, "")


def test_the_access_line_of_an_admin_page_names_the_user(http: httpx.Client, ada: Actor, logs: Logs) -> None:
    page = http.get("/admin/login/")
    token = re.findall(r'csrfmiddlewaretoken" value="(\w+)"', page.text)[0]
    form = {"username": ada.user.email, "password": PASSWORD, "csrfmiddlewaretoken": token, "next": "/admin/"}
    assert http.post("/admin/login/", data=form).status_code == 302
    assert http.get("/admin/", headers={"X-Request-ID": "page"}).status_code == 200
    assert logs.access("page")["user"] == str(ada.user.pk)


def test_the_query_and_control_characters_of_a_path_stay_out_of_the_log(http: httpx.Client, logs: Logs) -> None:
    http.get("/no%0Awhere?key=sk-secret", headers={"X-Request-ID": "path"})
    assert logs.access("path")["path"] == "/no%0Awhere"
    assert "sk-secret" not in logs.text


def test_the_request_id_is_on_what_the_request_wrote(http: httpx.Client, openai_upstream: Any, alice: Actor) -> None:
    from aichat.usage.models import UsageRecord
    from credits.models import LedgerEntry

    answer = http.post(CHAT, json={"message": "Hi"}, headers={**alice.headers, "X-Request-ID": "kept"})
    assert answer.status_code == 200, answer.text
    assert UsageRecord.objects.get().request_id == Hold.objects.get().request_id == "kept"
    assert LedgerEntry.objects.get(kind="CHARGE").request_id == "kept"


# --- Clients that leave -----------------------------------------------------------------------------------------------


def chat_request(actor: Actor, request_id: str, **body: Any) -> bytes:
    raw = json.dumps(body).encode()
    return (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {actor.key}\r\nX-Request-ID: {request_id}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    ).encode() + raw


def test_an_aborted_stream_has_one_access_line(server: str, alice: Actor, logs: Logs) -> None:
    speak(server, chat_request(alice, "left", message="word " * 100, stream=True), end=b"event: delta")
    line = logs.access("left")
    assert (line["status"], line["finished"]) == (200, False)
    wait_for(lambda: not Hold.objects.filter(state="OPEN").exists())


def test_background_work_after_the_client_left_logs_with_the_id(
    server: str, openai_upstream: Any, alice: Actor, logs: Logs, settings: Any
) -> None:
    settings.CHAT_ATTEMPT_TIMEOUT = 0.8
    openai_upstream.delay(3)
    request = chat_request(alice, "gone", message="Hi", model="gpt-4o-mini")
    parts = urlsplit(server)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        connection.sendall(request)
        wait_for(lambda: Hold.objects.filter(state="OPEN").exists())
    line = logs.access("gone")
    assert (line["status"], line["finished"]) == (499, False)
    failed = wait_for(lambda: [line for line in logs.of("gone") if line["level"] == "WARNING"])
    assert failed[0]["user"] == str(alice.user.pk)
    wait_for(lambda: not Hold.objects.filter(state="OPEN").exists())
    assert "never retrieved" not in logs.text


def test_a_client_that_leaves_while_sending_has_its_line(server: str, logs: Logs) -> None:
    request = b"POST /api/v1/chat HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: half\r\nContent-Length: 100\r\n\r\nabc"
    parts = urlsplit(server)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        connection.sendall(request)
        time.sleep(0.1)
    assert logs.access("half")["status"] == 499


# --- What never is logged ---------------------------------------------------------------------------------------------


def test_no_secret_and_no_message_reaches_any_log_line(
    http: httpx.Client, openai_upstream: Any, alice: Actor, logs: Logs, settings: Any
) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    prompt, system, reply = "mauve-hippopotamus", "teal-armadillo", "beige-octopus"
    openai_upstream.reply(reply)
    openai_upstream.fail(400, message=f"I can't work on {prompt} with key {settings.OPENAI_API_KEY}")
    openai_upstream.fail(500, message=f"It broke on {prompt}")
    for _ in range(3):
        http.post(CHAT, json={"message": prompt, "system": system}, headers=alice.headers)
    openai_upstream.reply(reply)
    http.post(CHAT, json={"message": prompt, "stream": True}, headers=alice.headers)
    http.post(CHAT, json={"message": prompt, "oops": prompt}, headers=alice.headers)
    http.post(CHAT, content=f'{{"message": "{prompt}', headers={**alice.headers, "Content-Type": "application/json"})
    for password in (PASSWORD, "wrong-cerulean-walrus"):
        http.post("/api/v1/auth/login", json={"email": "alice@example.com", "password": password})
    new = http.post("/api/v1/api-keys", json={"name": "new"}, headers=alice.headers).json()["key"]
    http.get("/api/v1/me", headers={"Authorization": "Bearer sk-viridian-yak"})
    wait_for(lambda: len([line for line in logs.lines if line["logger"] == "aichat.access"]) >= 10)
    secrets = [prompt, system, reply, alice.key, alice.token, new, PASSWORD, "cerulean", "viridian", "test-key"]
    assert [secret for secret in secrets if secret in logs.text] == []
    assert "provider" in logs.text  # the failures themselves were logged


@pytest.mark.django_db
def test_the_test_client_gets_an_id_too(anonymous: Client) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", anonymous.get("/healthz")["X-Request-ID"])


def test_a_line_is_written_also_of_what_is_no_unicode_and_of_huge_numbers() -> None:
    record = logging.makeLogRecord({"msg": "half \ud800 a pair", "number": 2**70, "thing": object()})
    line = json.loads(JsonFormatter("{message}", style="{").format(record))
    assert (line["message"], line["number"]) == ("half \ud800 a pair", 2**70)
