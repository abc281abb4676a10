"""The profiles of OpenAI-compatible servers: what each kind of server can't take, or names otherwise than OpenAI does.

A profile is data: the adapter reads its values and knows no server's name. The profile of a server is the one that its
provider's row names, else the first whose host is in `base_url`, else `generic`; a row may override single values.
`docs/PROVIDERS.md` is written from this table. The sources stand beside the profiles (November 2026).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from aichat.providers.base import Endpoint

# The parameters of clients that are passed on. All others stay here: OpenAI answers an unknown parameter with 400, and one
# that chooses another model, tier or paid tool (`models`, `service_tier`, `web_search_options`) would be billed to us at
# another price.
COMMON = frozenset(
    {
        "frequency_penalty", "logit_bias", "logprobs", "parallel_tool_calls", "presence_penalty", "reasoning_effort",
        "response_format", "seed", "stop", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user",
    }
)  # fmt: skip
OPENAIS_OWN = frozenset({"metadata", "prediction", "prompt_cache_key", "safety_identifier", "store", "verbosity"})
SAMPLING = frozenset({"chat_template_kwargs", "min_p", "repetition_penalty", "top_k"})
# Parameters that only tune an answer. For a model that the client did not name, an answer without them is better than none.
TUNING = frozenset(
    {
        "frequency_penalty", "logit_bias", "metadata", "min_p", "parallel_tool_calls", "prediction", "presence_penalty",
        "prompt_cache_key", "reasoning_effort", "repetition_penalty", "safety_identifier", "seed", "store",
        "temperature", "top_k", "top_p", "user", "verbosity",
    }
)  # fmt: skip
# Parameters without which the answer is another one: a server that does not know them can't serve the request.
ESSENTIAL = {"tools", "response_format", "stop"}

BY_MODEL = "by model"
LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# OpenAI's reasoning models refuse `max_tokens`, wherever they are served:
# https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning
REASONING_MODEL = re.compile(r"(?:^|[/._:-])(?:gpt-(?:[5-9]|[1-9]\d)|o[1-9])(?![0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The quirks of one kind of server.

    - `hosts`: ends of the host names, or `:port`s, by which the server is known.
    - `limit`: the name of the longest answer, or `BY_MODEL`.
    - `stream_options`: whether a stream may be asked for its usage.
    - `developer_role`: whether the role `developer` is known; `system` is sent instead.
    - `joins_text`: whether content of text parts alone goes as one string.
    - `reasoning`: the names under which the thoughts of an earlier answer go back; `reasoning_details`: whether these do.
    - `extra_content`: whether Google's thought signatures may be sent.
    - `parameters`: those passed on; `renamed`: other names of some; `tool_choices`: other words for `tool_choice`.
    - `forced_calls`: whether a call can be asked for (`tool_choice` other than `auto` and `none`).
    - `files`, `audio`, `image_addresses`: whether files, sound, and pictures at an `https:` address can be sent.
    - `call_id_length`: how long a tool call's ID must be, in letters and digits; 0: any ID will do.
    - `custom_tools`: whether tools whose input is free text can be offered.
    - `responses`: whether the server speaks Responses too, which then serves what came in that dialect.
    """

    hosts: tuple[str, ...] = ()
    limit: str = BY_MODEL
    stream_options: bool = True
    developer_role: bool = False
    joins_text: bool = True
    reasoning: tuple[str, ...] = ("reasoning_content",)
    reasoning_details: bool = False
    extra_content: bool = True
    parameters: frozenset[str] = COMMON
    renamed: Mapping[str, str] = field(default_factory=dict)
    tool_choices: Mapping[str, str] = field(default_factory=dict)
    forced_calls: bool = True
    files: bool = False
    audio: bool = False
    image_addresses: bool = True
    call_id_length: int = 0
    custom_tools: bool = False
    responses: bool = False

    def limit_name(self, model: str) -> str:
        """The name of the longest answer for a model as its server calls it."""
        if self.limit != BY_MODEL:
            return self.limit
        return "max_completion_tokens" if REASONING_MODEL.search(model) else "max_tokens"

    def knows(self, name: str) -> bool:
        return name in self.parameters


