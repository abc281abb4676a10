"""The features of chat requests, each tried against every kind of server; `docs/PROVIDERS.md` is written from what is seen.

`python -m tests.providers.features` writes the page.
"""

# ruff: noqa: E501

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aichat.providers.anthropic import request as anthropic
from aichat.providers.base import ChatRequest, Endpoint
from aichat.providers.gemini import request as gemini
from aichat.providers.openai import request as openai
from aichat.providers.openai.profiles import PROFILES, profile_of
from aichat.providers.registry import chat_adapter

PAGE = Path(__file__).parents[2] / "docs" / "PROVIDERS.md"
HELLO: dict[str, Any] = {"role": "user", "content": "Hi"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aW1n"}}
ADDRESS = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
CUSTOM = {"type": "custom", "custom": {"name": "exec"}}
FILE = {"type": "file", "file": {"file_data": "data:application/pdf;base64,cGRm", "filename": "a.pdf"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "d2F2", "format": "wav"}}
PASSED, TRANSLATED, REFUSED, DROPPED = "passed on", "translated", "refused", "dropped"
KINDS = (*PROFILES, "gemini", "anthropic")


@dataclass(frozen=True)
class Feature:
    """Part of a request. `shows`: the value that a server which takes it unchanged is sent, somewhere in the body."""

    title: str
    shows: Any
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[dict[str, Any], ...] = (HELLO,)
    stream: bool = False
    is_silent: bool = False  # what an answer carried and its client sends back: left out unsaid where nobody reads it
    trace: str = ""  # text that is somewhere in the body unless the feature was dropped


def parameter(name: str, value: Any, **others: Any) -> Feature:
    return Feature(f"`{name}`", {name: value}, {name: value, **others})


def part(title: str, content: dict[str, Any], trace: str) -> Feature:
    message = {"role": "user", "content": [{"type": "text", "text": "See"}, content]}
    return Feature(title, content, messages=(message,), trace=trace)


def answer(title: str, shows: Any, trace: str, **members: Any) -> Feature:
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL], **members}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "rain"}
    return Feature(title, shows, {"tools": [TOOL]}, (HELLO, turn, result), is_silent=True, trace=trace)


SIGNED = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
DETAIL = {"type": "reasoning.text", "text": "hmm", "format": "other"}
TEXTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
PICTURES_OF_A_TOOL: tuple[dict[str, Any], ...] = (
    HELLO,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "see"}, PICTURE]},
)
FEATURES = [
    Feature("the longest answer (`max_tokens`)", {"max_tokens": 100}, trace="100"),
    Feature("usage of a stream (`stream_options`)", {"include_usage": True}, stream=True, trace="{"),
    Feature(
        "role `developer`",
        {"role": "developer", "content": "Be brief"},
        messages=({"role": "developer", "content": "Be brief"}, HELLO),
        trace="Be brief",
    ),
    Feature("text in several parts", TEXTS, messages=({"role": "user", "content": TEXTS},), trace="two"),
    parameter("temperature", 0.5),
    parameter("top_p", 0.9),
    parameter("top_k", 5),
    parameter("min_p", 0.1),
    parameter("seed", 7),
    parameter("stop", ["END"]),
    parameter("presence_penalty", 0.1),
    parameter("frequency_penalty", 0.1),
    parameter("repetition_penalty", 1.1),
    parameter("logit_bias", {"1": 1}),
    parameter("logprobs", True),
    parameter("reasoning_effort", "low"),
    parameter("verbosity", "low"),
    parameter("prediction", {"type": "content", "content": "x"}),
    parameter("user", "someone"),
    parameter("metadata", {"a": "b"}),
    parameter("store", False),
    parameter("prompt_cache_key", "k"),
    parameter("service_tier", "priority"),
    parameter("tools", [TOOL]),
    Feature("custom tools (free text)", {"tools": [CUSTOM]}, {"tools": [CUSTOM]}),
    parameter("tool_choice", "required", tools=[TOOL]),
    parameter("parallel_tool_calls", False, tools=[TOOL]),
    parameter("response_format", {"type": "json_object"}),
    Feature(
        "`response_format` with a schema",
        {"type": "object"},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
    ),
    part("a picture in the request", PICTURE, "aW1n"),
    part("a picture at an `https:` address", ADDRESS, "cat.png"),
    part("a file (PDF)", FILE, "cGRm"),
    part("sound", SOUND, "d2F2"),
    Feature(
        "pictures in a tool's result",
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "see"}, PICTURE]},
        {"tools": [TOOL]},
        PICTURES_OF_A_TOOL,
        trace="aW1n",
    ),
    answer("thoughts sent back (`reasoning_content`)", {"reasoning_content": "hmm"}, "hmm", reasoning_content="hmm"),
    answer("blocks of thought sent back (`reasoning_details`)", [DETAIL], "other", reasoning_details=[DETAIL]),
    answer("thought signatures of calls (`extra_content`)", SIGNED, "c2ln", tool_calls=[SIGNED]),
]

Body = tuple[dict[str, Any], tuple[str, ...]]


