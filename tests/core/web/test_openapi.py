"""The OpenAPI document says everything the URL conf serves, and its page works without the internet."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.validation import validate_schema

METHODS = ("get", "post", "put", "patch", "delete")
Route = tuple[str, str]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    answer = Client().get("/api/schema/", headers={"Accept": "application/json"})
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> dict[Route, dict[str, Any]]:
    return {(path, method): operation for path, item in document["paths"].items() for method, operation in item.items()}


def served(patterns: list[URLPattern | URLResolver], prefix: str = "/") -> Iterator[Route]:
    """Path and method of every API route of the URL conf, as OpenAPI writes them."""
    for pattern in patterns:
        path = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from served(pattern.url_patterns, path)
        elif path.startswith(("/api/v1/", "/v1/", "/webhooks/")):
            view = pattern.callback.cls  # type: ignore[attr-defined]  # what DRF's as_view() sets
            yield from (
                (path, method) for method in METHODS if method in view.http_method_names and hasattr(view, method)
            )


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate_schema(document)  # type: ignore[no-untyped-call]


def test_descriptions_are_for_clients_alone(document: dict[str, Any]) -> None:
    described = [found for found in document["components"]["schemas"].values() if "description" in found]
    assert [found["description"] for found in described if "Mixin" in found["description"]] == []


def test_every_route_is_in_the_document_and_nothing_else(document: dict[str, Any]) -> None:
    assert set(operations(document)) == set(served(get_resolver().url_patterns))


def test_every_operation_says_what_it_does(document: dict[str, Any]) -> None:
    silent = [
        route
        for route, operation in operations(document).items()
        if not operation.get("summary") or not operation.get("description")
    ]
    assert silent == []


def errors(operation: dict[str, Any]) -> set[str]:
    return {status for status in operation["responses"] if status >= "4"}


def test_every_operation_states_its_errors_in_the_one_shape(document: dict[str, Any]) -> None:
    for operation in operations(document).values():
        assert errors(operation) >= {"500", "503"}
        assert "default" not in operation["responses"]  # would allow every status there is
        for status in errors(operation):
            content = operation["responses"][status]["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Error"}


@pytest.mark.parametrize(
    ("route", "stated"),
    [
        (("/api/v1/me", "get"), "401 404 406 429"),
        (("/api/v1/auth/login", "post"), "400 401 403 406 413 415 429"),
        (("/api/v1/auth/register", "post"), "400 403 406 413 415 429"),
        (("/api/v1/chat", "post"), "400 401 402 403 404 409 413 415 429 502 504"),
        (("/api/v1/images/{job_id}", "delete"), "401 403 404 406 409 429"),
        (("/api/v1/admin/stats", "get"), "400 401 403 404 406 429"),
        (("/api/v1/admin/users/{user_id}/credits", "post"), "400 401 402 403 404 406 409 413 415 429"),
    ],
)
def test_an_operation_states_what_follows_from_its_route_and_its_own(
    document: dict[str, Any], route: Route, stated: str
) -> None:
    assert errors(operations(document)[route]) - {"500", "503"} == set(stated.split())


def headers(operation: dict[str, Any], status: str) -> set[str]:
    return set(operation["responses"][status]["headers"])


def sent(operation: dict[str, Any]) -> set[str]:
    return {each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"}


def test_what_charges_takes_a_key_and_says_that_an_answer_is_a_replay(document: dict[str, Any]) -> None:
    takes = {route for route, operation in operations(document).items() if "Idempotency-Key" in sent(operation)}
    assert takes == {
        ("/api/v1/chat", "post"),
        ("/v1/chat/completions", "post"),
        ("/v1/completions", "post"),
        ("/v1/embeddings", "post"),
        ("/v1/moderations", "post"),
        ("/v1/audio/speech", "post"),
        ("/v1/audio/transcriptions", "post"),
        ("/v1/images/edits", "post"),
        ("/v1/messages", "post"),
        ("/v1/responses", "post"),
        ("/api/v1/images", "post"),
        ("/v1/images/generations", "post"),
        ("/api/v1/admin/subscriptions", "post"),
        ("/api/v1/admin/users/{user_id}/credits", "post"),
    }
    for route in takes:
        status = next(each for each in operations(document)[route]["responses"] if each < "3")
        assert "Idempotent-Replayed" in headers(operations(document)[route], status)


def test_an_operation_states_the_headers_of_its_route_and_its_own(document: dict[str, Any]) -> None:
    chat, login = operations(document)["/api/v1/chat", "post"], operations(document)["/api/v1/auth/login", "post"]
    assert sent(chat) == {"X-Organization", "Idempotency-Key", "Cache-Control"}
    assert sent(login) == set()
    assert headers(chat, "200") >= {"X-Request-ID", "X-Cache", "Age", "X-Max-Tokens-Capped", "RateLimit-Remaining"}
    assert headers(chat, "429") >= {"X-Request-ID", "Retry-After", "RateLimit-Reset"}
    assert headers(login, "200") == {"X-Request-ID", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"}
    assert headers(operations(document)["/api/v1/images/files/{signed}", "get"], "200") == {"X-Request-ID"}


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in operations(document).values()]
    assert len(ids) == len(set(ids))