PROFILES = {
    # https://platform.openai.com/docs/api-reference/chat/create
    "openai": Profile(
        hosts=("api.openai.com",),
        limit="max_completion_tokens",
        developer_role=True,
        joins_text=False,
        reasoning=(),
        extra_content=False,
        parameters=COMMON | OPENAIS_OWN,
        files=True,
        audio=True,
        custom_tools=True,
        responses=True,
    ),
    # https://learn.microsoft.com/azure/ai-foundry/openai/reference
    "azure": Profile(
        hosts=(".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".azure-api.net"),
        joins_text=False,
        reasoning=(),
        extra_content=False,
        parameters=COMMON | OPENAIS_OWN,
        files=True,
        audio=True,
        custom_tools=True,
    ),
    # https://api-docs.deepseek.com/api/create-chat-completion and .../guides/thinking_mode: in a loop of tool calls the
    # thoughts must go back.
    "deepseek": Profile(
        hosts=("api.deepseek.com",),
        limit="max_tokens",
        parameters=COMMON - {"logit_bias", "parallel_tool_calls", "seed", "user"},
    ),
    # https://docs.mistral.ai/api: unknown members are a 422, and a call's ID has nine letters or digits.
    "mistral": Profile(
        hosts=("api.mistral.ai",),
        limit="max_tokens",
        stream_options=False,
        reasoning=(),
        extra_content=False,
        parameters=COMMON - {"logit_bias", "logprobs", "top_logprobs", "user"} | {"prediction"},
        renamed={"seed": "random_seed"},
        tool_choices={"required": "any"},
        audio=True,
        call_id_length=9,
    ),
    # https://console.groq.com/docs/openai
    "groq": Profile(
        hosts=("api.groq.com",),
        limit="max_completion_tokens",
        reasoning=("reasoning",),
        extra_content=False,
        parameters=COMMON - {"logit_bias", "logprobs", "top_logprobs"},
    ),
    # https://docs.x.ai/docs/api-reference#chat-completions
    "xai": Profile(hosts=("api.x.ai",), limit="max_completion_tokens", parameters=COMMON - {"logit_bias"}),
    # https://openrouter.ai/docs/api-reference/overview and .../use-cases/reasoning-tokens
    "openrouter": Profile(
        hosts=("openrouter.ai",),
        limit="max_tokens",
        reasoning=("reasoning",),
        reasoning_details=True,
        parameters=COMMON | {"min_p", "prediction", "repetition_penalty", "top_k", "verbosity"},
        files=True,
        audio=True,
    ),
    # https://docs.ollama.com/api/openai-compatibility
    "ollama": Profile(
        hosts=(":11434", "ollama.com"),
        limit="max_tokens",
        reasoning=("reasoning",),
        parameters=COMMON - {"logit_bias", "parallel_tool_calls", "tool_choice", "user"},
        forced_calls=False,
        image_addresses=False,
    ),
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server: `reasoning` since 0.12, `reasoning_content` before
    "vllm": Profile(reasoning=("reasoning", "reasoning_content"), parameters=COMMON | SAMPLING, audio=True),
    # https://github.com/ggml-org/llama.cpp/tree/master/tools/server
    "llamacpp": Profile(limit="max_tokens", parameters=COMMON | SAMPLING, audio=True),
    # https://platform.moonshot.ai/docs/api/chat
    "kimi": Profile(
        hosts=("api.moonshot.ai", "api.moonshot.cn"),
        limit="max_tokens",
        parameters=COMMON - {"logit_bias", "logprobs", "parallel_tool_calls", "seed", "top_logprobs", "user"},
        forced_calls=False,
    ),
    # Any other server gets the parameters that most servers take. A parameter that a 400 names is mended once.
    "generic": Profile(
        reasoning_details=True,
        parameters=COMMON | SAMPLING,
        files=True,
        audio=True,
    ),
}
NAMES = tuple(PROFILES)
GENERIC = "generic"


def profile_name(endpoint: Endpoint, default: str = "") -> str:
    """The name of a server's profile: as the provider's row says, else `default`, else by its address."""
    if endpoint.profile in PROFILES:
        return endpoint.profile
    return default or name_by_address(endpoint.base_url)


@lru_cache
def name_by_address(base_url: str) -> str:
    """The name of the profile whose host or port an address has; `generic` when no profile has it."""
    parts = urlsplit(base_url)
    host = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    for name, profile in PROFILES.items():
        for end in profile.hosts:
            if host.endswith(end) if end.startswith(":") else _is_of(parts.hostname or "", end):
                return name
    return GENERIC


def _is_of(host: str, end: str) -> bool:
    return host == end or host.endswith(end if end.startswith(".") else f".{end}")


def profile_of(endpoint: Endpoint, default: str = "") -> Profile:
    """A server's profile with what its provider's row overrides."""
    return _overridden(profile_name(endpoint, default), endpoint.quirks)


@lru_cache
def _overridden(name: str, quirks: tuple[tuple[str, Any], ...]) -> Profile:
    return replace(PROFILES[name], **dict(quirks)) if quirks else PROFILES[name]


# --- Overrides of a provider's row ------------------------------------------------------------------------------------

# How an operator writes each: name, kind and meaning; `aichat/core/admin/row_fields.py` has the kinds.
QUIRKS = (
    ("limit", "choice", "The name of the longest answer."),
    ("stream_options", "yes", "A stream may be asked for its usage."),
    ("developer_role", "yes", "The role developer is known; else system is sent."),
    ("joins_text", "yes", "Content of text parts alone goes as one string."),
    ("reasoning", "names", "The names under which thoughts of an earlier answer go back."),
    ("reasoning_details", "yes", "The details of thoughts go back too."),
    ("extra_content", "yes", "Google's thought signatures may be sent."),
    ("parameters", "names", "The parameters that are passed on: all of them, not only others than the profile's."),
    ("renamed", "pairs", "Other names of parameters, as seed: random_seed."),
    ("tool_choices", "pairs", "Other words for tool_choice, as required: any."),
    ("forced_calls", "yes", "A call can be asked for."),
    ("files", "yes", "Files can be sent."),
    ("audio", "yes", "Sound can be sent."),
    ("image_addresses", "yes", "Pictures at an https address can be sent."),
    ("call_id_length", "number", "How long a tool call's ID must be; 0: any will do."),
)

OVERRIDABLE = tuple(item.name for item in fields(Profile) if item.name != "hosts")


def read_quirks(value: Any) -> tuple[tuple[str, Any], ...]:
    """A JSON object of overrides as an `Endpoint` carries it. Raises `ValueError` that says what to write instead."""
    if not isinstance(value, dict):
        raise ValueError('Write an object such as {"limit": "max_completion_tokens", "stream_options": false}.')
    return tuple((name, _read_quirk(name, item)) for name, item in sorted(value.items()))


def _read_quirk(name: str, value: Any) -> Any:
    if name not in OVERRIDABLE:
        raise ValueError(f"{name!r} is no quirk: there are {', '.join(OVERRIDABLE)}.")
    if name == "limit":
        if value not in (*LIMITS, BY_MODEL):
            raise ValueError(f"limit is one of {', '.join((*LIMITS, BY_MODEL))}.")
        return value
    if name in {"reasoning", "parameters"}:
        if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise ValueError(f"{name} is a list of names.")
        return frozenset(value) if name == "parameters" else tuple(value)
    if name in {"renamed", "tool_choices"}:
        if not (isinstance(value, dict) and all(isinstance(item, str) for item in value.values())):
            raise ValueError(f"{name} is an object of names.")
        return FrozenNames(value)
    kind = int if name == "call_id_length" else bool
    if type(value) is not kind or value < 0:
        raise ValueError(f"{name} is {'a number from 0' if kind is int else 'true or false'}.")
    return value


class FrozenNames(dict[str, str]):
    """A dictionary of names that has a hash, so that it can be part of a cache's key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))
