"""A provider that needs no key and no network: it says it is a demo and echoes the prompt, word by word."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aichat.providers.base import Accepted, ChatRequest, Delta, Endpoint, Finished, PartSink
from aichat.providers.outgoing import Outgoing

SECONDS_PER_WORD = 0.01


class DemoChat:
    """Deterministic: a token is a word, and the same prompt has the same answer and usage every time."""

    async def chat(self, request: ChatRequest, endpoint: Endpoint, sink: PartSink) -> Finished:
        texts = [text_of(message) for message in request.messages]
        answer = f"This is the demo model: no AI provider is configured. You wrote: {texts[-1] if texts else ''}"
        words = re.findall(r"\S+\s*", answer)
        said = words[: request.max_tokens]
        await sink(Accepted())
        if request.stream:
            for word in said:
                await asyncio.sleep(SECONDS_PER_WORD)
                await sink(Delta(word))
        else:
            await sink(Delta("".join(said)))
        request.report.merge({"input": len(" ".join(texts).split()), "output": len(said)})
        return Finished("stop" if len(said) == len(words) else "length")

    def measure(self, request: ChatRequest, endpoint: Endpoint) -> Outgoing:
        return Outgoing([text_of(message) for message in request.messages], frames=len(request.messages))

    def unsupported(
        self, model: str, messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], endpoint: Endpoint
    ) -> str | None:
        """The demo may be offered tools, as any model, but never calls one: a forced call is refused."""
        return None if parameters.get("tool_choice", "auto") in ("none", "auto") else "tool_choice"


def text_of(message: dict[str, Any]) -> str:
    """The text of an OpenAI message, whose content is a string or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content if part.get("type") == "text")
