"""Makes the body of a chat completion as one server takes it, and changes it when the server refuses a part."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aichat.providers.base import ChatRequest, content_parts, custom_tools
from aichat.providers.errors import AttemptOutcome, ProviderError
from aichat.providers.openai.profiles import ESSENTIAL, LIMITS, TUNING, Profile

THOUGHTS = ("reasoning_content", "reasoning_details")
PICTURES_OF_A_TOOL = "The pictures of the tool's result:"


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from the profile after the server refused a request. Empty at the first try."""

    limit: str = ""
    without: frozenset[str] = frozenset()


NO_CHANGES = Changes()


@dataclass(frozen=True, slots=True)
class Body:
    """A request's JSON body, and the names of the client's parameters that are not in it."""

    json: dict[str, Any]
    dropped: tuple[str, ...]


def build(request: ChatRequest, profile: Profile, changes: Changes = NO_CHANGES) -> Body:
    """The body for a server of a profile."""
    if "reasoning_content" in changes.without:
        profile = replace(profile, reasoning=(), reasoning_details=False)
    sent = {name for name in request.parameters if profile.knows(name) and name not in changes.without}
    body: dict[str, Any] = {
        "model": request.model,
        "messages": list(messages(request.messages, profile)),
        changes.limit or profile.limit_name(request.model): request.max_tokens,
    }
    for name in request.parameters:
        if name in sent:
            body[profile.renamed.get(name, name)] = parameter(name, request.parameters[name], profile)
    if request.stream:
        body["stream"] = True
        if profile.stream_options and "stream_options" not in changes.without:
            body["stream_options"] = {"include_usage": True}
    return Body(body, tuple(name for name in request.parameters if name not in sent))


def parameter(name: str, value: Any, profile: Profile) -> Any:
    if name == "tool_choice" and isinstance(value, str):
        return profile.tool_choices.get(value, value)
    return value


def obstacle(chat: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], profile: Profile) -> str | None:
    """The field of a request that a server of this profile can't honour, if there is one."""
    for kind, is_known in (("file", profile.files), ("input_audio", profile.audio)):
        if not is_known and content_parts(chat, kind):
            return "messages"
    if not profile.image_addresses and any(
        not part["image_url"]["url"].startswith("data:") for part in content_parts(chat, "image_url")
    ):
        return "messages"
    if not profile.custom_tools and (name := custom_tools(chat, parameters)):
        return name
    unknown = [name for name in ESSENTIAL if parameters.get(name) and not profile.knows(name)]
    if unknown:
        return unknown[0]
    if not profile.forced_calls and parameters.get("tool_choice") not in (None, "auto", "none"):
        return "tool_choice"
    return None


# --- Messages ---------------------------------------------------------------------------------------------------------


def messages(chat: Sequence[Mapping[str, Any]], profile: Profile) -> Iterator[dict[str, Any]]:
    """The messages as a server of the profile takes them.

    A tool's message has text alone in OpenAI's format: its pictures follow in a message of the user's, behind the
    results of all parallel calls.
    """
    pictures: list[dict[str, Any]] = []
    for message in chat:
        if pictures and message["role"] != "tool":
            yield picture_message(pictures)
            pictures = []
        if message["role"] == "tool" and isinstance(message.get("content"), list):
            pictures += content_parts([message], "image_url")
        yield one_message(message, profile)
    if pictures:
        yield picture_message(pictures)


def picture_message(pictures: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": PICTURES_OF_A_TOOL}, *pictures]}


def one_message(message: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    found = {name: value for name, value in message.items() if name not in THOUGHTS}
    if found["role"] == "developer" and not profile.developer_role:
        found["role"] = "system"
    if isinstance(found.get("content"), list):
        found["content"] = content(found["content"], found["role"], profile)
    if found.get("tool_calls"):
        found["tool_calls"] = [tool_call(call, profile) for call in found["tool_calls"]]
    if not profile.extra_content:
        found.pop("extra_content", None)
    if profile.call_id_length and found.get("tool_call_id"):
        found["tool_call_id"] = call_id(found["tool_call_id"], profile.call_id_length)
    return found | thoughts(message, profile)


def thoughts(message: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """The thoughts of an earlier answer that the client sent back, as the server takes them."""
    found = {}
    if message.get("reasoning_content"):
        found = dict.fromkeys(profile.reasoning, message["reasoning_content"])
    if profile.reasoning_details and message.get("reasoning_details"):
        found["reasoning_details"] = message["reasoning_details"]
    return found


def content(parts: list[dict[str, Any]], role: str, profile: Profile) -> Any:
    if role == "tool":
        parts = [part for part in parts if part.get("type") != "image_url"] or [{"type": "text", "text": ""}]
    if profile.joins_text and all(part.get("type") == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def tool_call(call: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    found = {name: value for name, value in call.items() if profile.extra_content or name != "extra_content"}
    if profile.call_id_length:
        found["id"] = call_id(found["id"], profile.call_id_length)
    return found


def call_id(given: str, length: int) -> str:
    """An ID of `length` letters and digits: the given ID if it is one, else one that is always made of the given ID."""
    if len(given) == length and given.isalnum() and given.isascii():
        return given
    return hashlib.sha256(given.encode()).hexdigest()[:length]


# --- After a refusal --------------------------------------------------------------------------------------------------


def changes_after(error: ProviderError, request: ChatRequest, body: Body, before: Changes) -> Changes | None:
    """The changes with which a refused request may pass; None when there are none.

    The parameter of the longest answer gets its other name, and members that we added (`stream_options`, the thoughts of
    earlier answers) are left out. A parameter of the client's is left out only if it merely tunes the answer, and only
    with `may_drop`.
    """
    if error.outcome not in (AttemptOutcome.INVALID_REQUEST, AttemptOutcome.UNSUPPORTED):
        return None
    limit = next(name for name in LIMITS if name in body.json)
    if not before.limit and names(error, limit) and _is_about_the_name(error, limit):
        return replace(before, limit=LIMITS[limit])
    ours = [name for name in ("stream_options", "reasoning_content") if name not in before.without]
    tuning = [name for name in request.parameters if name in TUNING and name in body.json and request.may_drop]
    for name in (*ours, *tuning):
        if names(error, name) and (name in tuning or _is_sent(name, body)):
            return replace(before, without=before.without | {name})
    return None


def names(error: ProviderError, name: str) -> bool:
    """Whether an error names a field: as its `param`, or in its words."""
    return error.param == name or re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", str(error)) is not None


def _is_about_the_name(error: ProviderError, limit: str) -> bool:
    """Whether the server refuses the limit's name, not its value. A server that ignores the other name has no limit then."""
    return names(error, LIMITS[limit]) or error.outcome is AttemptOutcome.UNSUPPORTED


def _is_sent(name: str, body: Body) -> bool:
    return name in body.json or any(name in message for message in body.json["messages"])
