"""An answer's way into bytes and back, and the key of a question."""

from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.authentication import Caller
from accounts.models import Organization, User
from aichat.api.openai.schemas import CompletionBody
from aichat.catalog.snapshot import ModelInfo, ProviderInfo
from aichat.chat.schemas import ChatBody
from aichat.generation.request import GenerationRequest
from aichat.promptcache.entry import Entry, Unreadable
from aichat.promptcache.invalidation import Versions
from aichat.promptcache.key import Question
from aichat.providers.base import ChatRequest, Delta, Endpoint, FinishReason, Usage

text = st.text(st.characters(exclude_categories=["Cs"]))
whole = st.integers(0, 2**53)
json_values = st.recursive(
    st.none() | st.booleans() | whole | text, lambda inner: st.dictionaries(text, inner, max_size=3)
)
objects = st.lists(st.dictionaries(text, json_values, max_size=2), max_size=1).map(tuple)
pieces = st.builds(
    Delta,
    text=text,
    tool_calls=objects,
    reasoning=text,
    reasoning_details=objects,
    images=st.lists(text, max_size=2).map(tuple),
    annotations=objects,
    logprobs=st.none() | st.dictionaries(text, whole, max_size=1),
)
entries = st.builds(
    Entry,
    pieces=st.lists(pieces, max_size=3),
    model=text,
    provider=text,
    finish_reason=st.sampled_from(get_args(FinishReason)),
    usage=st.builds(Usage, *[whole] * len(fields(Usage))),
    source=text,
    created_at=st.floats(0, 2e9),
    prompt=text,
    by=text,
    by_version=text,
    fallback=st.booleans(),
    dropped=st.lists(text, max_size=2).map(tuple),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # drawing is slow on a busy machine
@given(entries, text)
def test_every_answer_survives_the_way_through_bytes(entry: Entry, digest: str) -> None:
    assert Entry.decode(digest, entry.encode(digest)) == entry


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # drawing is slow on a busy machine
@given(entries, st.data())
def test_no_changed_byte_and_no_other_key_is_taken_for_an_answer(entry: Entry, data: Any) -> None:
    raw = bytearray(entry.encode("digest"))
    with pytest.raises(Unreadable):
        Entry.decode("another", bytes(raw))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unreadable):
        Entry.decode("digest", bytes(raw))


@given(st.binary())
def test_foreign_bytes_are_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        Entry.decode("digest", raw)


# --- The key ----------------------------------------------------------------------------------------------------------

PROVIDER = ProviderInfo("openai", "openai", Endpoint("https://api.example.com"), True)
MODEL = ModelInfo("m", "chat", PROVIDER, "m", 1000, 100, (), None, None, 0)


def question(**changes: Any) -> Question:
    user = User(email="a@example.com")
    facts: dict[str, Any] = {
        "caller": Caller(user, Organization(name="A"), None),
        "route": [MODEL],
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 10,
        "parameters": {},
        **changes,
    }
    return Question(**facts)


ONE = question()


@pytest.mark.parametrize(
    "change",
    [
        {"route": [replace(MODEL, slug="n")]},
        {"route": [replace(MODEL, upstream_name="n")]},
        {"route": [MODEL, replace(MODEL, slug="n")]},
        {"messages": [{"role": "user", "content": "Hi "}]},
        {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]},
        {"max_tokens": 11},
        {"parameters": {"temperature": 0.5}},
        {"parameters": {"something_new": 1}},
        {"variant": ("experiment", "b")},
        {"caller": Caller(User(email="b@example.com"), Organization(name="B"), None)},
    ],
    ids=lambda change: ",".join(change),
)
def test_what_changes_the_answer_changes_the_key(change: Any) -> None:
    assert replace(ONE, **change).digest(Versions({})) != ONE.digest(Versions({}))


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"messages": [{"content": "Hi", "role": "user", "name": None}]},
        {"parameters": {"user": "42", "metadata": {"a": "b"}}},
    ],
)
def test_what_does_not_change_the_answer_does_not_change_the_key(change: Any) -> None:
    assert replace(ONE, **change).digest(Versions({})) == ONE.digest(Versions({}))


# Every field of a request with the decision taken: what it becomes in the key, or why it is not in it. A new field of
# an OpenAI body is a parameter unless `parameters()` leaves it out, and parameters are in the key.
CALL = {
    "caller": "tenant, versions",
    "model": "route",
    "messages": "messages",
    "max_tokens": "max_tokens",
    "parameters": "parameters",
    "treatment": "route, messages, parameters, variant",
    "stream": "not: streams and JSON answers share what is kept",
    "param_names": "not: the wording of an error",
    "is_length_a_limit": "not: whether a long answer is refused or shortened; max_tokens is in the key",
    "left_out": "not: what no model gets",
    "rows_to_save": "not: what is done with the answer",
    "store_replay": "not: what is done with the answer",
    "freshness": "not: whether the cache is asked",
    "id": "not: of this request",
    "request_id": "not: of this request",
    "kind": "not: only chats are kept here",
    "measured": "not: sizes of what is sent, which is in the key",
    "most_tokens": "max_tokens",
    "sampling": "parameters",
    "goes_on_as": "not: whether the answer is finished without a reader",
}
CHAT_REQUEST = {"model", "messages", "max_tokens", "stream", "parameters", "request_id", "may_drop", "report"}
# `parent_id`, `replaces` and `attachments` make the messages, which are in the key; `finish` is of its reader alone.
CHAT_BODY = {
    "message", "conversation_id", "parent_id", "replaces", "attachments", "finish", "model", "system", "temperature",
    "max_tokens", "stream",
}  # fmt: skip
# Left out of `parameters()`: in the key by another way, or of one value only, or only about the stream's wording.
NO_PARAMETERS = {
    "model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "n", "modalities",
    "functions", "function_call",  # become tools and tool_choice
}  # fmt: skip


def test_a_new_field_of_a_request_needs_a_decision() -> None:
    assert {field.name for field in fields(GenerationRequest)} == set(CALL)
    assert {field.name for field in fields(ChatRequest)} == CHAT_REQUEST
    assert set(ChatBody.model_fields) == CHAT_BODY


def test_every_parameter_of_an_openai_body_is_in_the_key_unless_it_was_decided_otherwise() -> None:
    ones: dict[str, Any] = dict.fromkeys(CompletionBody.model_fields, 1) | {"functions": None, "function_call": None}
    given = CompletionBody.model_construct(**ones)
    assert set(CompletionBody.model_fields) - set(given.model_dump(exclude=NO_PARAMETERS)) == NO_PARAMETERS
    assert set(given.parameters()) == set(CompletionBody.model_fields) - NO_PARAMETERS
