"""The parts of the Responses API that our clients' side and our providers' side share: namespaces of tools, and thoughts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aichat.providers.thoughts import whole_thoughts

THOUGHT_FORMAT = "openai-responses-v1"  # of reasoning_details: https://openrouter.ai/docs/use-cases/reasoning-tokens
# The values of `include` that are honoured: the others belong to tools that OpenAI runs.
LOGPROBS, THOUGHTS = "message.output_text.logprobs", "reasoning.encrypted_content"
BETWEEN = "__"  # the name of a namespace and that of its tool
LONGEST_NAME = 64

Item = dict[str, Any]


def flat_name(name: str, namespace: str) -> str:
    """The one name of a tool of a namespace, where tools have only that."""
    return f"{namespace}{BETWEEN}{name}"[-LONGEST_NAME:] if namespace else name


def thought_items(details: Sequence[Any]) -> Iterator[Item]:
    """The reasoning items whose blocks of thought `details` are. Blocks that another format made are left out."""
    found: dict[str, Item] = {}
    for detail in whole_thoughts(details):
        if detail.get("format") != THOUGHT_FORMAT:
            continue
        name = str(detail.get("id") or "")
        item = found.setdefault(name, {"type": "reasoning", **({"id": name} if name else {}), "summary": []})
        if detail["type"] == "reasoning.encrypted":
            item["encrypted_content"] = detail.get("data") or ""
        elif detail.get("summary"):
            item["summary"].append({"type": "summary_text", "text": detail["summary"]})
    # Without its sealed content an item would have to be looked up at the provider, which stores none.
    yield from (item for item in found.values() if item.get("encrypted_content"))


def details_of(item: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The blocks of thought of a reasoning item. `thought_items` makes the item of them again."""
    about = {"format": THOUGHT_FORMAT, "id": str(item.get("id") or "")}
    if not item.get("encrypted_content"):
        return ()
    summary = [str(part.get("text") or "") for part in item.get("summary") or () if isinstance(part, dict)]
    return (
        *({"type": "reasoning.summary", "summary": text, **about} for text in summary if text),
        {"type": "reasoning.encrypted", "data": str(item["encrypted_content"]), **about},
    )