def body_for(kind: str) -> Callable[[ChatRequest], Body]:
    """How the adapter of a kind of server makes the body, and which parameters it says it left out."""
    if kind == "anthropic":
        return anthropic.body
    profile = profile_of(Endpoint(profile=kind))

    def build(request: ChatRequest) -> Body:
        body = gemini.build(request) if kind == "gemini" else openai.build(request, profile)
        return body.json, body.dropped

    return build


def treatment(feature: Feature, kind: str) -> str:
    """What becomes of a feature at a kind of server, seen from the body that is sent."""
    adapter = chat_adapter(kind if kind in ("gemini", "anthropic") else "openai_compatible")
    endpoint = Endpoint("https://example.com/v1", profile=kind if kind in PROFILES else "")
    if adapter.unsupported("a-model", feature.messages, feature.parameters, endpoint):
        return REFUSED
    body, dropped = sent(feature, kind)
    if dropped:
        return DROPPED
    if shown(feature.shows, body):
        return PASSED
    if feature.trace:
        return TRANSLATED if feature.trace in json.dumps(body) else DROPPED
    return DROPPED if body == sent(without(feature), kind)[0] else TRANSLATED


def sent(feature: Feature, kind: str) -> Body:
    request = ChatRequest("a-model", feature.messages, 100, feature.stream, feature.parameters)
    return body_for(kind)(request)


def without(feature: Feature) -> Feature:
    """The request without the parameter that the feature is about."""
    name = feature.title.split("`")[1]
    return replace(feature, parameters={key: value for key, value in feature.parameters.items() if key != name})


def shown(value: Any, body: Any) -> bool:
    """Whether a value, or an object with at least its members, stands anywhere in a body."""
    if isinstance(value, dict) and isinstance(body, dict) and value.items() <= body.items():
        return True
    if value == body:
        return True
    inner = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return any(shown(value, item) for item in inner)


HEAD = """# What each provider is sent

<!-- Written by `python -m tests.providers.features` from what the adapters send; a test compares. Don't edit by hand. -->

Requests come in OpenAI's vocabulary. A server that speaks OpenAI's format is known by its address, or by the profile that
its provider's row chooses in the admin (Catalog, Providers: *server*); single quirks are overridden there as JSON, such as
`{"stream_options": false, "limit": "max_completion_tokens"}`. The profiles are data: `aichat/providers/openai/profiles.py`.

- **passed on**: sent as it came. **translated**: said in the provider's own words (another name, another place, a joined text).
- **refused**: under `auto` another candidate serves the request; a model that was named answers 400 and names the field.
- **dropped**: not sent. Parameters that were dropped are named in the answer's `X-Dropped-Parameters`; thoughts and
  signatures that come back from another provider's answer are left out unsaid where nobody reads them.

When a server refuses with a 400 what a profile sends, one request more is made: with the other name of the limit, without
`stream_options`, without thoughts of earlier answers. Where the client did not choose the model (`auto`, a fallback), a
parameter that only tunes an answer is left out too, and named. A model the client named answers with the provider's reason.

Requests in the dialect of Responses go to OpenAI's Responses as they came; so do all requests for models that speak nothing
else. With `{"responses": true}` they go to a compatible server's Responses too. A server that answers 404 there is asked
for chat completions, and for ten minutes for nothing else.

| profile | known by |
| --- | --- |
"""


def page() -> str:
    known = "".join(
        f"| `{name}` | {', '.join(f'`{host}`' for host in profile.hosts) or 'being chosen'} |\n"
        for name, profile in PROFILES.items()
    ).replace("| `generic` | being chosen |", "| `generic` | any other address |")
    head = f"\n| | {' | '.join(KINDS)} |\n| --- |{' --- |' * len(KINDS)}\n"
    rows = [f"| {item.title} | {' | '.join(treatment(item, kind) for kind in KINDS)} |\n" for item in FEATURES]
    return HEAD + known + head + "".join(rows) + TAIL


TAIL = """
## What is read

One reader each for contents, tool calls, finish words and event streams serves all servers of OpenAI's format.

| an answer's | may be |
| --- | --- |
| content | a string, an object, a list of parts (`text`, `thinking`, `image_url`), null |
| thoughts | `reasoning_content`, `reasoning`, `thinking`, `reasoning_details`, parts of type `thinking`; Gemini's `thought` parts; Anthropic's `thinking` blocks. The client gets `reasoning_content` and `reasoning_details` |
| pictures | `images`, parts of type `image_url`; Gemini's `inlineData`. The client gets `message.images`, `delta.images` in streams |
| tool calls | without or with doubtful `index` and `id`, `arguments` as text or object, `function_call` |
| finish word | any word with a known meaning; an answer with an unknown word is served, and never kept in the prompt cache |
| stream | events by the WHATWG specification, or one JSON body instead; whole once its finish reason came, with or without `[DONE]` |
| error | `error` as object or text, `message`, `detail`, lists of these; judged by code, type and words. Keys in it are blotted out |

## What no adapter does

Nothing a client names is fetched by this server: a picture at an `https:` address goes to providers that fetch it themselves,
and is refused for others. A `file_id` is refused, because it would name a file of the operator's account.
"""


if __name__ == "__main__":
    PAGE.write_text(page())
