"""Questions to `/api/v1/chat` over HTTP, and the events of their answers."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from credits.models import Hold
from tests.conftest import Actor

CHAT, COMPLETIONS = "/api/v1/chat", "/v1/chat/completions"
MINI = "gpt-4o-mini"


def say(http: httpx.Client, actor: Actor, message: str, **body: Any) -> httpx.Response:
    return http.post(CHAT, json={"message": message, **body}, headers=actor.headers)


def events(http: httpx.Client, actor: Actor, message: str, **body: Any) -> Iterator[tuple[str, Any]]:
    """Name and data of each event of a streamed answer, comments as ("", text)."""
    request = {"message": message, "stream": True, **body}
    with http.stream("POST", CHAT, json=request, headers=actor.headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in response.iter_lines():
            if line.startswith(":"):
                yield "", line
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, json.loads(line[6:])


def nothing_is_held() -> bool:
    return not Hold.objects.filter(state="OPEN").exists()
