"""The versions of all targets of invalidation, in memory; and `invalidate`, which adds one.

The version of a target (a model, a user …) is the number and ID of its latest `Invalidation`, or nothing. Each process
keeps the versions in a `Snapshot`, so it sees a new one within a second. With Redis, every look into the cache also
returns the newest version that any process announced, and a process that does not know that version reads at once. So
an invalidation costs one row, whatever is stored.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from aichat.core.admin import audit_log
from aichat.core.database import transactions
from aichat.core.snapshot import Snapshot
from aichat.core.telemetry import tracing
from aichat.promptcache import store
from aichat.promptcache.models import Invalidation

logger = logging.getLogger(__name__)
CLOCKS_APART = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions by scope and target. `latest` is the ID of the newest invalidation, as processes announce it."""

    known: Mapping[tuple[str, str], str]
    latest: str = ""

    def of(self, scope: str, target: str) -> str:
        return self.known.get((scope, target), "")


_announced = ""  # the newest version that any process has announced to this one


async def ready(announced: str = "") -> Versions:
    """The versions, at most a second old. `announced` is the newest version that another process was seen to have."""
    global _announced
    if announced > max(_announced, _versions.value.latest):
        _announced = announced
        return await _versions.newly_read()
    return await _versions.ready()


def _read() -> Versions:
    """Read the versions. Rows older than PROMPT_CACHE_TTL no longer matter: no stored answer is as old."""
    since = timezone.now() - timedelta(seconds=settings.PROMPT_CACHE_TTL) - CLOCKS_APART
    known: dict[tuple[str, str], str] = {}
    counts: Counter[tuple[str, str]] = Counter()
    # An announced version counts as known even without its row (rolled back): else each request would look for it.
    latest = max(_announced, _versions.value.latest)
    rows = Invalidation.objects.filter(created_at__gte=since).order_by("id").values_list("scope", "target", "id")
    for scope, target, row_id in rows:
        counts[scope, target] += 1
        # With their number, because the clocks of two hosts may give the later row the lower ID.
        known[scope, target] = f"{counts[scope, target]}:{row_id}"
        latest = max(latest, str(row_id))
    return Versions(known, latest)


_versions: Snapshot[Versions] = Snapshot("the cache versions", _read, empty=Versions({}))
forget = _versions.forget


def invalidate(scope: str, target: str = "", *, actor: Any = None) -> Invalidation:
    """Declare stored answers out of date: no answer made until now is served again. An `actor` gets an audit entry."""
    row = transactions.run_atomic(_add, scope, target, actor)
    forget()
    store.announce(str(row.pk))
    logger.info("the prompt cache was invalidated: %s", row, extra={"scope": scope, "target": target})
    return row


def _add(scope: str, target: str, actor: Any) -> Invalidation:
    row = Invalidation.objects.create(scope=scope, target=target, actor=actor, request_id=tracing.request_id())
    if actor is not None:
        audit_log.record(actor, row, audit_log.ADDED, {"scope": (None, scope), "target": (None, target or None)})
    return row
