"""Documents whose citations a client wants, and traces of Anthropic's own tools: kept by Claude, named where left out."""

from typing import Any

import anthropic
import pytest

from tests.conftest import Actor
from tests.upstream import Reply, Upstream
from tests.upstream_answers import ANTHROPIC_USAGE, anthropic_events

CLAUDE, OTHER = "claude-sonnet-5-5", "gemini-3.8-flash"
PLACE = {
    "type": "char_location", "cited_text": "Grass is green.", "document_index": 0, "document_title": None,
    "start_char_index": 0, "end_char_index": 15, "file_id": None,
}  # fmt: skip
SOURCE = {"type": "text", "media_type": "text/plain", "data": "Grass is green."}
DOCUMENT = {"type": "document", "source": SOURCE, "citations": {"enabled": True}}
QUESTION: Any = [{"role": "user", "content": [DOCUMENT, {"type": "text", "text": "What is green?"}]}]
PLAIN: dict[str, Any] = {"type": "text", "text": "As it says, "}
CITED: dict[str, Any] = {"type": "text", "text": "grass is.", "citations": [PLACE]}


def streamed() -> list[dict[str, Any]]:
    begin, *_ = anthropic_events([], None)
    events = [begin]
    for index, block in enumerate([PLAIN, CITED]):
        deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": block["text"]}]
        deltas += [{"type": "citations_delta", "citation": place} for place in block.get("citations", ())]
        events += [
            {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
            {"type": "content_block_stop", "index": index},
        ]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
    return [*events, end, {"type": "message_stop"}]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_claude_model_s_citations_reach_the_client_and_go_back(
    server: str, alice: Actor, claude: Upstream, stream: bool
) -> None:
    client = anthropic.Anthropic(base_url=server, api_key=alice.key, max_retries=0)
    whole = {"type": "message", "content": [PLAIN, CITED], "stop_reason": "end_turn", "usage": ANTHROPIC_USAGE}
    claude.plan("anthropic", Reply("recorded", payload=streamed() if stream else whole), Reply("answer"))
    if stream:
        with client.messages.stream(model=CLAUDE, max_tokens=100, messages=QUESTION) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(model=CLAUDE, max_tokens=100, messages=QUESTION)
    blocks = [block.to_dict() for block in answer.content]
    assert [(block["text"], block.get("citations") or []) for block in blocks] == [
        (PLAIN["text"], []),
        (CITED["text"], [PLACE]),
    ]
    assert claude.asked("anthropic")[0].body["messages"] == QUESTION
    turn: Any = {"role": "assistant", "content": [PLAIN, CITED]}
    client.messages.create(model=CLAUDE, max_tokens=100, messages=[*QUESTION, turn, {"role": "user", "content": "So?"}])
    assert claude.asked("anthropic")[1].body["messages"][1] == turn


def test_another_model_gets_the_words_and_the_answer_names_what_was_left_out(
    server: str, alice: Actor, claude: Upstream
) -> None:
    found = [{"type": "web_search_result", "title": "Grass", "url": "https://example.com", "encrypted_content": "x"}]
    searched: list[Any] = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "grass"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": found},
        CITED,
    ]
    turns: Any = [*QUESTION, {"role": "assistant", "content": searched}, {"role": "user", "content": "So?"}]
    client = anthropic.Anthropic(base_url=server, api_key=alice.key, max_retries=0)
    named = []
    for model, provider in ((OTHER, "gemini"), ("gpt-4.1-mini", "openai"), (CLAUDE, "anthropic")):
        claude.plan(provider, Reply("answer"))
        answer = client.messages.with_raw_response.create(model=model, max_tokens=100, messages=turns)
        assert answer.parse().content
        named.append(answer.headers.get("x-dropped-parameters"))
    left_out = "citations, content.server_tool_use, content.web_search_tool_result"
    assert named == [left_out, left_out, None]
    words = str(claude.asked("gemini")[0].body)
    assert "Grass is green." in words and "grass is." in words
    assert claude.asked("anthropic")[0].body["messages"][:2] == turns[:2]
