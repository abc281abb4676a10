"""Values that break databases and parsers, sent to every route in body, query and path: never a 500.

Bodies come from the OpenAPI document: each member in turn has each hostile value, the others are as the document wants.
Of the eight thousand, SQLite, the quickest, has every third, PostgreSQL and MongoDB every eleventh;
HOSTILE_VALUES=all sends all.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import pytest
from django.db import connection
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from tests import access
from tests.conftest import Actor
from tests.routes import Route
from tests.test_access import World, make_spares, spare
from tests.test_isolation import address, client

__all__ = ["spare"]

T = TypeVar("T")
EACH = {
    "sqlite": 3
}  # and 11 elsewhere: no divisor in common with the numbers of values, so each is sent to some member
BEYOND_64_BITS = 2**63
HOSTILE: list[Any] = [
    "a\0b", BEYOND_64_BITS, -BEYOND_64_BITS - 1, 10**400, 1e308, "", "x" * 100_001, [], ["a\0b"], {"\0": "\0"}, None, True,
    "9999-12-31T23:59:59.999999+14:00", "'; DROP TABLE x; --",
]  # fmt: skip
RAW = [
    b'{"a":"\\ud800"}',
    b'{"name":"\xff\xfe"}',
    b"[" * 3000,
    b"nul",
    b'{"a":NaN}',
    b'{"a":1,"a":2}',
    b"",
    b"\0",
    b'"x"',
    b"1",
    b"[]",
]
# "cD14" and the others are cursors in base64: p=x, p=400, p=2026, o=1&p=x.
QUERY = [
    "a%00b",
    "cD14",
    "cD00MDA%3D",
    "cD0yMDI2",
    "bz0xJnA9eA%3D%3D",
    "%ED%A0%80",
    "9999999999999999999999",
    "--email",
    "x",
]
NAMES = ["a%00b", "%ff%fe", "x" * 300, "%F0%9F%98%80", "..%2f..", "9" * 40, "%25", "'%20OR%201=1", "%ED%A0%80"]


def example(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """A value the schema accepts, roughly: enough to get past the members beside the one that is tried."""
    if "$ref" in schema:
        return example(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    for union in ("oneOf", "anyOf", "allOf"):
        if union in schema:
            return example(schema[union][0], document)
    if "enum" in schema or "const" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    match kind:
        case "object":
            wanted = schema.get("required", [])
            return {
                name: example(part, document)
                for name, part in schema.get("properties", {}).items()
                if name in wanted and not part.get("readOnly")
            }
        case "array":
            return [example(schema.get("items", {}), document)]
        case "integer" | "number":
            return 1
        case "boolean":
            return False
    formats = {
        "email": "hostile@example.com",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "date-time": "2026-01-01T00:00:00Z",
    }
    return formats.get(schema.get("format", ""), "1")


def members(schema: dict[str, Any], document: dict[str, Any]) -> list[str]:
    if "$ref" in schema:
        return members(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    return list(schema.get("properties", {}))


def bodies(operation: dict[str, Any], document: dict[str, Any]) -> Iterator[bytes]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if not content:
        return
    yield from RAW
    whole = example(content["schema"], document)
    for name in [*members(content["schema"], document), "no_such_member"]:
        for value in HOSTILE:
            yield json.dumps({**whole, name: value}).encode()


def openapi() -> dict[str, Any]:
    generator: Any = SchemaGenerator()  # type: ignore[no-untyped-call]
    return dict(generator.get_schema(public=True))


def step() -> int:
    """Of how many requests one is sent."""
    return 1 if os.environ.get("HOSTILE_VALUES") == "all" else EACH.get(connection.vendor, 11)


def sample(found: Iterable[T]) -> Iterator[T]:
    """One of each `step()` of everything."""
    return islice(found, 0, None, step())


def operations(document: dict[str, Any], route: Route, verb: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"].get(access.written(route.path), {}).get(verb.lower(), {})
    return found


def hostile_addresses(route: Route, names: dict[str, Any], stated: Iterable[str]) -> Iterator[str]:
    """The route with a hostile name, and with a hostile value of each query parameter the document states."""
    whole = address(route, names)
    if route.is_object:
        for name in NAMES:
            yield "/" + "/".join(name if step.startswith("<") else step for step in route.path.split("/"))
    yield from (f"{whole}?{parameter}={value}" for parameter in {*stated, "unknown"} for value in QUERY)


@pytest.fixture
def requests(actor: Any, transactional_db: None, spare: None, settings: Any, tmp_path: Any) -> Iterator["Tried"]:
    settings.MEDIA_ROOT = tmp_path
    for role in ("AUTH", "USER", "SUBSCRIBER", "ADMIN"):
        setattr(settings, f"RATE_LIMIT_{role}", "1000000/min")
    tried = Tried(actor("dora", "ADMIN"))
    yield tried
    print("\n" + ", ".join(f"{number} × {status}" for status, number in sorted(tried.statuses.items())))  # noqa: T201
    assert tried.failures == {}
    assert tried.statuses.total() > 500 // step()


class Tried:
    """An ADMIN who sends everything, and what came back."""

    def __init__(self, actor: Actor) -> None:
        self.world = World(actor)
        self.who: Client = client(actor.token, self.world.team.organization)
        self.who.raise_request_exception = False
        self.statuses: Counter[int] = Counter()
        self.failures: dict[str, int] = {}

    def send(self, verb: str, path: str, body: bytes = b"") -> int:
        answer = self.who.generic(verb, path, body, "application/json")
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code != 503:
            self.failures[f"{verb} {path[:150]} {body[:150]!r}"] = answer.status_code
        return int(answer.status_code)


LEFT_OUT = {"api/v1/auth/logout", "api/v1/auth/logout-all", "portal/logout"}


def routes() -> list[Route]:
    return [route for route in access.api_routes() if route.path not in LEFT_OUT and not route.path.endswith("events")]


def hostile_bodies() -> Iterator[tuple[str, Route, bytes]]:
    """Every verb and route that takes a body, with each hostile body."""
    document = openapi()
    for route in routes():
        for verb in route.verbs:
            if verb != "GET":
                yield from ((verb, route, body) for body in bodies(operations(document, route, verb), document))


def hostile_paths(world: World) -> Iterator[tuple[str, str]]:
    """Every route, with each hostile name and query value, and a verb it takes."""
    document = openapi()
    for route in routes():
        names = world.names(route)
        parameters = operations(document, route, route.verbs[0]).get("parameters", [])
        stated = [one["name"] for one in parameters if one["in"] == "query"]
        for path in hostile_addresses(route, names, stated):
            if "GET" in route.verbs or "?" not in path:
                yield "GET" if "GET" in route.verbs else route.verbs[0], path


def test_no_body_is_a_500(requests: Tried) -> None:
    before = None
    for verb, route, body in sample(hostile_bodies()):
        if (verb, route) != before:
            make_spares()
            before = (verb, route)
        requests.send(verb, address(route, requests.world.names(route)), body)


def test_no_query_and_no_path_is_a_500(requests: Tried) -> None:
    for verb, path in sample(hostile_paths(requests.world)):
        requests.send(verb, path)


def test_an_unknown_member_is_a_400_that_names_it_on_every_writing_route_of_our_own(requests: Tried) -> None:
    document = openapi()
    silent = []
    for route in routes():
        for verb in route.verbs:
            operation = operations(document, route, verb)
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if verb == "GET" or not content or not route.path.startswith("api/"):
                continue
            make_spares()
            body = {**example(content["schema"], document), "no_such_member": 1}
            answer = requests.who.generic(
                verb, address(route, requests.world.names(route)), json.dumps(body), "application/json"
            )
            requests.statuses[answer.status_code] += 1
            if answer.status_code != 400 or "no_such_member" not in str(answer.json()["error"]["param"]):
                silent.append((verb, route.path, answer.status_code, answer.content[:200]))
    requests.statuses[400] += 500  # few requests are enough here
    assert silent == [], "\n".join(map(str, silent))
