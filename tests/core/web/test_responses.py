"""One error shape on every path: bad input, Django's own refusals, bodies without end, and a database that is gone."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.db import OperationalError, ProgrammingError, connection
from django.db.utils import InterfaceError
from django.test import Client

from aichat.core.database import transactions
from aichat.core.database.models import uuid7
from credits.models import Hold
from tests.conftest import Actor

CHAT, COMPLETIONS = "/api/v1/chat", "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
JSON = {"Content-Type": "application/json"}


def error_of(response: Any) -> dict[str, Any]:
    """The error object, after its shape has been checked."""
    assert response.headers["Content-Type"] == "application/json"
    error: dict[str, Any] = response.json()["error"]
    assert {"type", "code", "message", "param", "request_id"} <= set(error)
    assert error["request_id"] == response.headers["X-Request-ID"]
    assert error["message"]
    return error


# --- Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {}, "message"),
        (CHAT, {"message": ""}, "message"),
        (CHAT, {"message": " \n\t"}, "message"),
        (CHAT, {"message": "a\0b"}, "message"),
        (CHAT, {"message": 5}, "message"),
        (CHAT, {"message": None}, "message"),
        (CHAT, {"message": ["Hi"]}, "message"),
        (CHAT, {"message": "Hi", "surprise": 1}, "surprise"),
        (CHAT, {"message": "Hi", "stream": "yes"}, "stream"),
        (CHAT, {"message": "Hi", "temperature": "hot"}, "temperature"),
        (CHAT, {"message": "Hi", "temperature": 2.5}, "temperature"),
        (CHAT, {"message": "Hi", "temperature": True}, "temperature"),
        (CHAT, {"message": "Hi", "system": "\0"}, "system"),
        (CHAT, {"message": "Hi", "max_tokens": 0}, "max_tokens"),
        (CHAT, {"message": "Hi", "max_tokens": -5}, "max_tokens"),
        (CHAT, {"message": "Hi", "max_tokens": 1.5}, "max_tokens"),
        (CHAT, {"message": "Hi", "max_tokens": 128_001}, "max_tokens"),
        (CHAT, {"message": "Hi", "max_tokens": 10**30}, "max_tokens"),
        (CHAT, {"message": "Hi", "conversation_id": "garbage"}, "conversation_id"),
        (CHAT, {"message": "Hi", "model": ""}, "model"),
        (CHAT, {"message": "Hi", "model": ["auto"]}, "model"),
        (CHAT, {"message": "word " * 300_000}, "message"),
        (COMPLETIONS, {"messages": HELLO}, "model"),
        (COMPLETIONS, {"model": "auto"}, "messages"),
        (COMPLETIONS, {"model": "auto", "messages": []}, "messages"),
        (COMPLETIONS, {"model": "auto", "messages": "Hello"}, "messages"),
        (COMPLETIONS, {"model": "auto", "messages": ["Hello"]}, "messages.0"),
        (COMPLETIONS, {"model": "auto", "messages": [{"role": "boss", "content": "Hi"}]}, "messages.0.role"),
        (COMPLETIONS, {"model": "auto", "messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        (COMPLETIONS, {"model": "auto", "messages": HELLO, "max_tokens": 0}, "max_tokens"),
        (COMPLETIONS, {"model": "auto", "messages": HELLO, "max_completion_tokens": 0}, "max_completion_tokens"),
        (COMPLETIONS, {"model": "auto", "messages": HELLO, "max_tokens": 128_001}, "max_tokens"),
        (COMPLETIONS, {"model": "auto", "messages": HELLO, "n": 2}, "n"),
        (COMPLETIONS, {"model": "auto", "messages": HELLO, "stream": 1}, "stream"),
        (COMPLETIONS, {"model": "auto", "messages": [{"role": "user", "content": "word " * 300_000}]}, "messages"),
    ],
)
def test_a_wrong_field_is_a_400_that_names_it(
    catalog: None, inline_database: None, alice: Actor, path: str, body: dict[str, Any], param: str
) -> None:
    response = alice.post(path, body)
    error = error_of(response)
    # Clients shorten their history when they see the second code.
    code = "context_length_exceeded" if "word " in str(body) else "invalid_request"
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)
    assert error["type"] == "invalid_request_error"
    assert not Hold.objects.exists()


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/api/v1/api-keys", "/api/v1/auth/login"])
@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b'{"message": "Hi"',
        b"\xff\xfe",
        b'{"message": "\\ud800", "name": "\\ud800", "email": "\\ud800", "password": "x"}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b"NaN",
    ],
    ids=["brace", "cut off", "bytes", "lone surrogate", "deep", "deep list", "NaN"],
)
def test_malformed_json_is_a_400(catalog: None, inline_database: None, alice: Actor, path: str, raw: bytes) -> None:
    response = alice.client.post(path, raw, content_type="application/json")
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/api/v1/api-keys", "/api/v1/auth/register"])
@pytest.mark.parametrize("raw", [b"null", b"[]", b'"Hi"', b"5"])
def test_json_that_is_no_object_is_a_400(
    catalog: None, inline_database: None, alice: Actor, path: str, raw: bytes
) -> None:
    response = alice.client.post(path, raw, content_type="application/json")
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/api/v1/api-keys", "/api/v1/auth/login"])
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
def test_another_content_type_is_a_415(
    catalog: None, inline_database: None, alice: Actor, path: str, content_type: str
) -> None:
    response = alice.client.post(path, b'{"message": "Hi"}', content_type=content_type)
    assert (response.status_code, error_of(response)["code"]) == (415, "unsupported_media_type")


def test_a_charset_beside_the_content_type_is_fine(catalog: None, inline_database: None, alice: Actor) -> None:
    response = alice.client.post(CHAT, b'{"message": "Hi"}', content_type="application/json; charset=utf-8")
    assert response.status_code == 200


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_an_unknown_model_is_a_404(catalog: None, inline_database: None, alice: Actor, path: str) -> None:
    response = alice.post(
        path,
        {"message": "Hi", "messages": HELLO, "model": "gpt-99"}
        if path == COMPLETIONS
        else {"message": "Hi", "model": "gpt-99"},
    )
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")


def test_an_unknown_conversation_and_a_strangers_are_the_same_404(
    catalog: None, inline_database: None, alice: Actor, charlie: Actor
) -> None:
    own = alice.post(CHAT, {"message": "Hi"}).json()["conversation_id"]
    for conversation in (own, str(uuid7())):
        answers = [
            charlie.post(CHAT, {"message": "Hi", "conversation_id": conversation}),
            charlie.get(f"/api/v1/conversations/{conversation}"),
            charlie.patch(f"/api/v1/conversations/{conversation}", {"title": "Mine now"}),
            charlie.delete(f"/api/v1/conversations/{conversation}"),
            charlie.get(f"/api/v1/conversations/{conversation}/messages"),
        ]
        assert [(answer.status_code, error_of(answer)["code"]) for answer in answers] == [(404, "not_found")] * 5
    assert alice.get(f"/api/v1/conversations/{own}").status_code == 200


def test_too_few_credits_say_how_many_are_needed_and_there(catalog: None, inline_database: None, alice: Actor) -> None:
    alice.set_credits(0)
    for path, body in ((CHAT, {"message": "Hi"}), (COMPLETIONS, {"model": "auto", "messages": HELLO, "stream": True})):
        response = alice.post(path, body)
        error = error_of(response)
        assert (response.status_code, error["code"]) == (402, "insufficient_credits")
        assert (error["required"], error["available"], error["type"]) == ("1", "0", "insufficient_quota")


@pytest.mark.parametrize("path", ["/api/v1/conversations?cursor=garbage", "/api/v1/credits/entries?cursor=%ff"])
def test_a_garbled_cursor_is_a_400(alice: Actor, path: str) -> None:
    response = alice.get(path)
    assert (response.status_code, error_of(response)["param"]) == (400, "cursor")


# --- Django's own refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", CHAT, "POST, OPTIONS"),
        ("HEAD", CHAT, "POST, OPTIONS"),
        ("PATCH", COMPLETIONS, "POST, OPTIONS"),
        ("TRACE", COMPLETIONS, "POST, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD"),
        ("DELETE", "/readyz", "GET, HEAD"),
        ("PUT", "/api/v1/me", "GET, PATCH, DELETE, HEAD, OPTIONS"),
    ],
)
def test_a_wrong_method_is_a_405_that_says_the_right_ones(alice: Actor, method: str, path: str, allow: str) -> None:
    response = alice.client.generic(method, path)
    assert response.status_code == 405
    assert response["Allow"] == allow
    if method != "HEAD":
        assert error_of(response)["code"] == "method_not_allowed"


def test_options_needs_no_key_and_says_the_methods(anonymous: Client, db: None) -> None:
    response = anonymous.options(CHAT)
    assert (response.status_code, response["Allow"], response.content) == (204, "POST, OPTIONS", b"")


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nowhere", "/v1/nowhere", "/api/v1/conversations/garbage"])
def test_an_unknown_address_is_a_404(anonymous: Client, db: None, path: str) -> None:
    response = anonymous.get(path)
    assert (response.status_code, error_of(response)["code"]) == (404, "not_found")


def test_an_unknown_host_is_a_400_that_says_the_mend(anonymous: Client, db: None) -> None:
    response = anonymous.get("/api/v1/me", headers={"Host": "evil.example.com"})
    assert response.status_code == 400
    assert "ALLOWED_HOSTS" in error_of(response)["message"]


def test_an_accept_header_for_something_else_is_a_406(alice: Actor) -> None:
    response = alice.get("/api/v1/me", headers={**alice.headers, "Accept": "text/html"})
    assert (response.status_code, error_of(response)["code"]) == (406, "not_acceptable")


def test_csrf_failures_are_html_in_the_admin_only(db: None, rf: Any) -> None:
    from aichat.core.web.responses import csrf_failure

    assert b"<html" in Client(enforce_csrf_checks=True).post("/admin/login/").content
    assert json.loads(csrf_failure(rf.post("/api/x"), "no cookie").content)["error"]["code"] == "permission_denied"  # type: ignore[attr-defined]


def test_the_api_needs_no_csrf_token(catalog: None, inline_database: None, alice: Actor) -> None:
    client = Client(enforce_csrf_checks=True, headers=alice.headers)
    assert client.post(CHAT, {"message": "Hi"}, content_type="application/json").status_code == 200


# --- Large bodies -----------------------------------------------------------------------------------------------------

LIMIT = 64 * 1024


@pytest.fixture
def limited(settings: Any) -> None:
    settings.MAX_REQUEST_BYTES = settings.DATA_UPLOAD_MAX_MEMORY_SIZE = LIMIT


@pytest.mark.parametrize("path", [CHAT, "/api/v1/api-keys", "/nowhere"])
@pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT, 20 * LIMIT])
def test_a_body_over_the_limit_is_a_413(limited: None, http: httpx.Client, alice: Actor, path: str, size: int) -> None:
    padding = size - len('{"message": ""}')
    response = http.post(path, content='{"message": "' + "a" * padding + '"}', headers={**alice.headers, **JSON})
    assert (response.status_code, error_of(response)["code"]) == (413, "payload_too_large")


def test_a_body_of_just_the_limit_is_read(limited: None, http: httpx.Client, alice: Actor) -> None:
    body = '{"message": "Hi", "system": ""}'
    response = http.post(CHAT, content=body + " " * (LIMIT - len(body)), headers={**alice.headers, **JSON})
    assert response.status_code == 200


def test_a_chunked_body_without_a_length_is_held_to_the_limit(limited: None, http: httpx.Client, alice: Actor) -> None:
    def chunks(count: int) -> Iterator[bytes]:
        yield b'{"message": "'
        for _ in range(count):
            yield b"a" * 1024
        yield b'"}'

    assert http.post(CHAT, content=chunks(10), headers={**alice.headers, **JSON}).status_code == 200
    response = http.post(CHAT, content=chunks(100), headers={**alice.headers, **JSON})
    assert (response.status_code, error_of(response)["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 100000000000"])
def test_an_endless_body_is_refused_and_cut_off(limited: None, server: str, framing: bytes) -> None:
    parts = urlsplit(server)
    sent, answer = 0, b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.sendall(b"POST /api/v1/chat HTTP/1.1\r\nHost: localhost\r\n" + framing + b"\r\n\r\n")
        chunk = b"400\r\n" + b"a" * 1024 + b"\r\n"

        def send_without_end() -> None:
            nonlocal sent
            try:
                while sent < 200 * 2**20:
                    connection.sendall(chunk)
                    sent += len(chunk)
            except OSError:
                pass

        sender = threading.Thread(target=send_without_end)
        sender.start()
        with suppress(ConnectionResetError):  # the refusal may be overtaken by the closing of the connection
            answer = connection.recv(65536)
        sender.join(timeout=10)
        assert not sender.is_alive()
    # A body of unknown length is not read at all for a caller without a key.
    assert not answer or answer.startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 401 "))
    assert sent < 50 * 2**20
    assert httpx.get(f"{server}/healthz").status_code == 200


def test_a_body_that_never_comes_does_not_hold_up_others(server: str) -> None:
    parts = urlsplit(server)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as connection:
        connection.sendall(b"POST /api/v1/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
        started = time.monotonic()
        assert httpx.get(f"{server}/healthz").status_code == 200
        assert time.monotonic() - started < 2


# --- The database -----------------------------------------------------------------------------------------------------


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/credits", "/v1/chat/completions"])
@pytest.mark.parametrize("failure", [OperationalError("gone"), InterfaceError("connection already closed")])
def test_a_database_that_is_gone_is_a_503_with_the_time_to_wait(
    inline_database: None, alice: Actor, monkeypatch: pytest.MonkeyPatch, path: str, failure: Exception
) -> None:
    def gone(*args: Any) -> None:
        raise failure

    monkeypatch.setattr("accounts.models.AccessToken.objects.select_related", gone)
    response = alice.post(path, {}) if path == COMPLETIONS else alice.get(path)
    assert (response.status_code, error_of(response)["code"]) == (503, "database_unavailable")
    assert int(response["Retry-After"]) >= 1
    assert response.json()["error"]["type"] == "api_error"


@pytest.mark.django_db
def test_a_missing_table_is_a_defect_and_not_an_outage() -> None:
    with pytest.raises((OperationalError, ProgrammingError)) as caught, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM no_such_table")
    assert not transactions.is_unavailable(caught.value)


def test_a_locked_sqlite_file_is_an_outage(tmp_path: Any) -> None:
    import sqlite3

    holder, other = (sqlite3.connect(tmp_path / "x", timeout=0, isolation_level=None) for _ in range(2))
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        other.execute("BEGIN IMMEDIATE")
    assert transactions.is_unavailable(caused(OperationalError("locked"), caught.value))
    holder.close()
    other.close()
