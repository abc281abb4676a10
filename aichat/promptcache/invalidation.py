"""The versions of everything that can be invalidated, in memory, and the function that changes them.

A version is the ID of a target's latest `Invalidation`, or nothing. Each process reads the table again when its copy is
half a second old; with Redis it also sees the latest version with every look into the cache, and reads at once when
that is news to it. So an invalidation costs one row, whatever is stored, and holds everywhere within a second.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from aichat.core.admin import audit_log
from aichat.core.database import executor, transactions
from aichat.core.telemetry import tracing
from aichat.promptcache import store
from aichat.promptcache.models import Invalidation

logger = logging.getLogger(__name__)
FRESH_SECONDS = 0.5
CLOCKS_APART = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Versions:
    """The version of each (scope, target). `latest` is the newest of all, as other processes announce it."""

    known: Mapping[tuple[str, str], str]
    latest: str = ""

    def of(self, scope: str, target: str) -> str:
        return self.known.get((scope, target), "")


_lock = threading.Lock()
_loaded = Versions({})
_loaded_at = float("-inf")
_changes = _loaded_changes = 0  # of this process: how many there were, and how many what is in memory knows of


async def ready(announced: str = "") -> Versions:
    """The current versions; `announced` is the latest version that another process announced."""
    if announced > _loaded.latest:
        return await executor.run(_current, announced)
    return _loaded if _are_fresh() else await _reload()


def _are_fresh() -> bool:
    return _loaded_changes == _changes and time.monotonic() - _loaded_at <= FRESH_SECONDS


def _current(announced: str) -> Versions:
    with _lock:
        if not _are_fresh() or announced > _loaded.latest:  # nobody else read them meanwhile
            _read(announced)
        return _loaded


_reload = executor.Shared(lambda: _current(""))


def _read(announced: str) -> None:
    """Read the versions. Rows older than PROMPT_CACHE_TTL do not matter: no answer that old is served."""
    global _loaded, _loaded_at, _loaded_changes
    started, changes = time.monotonic(), _changes
    since = timezone.now() - timedelta(seconds=settings.PROMPT_CACHE_TTL) - CLOCKS_APART
    known: dict[tuple[str, str], str] = {}
    counts: Counter[tuple[str, str]] = Counter()
    latest = max(announced, _loaded.latest)
    rows = Invalidation.objects.filter(created_at__gte=since).order_by("id").values_list("scope", "target", "id")
    for scope, target, row_id in rows:
        counts[scope, target] += 1
        # With their number, because the clocks of two hosts may give the later row the lower ID.
        known[scope, target] = f"{counts[scope, target]}:{row_id}"
        latest = max(latest, str(row_id))
    _loaded = Versions(known, latest)
    _loaded_at, _loaded_changes = started, changes


def forget() -> None:
    """Make the next `ready` read the database."""
    global _changes
    _changes += 1


def invalidate(scope: str, target: str = "", *, actor: Any = None) -> Invalidation:
    """End the use of the target's answers made until now. With an `actor` the audit log gets an entry."""
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
