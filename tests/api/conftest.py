"""Every answer of this folder's tests is held against the OpenAPI document, as strictly as it can be read."""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.test_hostile_values import openapi

Schema = dict[str, Any]


@cache
def document() -> Schema:
    """The document, with objects that have no members but those that it names: what is sent has to be stated."""
    found = openapi()
    for component in found["components"]["schemas"].values():
        if "properties" in component:
            component.setdefault("additionalProperties", False)
    return found


@cache
def stated(method: str, path: str) -> dict[str, dict[str, Any]]:
    """The schemas of an operation's answers by status, then by content type."""
    for template, operations in document()["paths"].items():
        if method in operations and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            answers = operations[method]["responses"].items()
            return {
                status: {kind: content.get("schema") for kind, content in answer.get("content", {}).items()}
                for status, answer in answers
            }
    return {}


@cache
def validator(schema: str) -> Any:
    return jsonschema_rs.validator_for({**json.loads(schema), "components": document()["components"]})


def objects(answer: httpx.Response, kind: str) -> Iterator[Any]:
    """The JSON objects of an answer: itself, or the data of its events."""
    if kind == "application/json":
        yield answer.json()
    elif kind == "text/event-stream":
        lines = answer.text.split("\n")
        data = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
        yield from (json.loads(each) for each in data if each != "[DONE]")


def check(answer: httpx.Response) -> None:
    """Fail for an answer that the document does not state. Errors of Anthropic's dialect have its own shape."""
    request = answer.request
    kind = answer.headers.get("content-type", "").partition(";")[0]
    of_status = stated(request.method.lower(), request.url.path).get(str(answer.status_code))
    if of_status is None or (answer.is_error and request.url.path.startswith("/v1/messages")):
        return
    assert kind in of_status or not answer.content, f"{request.url.path} does not state {kind}"
    for each in objects(answer, kind):
        validator(json.dumps(of_status[kind])).validate(each)


class CheckedClient(httpx.Client):
    def send(self, request: httpx.Request, *, stream: bool = False, **how: Any) -> httpx.Response:
        answer = super().send(request, stream=stream, **how)
        if not stream:
            check(answer)
        return answer


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    """A client of the server that checks what it is answered."""
    with CheckedClient(base_url=server, timeout=30) as client:
        yield client
