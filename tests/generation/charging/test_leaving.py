"""A client that leaves a stream just before its end pays about what staying costs; `pytest -s` prints the table.

The staying client pays by reported tokens: those that o200k_base makes of the texts, of the tools in the form in which
OpenAI shows them to its models, and the published tokens of pictures. The leaving client pays by our own estimates.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from aichat.usage.models import UsageRecord
from tests.conftest import Actor
from tests.generation.charging.corpus import COUNTS, LANGUAGES, TEXTS
from tests.generation.charging.test_bill import eventually, no_open_hold, spent
from tests.generation.charging.test_tokens import png
from tests.generation.test_faults import MODELS
from tests.upstream import Reply, Upstream
from tests.upstream_answers import openai_chunk

TOKENS_OF_A_MESSAGE, TOKENS_OF_A_BEGINNING = 4, 3  # https://cookbook.openai.com/examples/how_to_count_tokens
TOKENS_OF_A_PICTURE = 1659  # of 1024 × 1024 pixels, read by gpt-4.1-mini: the guide's own example
ANSWER, THOUGHTS = "SPANISH", "FRENCH"  # names of texts


def user(name: str) -> dict[str, Any]:
    return {"role": "user", "content": TEXTS[name]}


def picture() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": png(1024, 1024), "detail": "high"}}


def seats(description: str) -> dict[str, Any]:
    """A schema of a few members, with a description as long as those that people write."""
    names = {"type": "array", "items": {"type": "string"}, "description": "The names of those who travel"}
    members = {"harbour": {"type": "string", "enum": ["north", "south"]}, "seats": {"type": "integer"}, "names": names}
    return {"type": "object", "description": description, "properties": members, "required": ["harbour", "seats"]}


TOOLS = [
    {"type": "function", "function": {"name": name, "description": TEXTS[text], "parameters": seats(TEXTS["ENGLISH"])}}
    for name, text in (("book_seats", "ENGLISH_NOTICE"), ("cancel_seats", "FRENCH_NOTICE"))
]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "seats", "schema": seats(TEXTS["GERMAN_NOTICE"])}}
# o200k_base of the tools as a TypeScript namespace, and of the schema as JSON under its heading.
TOKENS_OF_THE_TOOLS, TOKENS_OF_THE_SCHEMA = 581, 185


@dataclass(frozen=True)
class Kind:
    """A kind of request: what is sent, and how many tokens its messages and other members really have."""

    name: str
    messages: list[dict[str, Any]]
    count: int
    more: dict[str, Any] = field(default_factory=dict)
    thoughts: str = ""

    @property
    def usage(self) -> dict[str, int]:
        read = self.count + len(self.messages) * TOKENS_OF_A_MESSAGE + TOKENS_OF_A_BEGINNING
        return {"prompt_tokens": read, "completion_tokens": COUNTS[ANSWER] + COUNTS.get(self.thoughts, 0)}

    def events(self) -> list[dict[str, Any]]:
        """The thoughts and the answer, word by word; the last event is the answer's last word."""
        pieces = [{"reasoning_content": f"{word} "} for word in TEXTS.get(self.thoughts, "").split()]
        pieces += [{"content": f"{word} "} for word in TEXTS[ANSWER].split()]
        return [openai_chunk(piece, None) for piece in pieces]

    @property
    def ending(self) -> list[dict[str, Any]]:
        return [openai_chunk({}, "stop"), {**openai_chunk({}, None), "choices": [], "usage": self.usage}]


HISTORY = [
    {"role": ("user", "assistant")[turn % 2], "content": TEXTS[name]} for turn, name in enumerate(LANGUAGES * 2)
] + [user("ENGLISH")]
KINDS = [
    Kind("plain", [user("ENGLISH")], COUNTS["ENGLISH"]),
    Kind("long history", HISTORY, 2 * sum(COUNTS[name] for name in LANGUAGES) + COUNTS["ENGLISH"]),
    Kind("tools", [user("ENGLISH")], COUNTS["ENGLISH"] + TOKENS_OF_THE_TOOLS, {"tools": TOOLS}),
    Kind("schema", [user("ENGLISH")], COUNTS["ENGLISH"] + TOKENS_OF_THE_SCHEMA, {"response_format": SCHEMA}),
    Kind(
        "two pictures",
        [{"role": "user", "content": [{"type": "text", "text": TEXTS["ENGLISH"]}, picture(), picture()]}],
        COUNTS["ENGLISH"] + 2 * TOKENS_OF_A_PICTURE,
    ),
    Kind(
        "refusal and thoughts",
        [user("ENGLISH"), {"role": "assistant", "content": None, "refusal": TEXTS["GERMAN"]}, user("ENGLISH_NOTICE")],
        COUNTS["ENGLISH"] + COUNTS["GERMAN"] + COUNTS["ENGLISH_NOTICE"],
        thoughts=THOUGHTS,
    ),
]


def paid(http: httpx.Client, actor: Actor, kind: Kind, *, words: int | None) -> int:
    """Microcredits of a stream that its client reads to the end, or leaves when so many words of it have come."""
    before = spent(actor)
    body = {"model": MODELS["openai"], "messages": kind.messages, "stream": True, **kind.more}
    with http.stream("POST", "/v1/chat/completions", json=body, headers=actor.headers) as answer:
        assert answer.status_code == 200, answer.read()
        seen = 0
        for line in answer.iter_lines():
            seen += words_of(line)
            if seen == words:
                break
    eventually(no_open_hold)
    return spent(actor) - before


def words_of(line: str) -> int:
    """How many words of the answer and the thoughts an event of a stream has: pieces that come fast come as one."""
    if not line.startswith("data: {"):
        return 0
    event = json.loads(line.removeprefix("data: "))
    assert "choices" in event, event
    delta = event["choices"][0]["delta"] if event["choices"] else {}
    return sum(len((delta.get(name) or "").split()) for name in ("content", "reasoning_content"))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_who_leaves_a_stream_just_before_its_end_pays_about_what_staying_costs(
    kind: Kind, http: httpx.Client, upstream: Upstream, alice: Actor, settings: Any
) -> None:
    settings.CHAT_IDLE_TIMEOUT = 8
    events = kind.events()
    upstream.plan("openai", Reply("recorded", payload=events + kind.ending), Reply("unended", payload=events[:-1]))
    staying = paid(http, alice, kind, words=None)
    leaving = paid(http, alice, kind, words=len(events) - 1)
    stayed, left = UsageRecord.objects.order_by("created_at")
    print(f"\n{kind.name:22}{staying:>10,}{leaving:>10,} microcredits  {leaving / staying - 1:+.1%}")  # noqa: T201
    assert (stayed.status, stayed.source) == ("ok", "EXACT")
    assert (left.status, left.source) == ("cancelled", "ESTIMATED")
    assert leaving == pytest.approx(staying, rel=0.15)
