"""The cache key: a digest of everything an answer depends on. Requests with equal digests may share an answer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson
from django.conf import settings

from accounts.authentication import Caller
from aichat.catalog.snapshot import ModelInfo
from aichat.promptcache.invalidation import Versions
from aichat.promptcache.models import Invalidation

Scope = Invalidation.Scope
SCHEMA = 1  # of the digest: another one leaves everything stored behind
# Parameters that are sent upstream and have no effect on what the model writes.
NEUTRAL = {"metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user"}
SYSTEM_ROLES = {"system", "developer"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Those parts of a request on which its answer depends, and the caller. `variant`: experiment and variant names."""

    caller: Caller
    route: Sequence[ModelInfo]
    messages: Sequence[Mapping[str, Any]]
    max_tokens: int
    parameters: Mapping[str, Any]
    variant: Sequence[str] = ()

    @property
    def prompt(self) -> str:
        system = system_prompt(self.messages)
        return prompt_version(system) if system else ""

    def digest(self, versions: Versions, route: Sequence[ModelInfo] = ()) -> str:
        """The cache key of the question under its own route or another. The prompt can't be read from it."""
        models = route or self.route
        facts = [
            SCHEMA,
            settings.PROMPT_CACHE_SCOPE,
            self.tenant,
            self.variant,
            [_facts_of(model) for model in models],
            self.invalidations(models, versions) if versions.known else [],
            self.max_tokens,
            {name: value for name, value in self.parameters.items() if name not in NEUTRAL},
            [normalised(message) for message in self.messages],
        ]
        return blake2b(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS), digest_size=20).hexdigest()

    def invalidations(self, models: Iterable[ModelInfo], versions: Versions) -> list[tuple[str, str, str]]:
        """The versions of the targets that were invalidated: each new version changes the digest."""
        return [(*target, version) for target in self.targets(models) if (version := versions.of(*target))]

    @property
    def tenant(self) -> str:
        """Whose stored answers the caller may get, as PROMPT_CACHE_SCOPE says; empty: everybody's."""
        match settings.PROMPT_CACHE_SCOPE:
            case "global":
                return ""
            case "user":
                return f"{self.caller.organization.pk}:{self.caller.user.pk}"
            case _:
                return str(self.caller.organization.pk)

    def targets(self, models: Iterable[ModelInfo]) -> Iterable[tuple[str, str]]:
        """The (scope, target) pairs whose invalidation ends the use of the answer."""
        yield Scope.ALL, ""
        yield Scope.ORGANIZATION, str(self.caller.organization.pk)
        yield Scope.USER, str(self.caller.user.pk)
        yield Scope.PROMPT, self.prompt
        for model in models:
            yield Scope.MODEL, model.slug


def prompt_version(system: str) -> str:
    """A short name for a system prompt; empty without one."""
    return blake2b(system.encode("utf-8", "replace"), digest_size=8).hexdigest() if system else ""


def system_prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    texts = [text_of(message.get("content")) for message in messages if message["role"] in SYSTEM_ROLES]
    return "\n\n".join(filter(None, texts))


def text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    return content or ""


def normalised(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message without differences a model does not see: one text part is its text, null members are left out."""
    content = message.get("content")
    if isinstance(content, list) and len(content) == 1 and content[0].get("type") == "text":
        content = content[0]["text"]
    elif None not in message.values():
        return message
    return {name: value for name, value in {**message, "content": content}.items() if value is not None}


_known: dict[str, tuple[ModelInfo, str]] = {}


def _facts_of(model: ModelInfo) -> str:
    """A digest of the model's upstream name, address and price: after a change, stored answers are not found."""
    found = _known.get(model.slug)
    if found is None or found[0] is not model:  # a catalog read anew is made of new objects
        provider = model.provider
        facts = (model.slug, model.upstream_name, provider.slug, provider.kind, provider.endpoint.base_url, model.rates)
        found = _known[model.slug] = model, blake2b(orjson.dumps(facts), digest_size=10).hexdigest()
    return found[1]
