"""The fault grid over HTTP: each fault, from each provider, whole and streamed, alone and with a second candidate."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from django.core.cache import cache

from aichat.catalog import snapshot
from aichat.catalog.models import AIModel
from aichat.generation.charging import tokens
from aichat.providers.base import Usage
from aichat.usage.models import UsageRecord
from credits.models import Hold
from tests.conftest import Actor
from tests.generation import faults
from tests.generation.faults import FAULTS, MODES, Cell, Fault
from tests.upstream import Connection, Upstream, unconnected_address
from tests.upstream_answers import ANSWER, TEXT

MODELS = {"gemini": "gemini-3.8-flash", "openai": "gpt-4.1-mini"}
OTHER = {"gemini": "openai", "openai": "gemini"}
REPORTED = Usage(input_tokens=11, output_tokens=7, cached_input_tokens=3, reasoning_tokens=2)
CASES = [
    pytest.param(fault, provider, mode, id=f"{fault.id}-{provider}-{mode}")
    for fault in FAULTS
    for provider in fault.providers
    for mode in MODES
    if fault.cell(mode)
]


@dataclass
class Seen:
    """What a client saw, whole or streamed."""

    status: int
    body: dict[str, Any]
    text: str = ""
    last_event: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str:
        return str(self.body.get("error", {}).get("code", ""))


def ask(http: httpx.Client, actor: Actor, model: str, mode: str) -> Seen:
    body = {"message": "Hi", "model": model, "stream": mode == "stream"}
    answer = http.post("/api/v1/chat", json=body, headers=actor.headers)
    if "event-stream" not in answer.headers["content-type"]:
        found = answer.json()
        text = found.get("message", {}).get("content", "")
        return Seen(answer.status_code, found, text, headers=dict(answer.headers))
    events = list(read_events(answer.text))
    pieces = [data["content"] for name, data in events if name == "delta"]
    return Seen(answer.status_code, events[-1][1], "".join(pieces), events[-1][0], dict(answer.headers))


def read_events(text: str) -> Iterator[tuple[str, Any]]:
    for block in text.split("\n\n"):
        name, _, data = block.partition("\ndata: ")
        if name.startswith("event: "):
            yield name.removeprefix("event: "), json.loads(data)


@pytest.fixture
def unconnected() -> Iterator[str]:
    with unconnected_address() as address:
        yield address


def arrange(fault: Fault, provider: str, upstream: Upstream, settings: Any, unconnected: str) -> None:
    addresses = {"refused": "http://127.0.0.1:9", "unconnected": unconnected}
    if fault.reply.kind in addresses:
        setattr(settings, f"{provider.upper()}_BASE_URL", addresses[fault.reply.kind])
    else:
        upstream.always(provider, fault.reply)
    if fault.reply.kind == "endless":
        settings.CHAT_TOTAL_TIMEOUT = 0.7
    snapshot.forget()


@pytest.mark.parametrize(("fault", "provider", "mode"), CASES)
def test_fault(
    fault: Fault,
    provider: str,
    mode: str,
    http: httpx.Client,
    upstream: Upstream,
    alice: Actor,
    settings: Any,
    unconnected: str,
) -> None:
    cell = fault.cell(mode)
    assert cell is not None
    arrange(fault, provider, upstream, settings, unconnected)

    alone = ask(http, alice, MODELS[provider], mode)
    assert (alone.status, alone.code) == (cell.status, cell.code)
    record = UsageRecord.objects.get()
    assert record.status == cell.recorded
    assert record.charged == expected_charge(cell, record, alone)
    if mode == "stream" and cell.status == 200:
        assert alone.last_event == ("error" if cell.code else "completed")
    assert alone.text == (
        "" if cell.status != 200 else TEXT[0] * (len(alone.text) // len(TEXT[0])) if cell.code else cell.text
    )

    seen_before = list(UsageRecord.objects.values_list("pk", flat=True))
    cache.clear()  # a 429 has left its model alone
    AIModel.objects.filter(slug=MODELS[provider]).update(fallbacks=[MODELS[OTHER[provider]]])
    snapshot.forget()
    seen = ask(http, alice, MODELS[provider], mode)
    records = list(UsageRecord.objects.exclude(pk__in=seen_before).order_by("attempt"))
    if cell.falls_back:
        assert (seen.status, seen.text, seen.body["fallback"]) == (200, ANSWER, True)
        assert seen.body["model"] == seen.headers["x-model"] == MODELS[OTHER[provider]]
        assert [item.status for item in records] == [cell.recorded, "ok"]
        assert [item.charged for item in records] == [0, charge_of(MODELS[OTHER[provider]])]
    else:
        assert (seen.status, seen.code) == (cell.status, cell.code)
        assert [item.status for item in records] == [cell.recorded]
    assert not Hold.objects.filter(state=Hold.State.OPEN).exists()


def expected_charge(cell: Cell, record: UsageRecord, seen: Seen) -> int:
    """What the row of the grid promises, computed from the prices and from what the client really got."""
    if cell.charged == "nothing":
        return 0
    if cell.charged == "reported usage":
        return charge_of(record.model)
    assert record.source == UsageRecord.Source.ESTIMATED
    return charge_of(record.model, delivered(record.provider if cell.is_midway else "openai", seen.text))


def delivered(provider: str, text: str) -> Usage:
    """What a stream that broke off after `text` has used: Gemini's chunks report it, OpenAI's do not, so we count."""
    counted = tokens.estimate_text(text)
    if provider == "gemini":
        return replace(REPORTED, output_tokens=counted if counted > 2 * REPORTED.output_tokens else 7)
    return Usage(input_tokens=tokens.estimate_text("Hi") + tokens.TOKENS_OF_A_FRAME, output_tokens=counted)


def charge_of(slug: str, usage: Usage = REPORTED) -> int:
    rates = snapshot.current()[slug].rates
    assert rates is not None
    return rates.charge(usage)


def test_the_page_says_what_the_tests_assert() -> None:
    assert faults.PAGE.read_text() == faults.page(), "run `python -m tests.generation.faults`"


def test_every_fault_the_fake_upstream_knows_is_in_the_grid() -> None:
    helpers = {
        "recorded",
        "recorded_error",
        "raw",
        "unended",
        "sound",
        "sound_in_pieces",
        "thinks_aloud",
        "late",
        "late_payload",
        "send",
        "json",
        "head",
        "event",
        "chunk",
        "whole",
        "events",
        "begin_and",
        "wait_for_goodbye",
        "flood",  # no fault of a provider: it meets readers that do not read (test_slow_readers.py)
    }
    kinds = {name for name in vars(Connection) if not name.startswith("_")} - helpers
    assert kinds == {fault.reply.kind for fault in FAULTS} - {"refused", "unconnected"}
