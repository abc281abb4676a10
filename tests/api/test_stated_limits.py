"""Every list, text and number of every request body has its limit in the OpenAPI document."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from aichat.api.fields import LARGEST_NUMBER, LONGEST_TEXT
from tests.conftest import Actor
from tests.test_hostile_values import openapi

Schema = dict[str, Any]
BOUND_BY_FORMAT = {"uuid", "date-time", "date", "binary"}  # a file is bounded by MAX_REQUEST_BYTES
UNBOUND = re.compile(r"(?<!\\)[*+]|\{\d+,\}")  # a repetition of a pattern that may go on for ever
# Taken as they come, within MAX_REQUEST_BYTES and the number of values a body may have; what is read of them is checked.
AS_THEY_COME = {
    "InputMessage.content[]": "a block of Anthropic's, whose kinds grow every month",
    "MessagesBody.system[]": "the same",
    "MessagesBody.tools[]": "a tool, with the JSON Schema of its input",
    "CountBody.system[]": "as in MessagesBody",
    "CountBody.tools[]": "as in MessagesBody",
    "OutputFormat.schema": "a JSON Schema",
    "MessagesBody.metadata": "has no effect here",
    "MessagesBody.cache_control": "has no effect here",
    "MessagesBody.context_management": "read by its known members",
    "MessagesBody.thread": "refused by name",
    "MessagesBody.mcp_servers[]": "none is taken",
    "ResponsesBody.input[]": "an item of OpenAI's, whose kinds grow every month",
    "ResponsesBody.tools[]": "a tool, with the JSON Schema of its parameters",
    "ResponsesBody.tool_choice": "read by its known members",
    "ResponsesBody.metadata": "has no effect here",
    "TextFormat.schema": "a JSON Schema",
    "post /webhooks/stripe": "an event that Stripe signed, read by its known members",
    "JsonValue": "members that only a provider reads, and JSON Schemas",
    "Experiment.variants": "checked by `checked_variants`",
    "PatchedExperiment.variants": "the same",
}


def is_bounded_text(schema: Schema) -> bool:
    pattern = schema.get("pattern", "")
    by_pattern = pattern.startswith("^") and pattern.endswith("$") and not UNBOUND.search(pattern)
    return "maxLength" in schema or schema.get("format") in BOUND_BY_FORMAT or by_pattern


def is_bounded_number(schema: Schema) -> bool:
    least, most = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
    return bool(least & set(schema)) and bool(most & set(schema))


def is_bounded(schema: Schema, kinds: set[str]) -> bool:
    """Whether a schema's own values have limits; those of its members are looked at by themselves."""
    if "enum" in schema or "const" in schema or schema.get("readOnly"):
        return True
    if "string" in kinds and not is_bounded_text(schema):
        return False
    if "array" in kinds and "maxItems" not in schema:
        return False
    if kinds & {"integer", "number"} and not is_bounded_number(schema):
        return False
    is_free = not kinds and not schema.keys() & {"oneOf", "anyOf", "allOf", "properties"}
    return not is_free and not ("object" in kinds and not schema.keys() & {"properties", "additionalProperties"})


class Walk:
    """Goes through the schemas of the document's request bodies; `found` are those without a limit, by place."""

    def __init__(self, document: Schema) -> None:
        self.document = document
        self.seen: set[str] = set()
        self.found: dict[str, Schema] = {}

    def visit(self, schema: Schema, place: str) -> None:
        if reference := schema.get("$ref"):
            place = reference.rpartition("/")[2]
            if place not in self.seen:
                self.seen.add(place)
                self.visit(self.document["components"]["schemas"][place], place)
            return
        kind = schema.get("type", [])
        if not is_bounded(schema, set(kind if isinstance(kind, list) else [kind])):
            self.found[place] = schema
        for part, where in self.parts(schema):
            self.visit(part, place + where)

    def parts(self, schema: Schema) -> Iterator[tuple[Schema, str]]:
        for union in ("oneOf", "anyOf", "allOf"):
            yield from ((part, "") for part in schema.get(union, []))
        yield from (
            (part, f".{name}") for name, part in schema.get("properties", {}).items() if not part.get("readOnly")
        )
        if "items" in schema:
            yield schema["items"], "[]"
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and more:
            yield more, ".*"
        elif more and "properties" not in schema:
            yield {}, ""


def walked() -> Walk:
    document = openapi()
    walk = Walk(document)
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                walk.visit(content["schema"], f"{verb} {path}")
    assert len(walk.seen) > 40
    return walk


def test_every_list_text_and_number_of_a_body_has_a_stated_limit() -> None:
    found = walked().found
    assert {place: schema for place, schema in found.items() if place not in AS_THEY_COME} == {}


def test_what_is_taken_as_it_comes_is_still_there() -> None:
    assert set(AS_THEY_COME) - set(walked().found) == set()


TURN = {"role": "user", "content": "hello"}
TOO_MUCH: list[tuple[str, Schema]] = [
    ("messages", {"max_tokens": LARGEST_NUMBER + 1, "messages": [TURN]}),
    ("messages", {"max_tokens": 1, "messages": [TURN], "system": "x" * (LONGEST_TEXT + 1)}),
    ("messages", {"max_tokens": 1, "messages": [TURN], "top_k": LARGEST_NUMBER + 1}),
    ("responses", {"input": "x" * (LONGEST_TEXT + 1)}),
    ("responses", {"input": "x", "max_output_tokens": LARGEST_NUMBER + 1}),
    ("embeddings", {"input": ["x" * (LONGEST_TEXT + 1)]}),
    ("moderations", {"input": "x" * (LONGEST_TEXT + 1)}),
    ("completions", {"prompt": "x", "seed": 2**63}),
    ("chat/completions", {"messages": [TURN], "logit_bias": {"1": 1e9}}),
]


@pytest.mark.parametrize("path, body", TOO_MUCH, ids=[f"{path}-{list(body)[-1]}" for path, body in TOO_MUCH])
def test_a_value_beyond_its_limit_is_a_400(http: httpx.Client, alice: Actor, path: str, body: Schema) -> None:
    headers = {"Authorization": f"Bearer {alice.token}"}
    answer = http.post(f"/v1/{path}", json={"model": "auto", **body}, headers=headers)
    assert answer.status_code == 400, answer.content[:300]
