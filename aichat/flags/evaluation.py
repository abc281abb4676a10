"""Questions about flags, answered from memory in microseconds.

    from aichat.flags import flags

    if flags.is_enabled("new_greeting", caller): ...
    flags.require("streaming", caller)  # raises FeatureDisabled (403)

Async code awaits `flags.ready()` first; for a second after that, answers come from memory for certain. Every process
reads the rules again when they are older than a second or so, and thus sees a change without Redis. What is asked is
decided in this order: a test's override, the environment (`FLAG_<KEY>`), the row, the default.
"""

import asyncio
import logging
import threading
import time
from typing import Any
from uuid import UUID

from django.conf import settings

from aichat.core.database import executor
from aichat.core.errors import PermissionDenied
from aichat.core.telemetry import product_events
from aichat.flags.features import SWITCHES
from aichat.flags.models import Experiment, Flag
from aichat.flags.rules import NOTHING, ExperimentRule, FlagRule, Rules, Subject, Treatment, subject_of

logger = logging.getLogger(__name__)
# `ready` reads rules older than this …
FRESH_SECONDS = 0.5
# … and any question those older than this. In between, an event loop that awaited `ready` is never made to read.
STALE_SECONDS = 1.5


class FeatureDisabled(PermissionDenied):
    """403: the feature named by `feature` is switched off, for everybody or for the caller."""

    def __init__(self, feature: str) -> None:
        super().__init__(f"The feature {feature!r} is switched off at the moment.", feature=feature)


def is_enabled(key: str, who: Any = None) -> bool:
    """Whether the flag is on for `who`: a `Caller`, a `User`, or None for nobody in particular.

    A flag nobody knows is off, and says so once in the log; the product's own switches are on by default.
    """
    on = _is_on(key, who)
    if key not in SWITCHES:
        _exposed(subject_of(who), key, "on" if on else "off")
    return on


def _is_on(key: str, who: Any) -> bool:
    decided = forced(key)
    if decided is not None:
        return decided
    rule = current().flags.get(key)
    if rule is None:
        return key in SWITCHES or _unknown(key)
    return rule.is_on(subject_of(who), time.time())


_exposures = product_events.OncePerPeriod(86_400)


def _exposed(who: Subject, key: str, variant: str) -> None:
    """Something was decided for a user: told once a day. The product's own switches are no experiments: not told."""
    if who.user and _exposures.allows((who.user, key, variant)):
        product_events.emit(
            product_events.FlagExposed(user=who.user, organization=who.organization, flag=key, variant=variant)
        )


def require(key: str, who: Any = None) -> None:
    """Raises `FeatureDisabled` unless the flag is on for `who`."""
    if not is_enabled(key, who):
        raise FeatureDisabled(key)


def variant(key: str, who: Any, conversation: UUID | None = None) -> str | None:
    """The name of the variant `who` has in a running experiment, or None."""
    rule = current().experiments.get(key)
    if rule is None or forced(key) is False:
        return None
    found = rule.variant_for(subject_of(who), conversation, time.time())
    return found.name if found else None  # for looking, as `states` does: whom it meets is told by `treatment`


def treatment(who: Any, model: str, conversation: UUID | None = None) -> Treatment:
    """What experiments make of a chat of `who` that asked for `model`."""
    rules = current()
    if not rules.experiments and not rules.decided:
        return NOTHING
    subject = subject_of(who)
    found = rules.treatment(subject, model, conversation, time.time(), lambda key: forced(key) is False)
    if found.experiment:
        _exposed(subject, found.experiment, found.variant)
    return found


def states(who: Any) -> dict[str, dict[str, Any]]:
    """Every flag and every experiment under way, as it is for `who`."""
    rules = current()
    found: dict[str, dict[str, Any]] = {
        key: {"enabled": _is_on(key, who), "variant": None} for key in sorted({*SWITCHES, *rules.flags})
    }
    for key in rules.experiments:
        name = variant(key, who)
        found[key] = {"enabled": name is not None, "variant": name}
    return found


# --- What the environment and tests say -------------------------------------------------------------------------------

_in_tests: dict[str, bool] = {}
_warned: set[str] = set()


def forced(key: str) -> bool | None:
    """What a test or the environment says of the flag, whatever its row says."""
    if key in _in_tests:
        return _in_tests[key]
    if not settings.FLAG_OVERRIDES:
        return None
    decided: bool | None = settings.FLAG_OVERRIDES.get(key.lower().replace("-", "_").replace(".", "_"))
    return decided


def _unknown(key: str) -> bool:
    if key not in _warned:
        _warned.add(key)
        logger.warning("there is no flag %r: it is off", key)
    return False


# --- The rules in memory ----------------------------------------------------------------------------------------------

_lock = threading.Lock()
_loaded = Rules(flags={}, experiments={})
_loaded_at = float("-inf")
_changes = _loaded_changes = 0  # of this process: how many there were, and how many the rules in memory know of


def current(max_age: float = STALE_SECONDS) -> Rules:
    """The rules, at most `max_age` seconds old. Reads the database when older, except on an event loop.

    There `ready` has read them a moment ago, and what somebody changes in between holds from the next `ready` on.
    """
    global _loaded, _loaded_at, _loaded_changes
    if not _are_fresh(max_age) and not _on_event_loop():
        with _lock:
            if not _are_fresh(max_age):
                started, changes = time.monotonic(), _changes
                _loaded = _read()
                _loaded_at, _loaded_changes = started, changes
    return _loaded


def _are_fresh(max_age: float) -> bool:
    return _loaded_changes == _changes and time.monotonic() - _loaded_at < max_age


def _on_event_loop() -> bool:
    return asyncio._get_running_loop() is not None


_reload = executor.Shared(lambda: current(FRESH_SECONDS))


async def ready() -> None:
    """Makes sure that the questions above can be asked on the event loop, for a second from now."""
    if not _are_fresh(FRESH_SECONDS):
        await _reload()


def forget() -> None:
    """Read the database at the next question: whoever changes a flag calls this for their own process."""
    global _changes
    _changes += 1


def _read() -> Rules:
    flags = {row.key: FlagRule(row.key, row.enabled, row.audience()) for row in Flag.objects.all()}
    experiments: dict[str, ExperimentRule] = {}
    decided = []
    for row in Experiment.objects.exclude(status=Experiment.Status.DRAFT).order_by("ended_at", "key"):
        if row.is_under_way:
            experiments[row.key] = row.rule()
        elif row.winner:
            decided.append(row.rule())
    return Rules(flags, dict(sorted(experiments.items())), tuple(decided))
