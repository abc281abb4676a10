"""Tells the catalog how the latest calls of models went: by circuit breakers, kept failures and usage records."""

import logging
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from django.core.cache import cache

from aichat.catalog.state import Health, Pair
from aichat.generation.circuit_breaker import Breaker
from aichat.providers.errors import AttemptOutcome
from aichat.usage.models import UsageRecord

logger = logging.getLogger(__name__)
MOST_ASKED = 5  # models whose later successes are looked for, so that a list has a bounded number of queries


def read(pairs: Collection[Pair]) -> dict[Pair, Health]:
    """The health of the models that are not well. Empty when the cache does not answer: nothing is known then."""
    breakers = {pair: Breaker(*pair) for pair in pairs}
    keys = [breaker.key(what) for breaker in breakers.values() for what in ("open", "failures", "error")]
    try:
        known: dict[str, Any] = cache.get_many(keys)
    except Exception:
        logger.exception("the health of the models can't be read")
        return {}
    found = {}
    for pair, breaker in breakers.items():
        breaker.open_until = float(known.get(breaker.key("open")) or 0)
        error = known.get(breaker.key("error"))
        if breaker.wait or error:
            found[pair] = _health(breaker, error)
    for pair in _recovered(found):
        del found[pair]
    return found


def _health(breaker: Breaker, error: dict[str, Any] | None) -> Health:
    if error is None:
        return Health(breaker.wait)
    words = AttemptOutcome(error["outcome"]).in_words
    said = f"{words} It said: {error['said']}" if error["said"] and error["said"] != error["outcome"] else words
    return Health(breaker.wait, said, datetime.fromtimestamp(error["at"], UTC))


def _recovered(found: dict[Pair, Health]) -> list[Pair]:
    """The models that have answered since their last failure; of many, those that failed last."""
    failed = [
        (health.failed_at, pair) for pair, health in found.items() if health.failed_at is not None and not health.wait
    ]
    recovered = []
    for failed_at, pair in sorted(failed, reverse=True)[:MOST_ASKED]:
        provider, model = pair
        later = UsageRecord.objects.filter(
            model=model, provider=provider, status=AttemptOutcome.OK, cached=False, created_at__gt=failed_at
        )
        if later.exists():
            recovered.append(pair)
    return recovered
