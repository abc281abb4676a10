"""Experiments at work: what is sent upstream, what is recorded, and what the client is told."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from aichat.catalog.sync import sync_models
from aichat.flags import services
from aichat.flags.models import Experiment
from aichat.usage.models import UsageRecord
from tests.conftest import Actor

Start = Callable[..., Experiment]
SHORT = {"name": "short", "weight": 100, "system": "Be brief.", "temperature": 0.3, "max_tokens": 77}


@pytest.fixture
def start(transactional_db: None) -> Start:
    """A running experiment in which everybody has the variant given."""

    def make(variant: dict[str, Any], **fields: Any) -> Experiment:
        variants = [{"name": "control", "weight": 0}, {**variant, "weight": 100}]
        row = Experiment(**{"key": "prompt", "status": "running", "variants": variants, **fields})
        services.save(row, actor=None)
        return row

    return make


def chat(http: httpx.Client, who: Actor, **body: Any) -> Any:
    answer = http.post("/api/v1/chat", json={"message": "Hello", **body}, headers=who.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


class Upstream(BaseHTTPRequestHandler):
    """An OpenAI that says yes, and remembers the last question."""

    asked: dict[str, Any] = {}

    def do_POST(self) -> None:
        Upstream.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = {"role": "assistant", "content": "Yes."}
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        raw = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw.encode())

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def upstream(settings: Any, transactional_db: None) -> Iterator[type[Upstream]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.OPENAI_API_KEY = "test-key"
    settings.OPENAI_BASE_URL = f"http://127.0.0.1:{server.server_address[1]}/v1"
    sync_models()
    yield Upstream
    server.shutdown()
    server.server_close()


def test_without_an_experiment_the_answer_says_so(http: httpx.Client, alice: Actor) -> None:
    assert chat(http, alice)["experiment"] is None
    assert UsageRecord.objects.get().experiment == ""


def test_a_variant_is_told_to_the_client_and_written_on_the_usage_record(
    http: httpx.Client, alice: Actor, start: Start
) -> None:
    start(SHORT)
    assert chat(http, alice)["experiment"] == {"key": "prompt", "variant": "short"}
    record = UsageRecord.objects.get()
    assert (record.experiment, record.variant, record.unit) == ("prompt", "short", alice.user.pk)
    assert alice.get("/api/v1/flags").json()["prompt"] == {"enabled": True, "variant": "short"}


def test_a_stream_is_in_the_experiment_too(http: httpx.Client, alice: Actor, start: Start) -> None:
    start(SHORT)
    body = {"message": "Hello", "stream": True}
    answer = http.post("/api/v1/chat", json=body, headers=alice.headers)
    assert '"experiment":{"key":"prompt","variant":"short"}' in answer.text


def test_a_variant_sets_what_the_client_left_open(
    http: httpx.Client, upstream: type[Upstream], alice: Actor, start: Start
) -> None:
    start(SHORT)
    chat(http, alice, system="You are a cook.")
    request = upstream.asked
    assert request["messages"][0] == {"role": "system", "content": "Be brief.\n\nYou are a cook."}
    assert request["temperature"] == 0.3
    assert 77 in (request.get("max_tokens"), request.get("max_completion_tokens"))


def test_what_the_client_says_itself_stays(
    http: httpx.Client, upstream: type[Upstream], alice: Actor, start: Start
) -> None:
    start(SHORT)
    chat(http, alice, temperature=1.0, max_tokens=9)
    request = upstream.asked
    assert request["temperature"] == 1.0
    assert 9 in (request.get("max_tokens"), request.get("max_completion_tokens"))


def test_a_variants_model_serves_requests_that_left_the_model_open(
    http: httpx.Client, upstream: type[Upstream], alice: Actor, start: Start
) -> None:
    usual, other, *_ = [
        model["id"] for model in alice.get("/v1/models").json()["data"] if model["owned_by"] == "openai"
    ]
    if chat(http, alice)["model"] == other:
        usual, other = other, usual
    start({"name": "other", "model": other})
    assert chat(http, alice)["model"] == other
    named = chat(http, alice, model=usual)
    assert (named["model"], named["experiment"]) == (usual, None)
    assert list(UsageRecord.objects.order_by("id").values_list("requested_model", "variant"))[1:] == [
        ("auto", "other"),
        (usual, ""),
    ]


def test_a_variants_model_that_can_not_be_called_any_more_fails_nobodys_chat(
    http: httpx.Client, alice: Actor, start: Start
) -> None:
    start({"name": "other", "model": "retired-model"})
    assert chat(http, alice)["experiment"] == {"key": "prompt", "variant": "other"}


def test_the_openai_endpoint_is_in_the_experiment_too(
    http: httpx.Client, upstream: type[Upstream], alice: Actor, start: Start
) -> None:
    start(SHORT)
    messages = [{"role": "user", "content": "Hello"}]
    http.post("/v1/chat/completions", json={"model": "auto", "messages": messages}, headers=alice.headers)
    assert upstream.asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert UsageRecord.objects.get().variant == "short"


def test_a_conversation_keeps_its_variant(http: httpx.Client, alice: Actor, start: Start) -> None:
    start({"name": "short"}, unit="conversation")
    first = chat(http, alice)
    chat(http, alice, conversation_id=first["conversation_id"])
    assert {str(unit) for unit in UsageRecord.objects.values_list("unit", flat=True)} == {first["conversation_id"]}


def test_a_stopped_experiment_ends_and_its_winner_is_the_default(
    http: httpx.Client, upstream: type[Upstream], alice: Actor, start: Start
) -> None:
    row = start(SHORT)
    row.status = "stopped"
    services.save(row, actor=None)
    assert chat(http, alice)["experiment"] is None
    assert upstream.asked["messages"][0]["role"] == "user"
    row.winner = "short"
    services.save(row, actor=None)
    assert chat(http, alice)["experiment"] is None
    assert upstream.asked["messages"][0] == {"role": "system", "content": "Be brief."}
