"""Chooses the provider's key for a call: keys take turns by weight, and a key that is refused or rate-limited rests.

The turns and rests are this process's own, so that no call waits for another machine to know them: each process learns
of a bad key by one failed call, which the next key makes good.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from django.conf import settings

from aichat.catalog import key_rests
from aichat.catalog.snapshot import KeyedEndpoint, ProviderInfo
from aichat.providers.base import Endpoint
from aichat.providers.errors import AttemptOutcome, ProviderError

logger = logging.getLogger(__name__)
T = TypeVar("T")
REFUSED_RESTS = 300.0  # seconds for which a refused key is left alone: somebody has to mend it
LONGEST_REST = 3600.0  # seconds, whatever a Retry-After says
RESTS_AFTER = {AttemptOutcome.AUTH_FAILURE, AttemptOutcome.RATE_LIMITED}
_rests: dict[str, float] = {}  # until when a key rests, in monotonic seconds, by its ID
_credit: dict[str, int] = {}  # by a key's ID, for the smooth weighted round robin: the key with the most is next


def ask(
    provider: ProviderInfo,
    call: Callable[[Endpoint], Awaitable[T]],
    *,
    is_begun: Callable[[], bool] = lambda: False,
) -> Awaitable[T]:
    """Call the provider with the key whose turn it is, and after a failure of the key at once with the next one.

    `is_begun` says whether a part of the answer has been delivered: then no other key may be asked. Raises the
    `ProviderError` of the last key that was tried.
    """
    return _ask_in_turns(provider, call, is_begun) if provider.keys else call(provider.endpoint)


async def _ask_in_turns(
    provider: ProviderInfo, call: Callable[[Endpoint], Awaitable[T]], is_begun: Callable[[], bool]
) -> T:
    tried: set[str] = set()
    while True:
        key = turn(provider.keys, tried)
        tried.add(key.id)
        try:
            answer = await call(key.endpoint)
        except ProviderError as error:
            if error.outcome not in RESTS_AFTER:
                raise
            await rest(provider, key, error)
            if is_begun() or not any(other.id not in tried and not is_resting(other) for other in provider.keys):
                raise
        else:
            _rests.pop(key.id, None)
            return answer


def turn(keys: tuple[KeyedEndpoint, ...], tried: set[str]) -> KeyedEndpoint:
    """The next key that does not rest and was not tried; when all rest, the one that rests least long.

    Smooth weighted round robin: weights 2 and 1 give A B A, A B A. https://github.com/nginx/nginx/commit/52327e0627f4
    """
    awake = [key for key in keys if key.id not in tried and not is_resting(key)]
    if not awake:
        return min(keys, key=lambda key: _rests.get(key.id, 0.0))
    for key in awake:
        _credit[key.id] = _credit.get(key.id, 0) + key.weight
    chosen = max(awake, key=lambda key: _credit[key.id])
    _credit[chosen.id] -= sum(key.weight for key in awake)
    return chosen


def is_resting(key: KeyedEndpoint) -> bool:
    return _rests.get(key.id, 0.0) > monotonic()


async def rest(provider: ProviderInfo, key: KeyedEndpoint, error: ProviderError) -> None:
    """Leave the key alone for a while, and tell the operator."""
    if error.outcome is AttemptOutcome.AUTH_FAILURE:
        seconds = REFUSED_RESTS
    else:
        seconds = min(max(error.retry_after or 0.0, settings.BREAKER_COOLDOWN), LONGEST_REST)
    _rests[key.id] = monotonic() + seconds
    facts = {"provider": provider.slug, "key": key.name, "outcome": error.outcome.value, "seconds": round(seconds)}
    logger.warning("the key %(key)s of %(provider)s rests for %(seconds)s s: %(outcome)s", facts, extra=facts)
    try:
        await asyncio.to_thread(key_rests.note, key.id, error.outcome.in_words, seconds)
    except Exception:
        logger.exception("the rest of a key could not be noted")


def forget() -> None:
    """Let every key be asked again (for tests)."""
    _rests.clear()
    _credit.clear()
