"""Questions about flags, answered from memory in microseconds.

    from aichat.flags import evaluation

    if evaluation.is_enabled("new_greeting", caller): ...
    evaluation.require("streaming", caller)  # raises FeatureDisabled (403)

Code on the event loop awaits `evaluation.ready()` first. Every process keeps the rules in a `Snapshot`, so it sees a
change within a second, with or without Redis. A question is decided in this order: a test's override, the environment
(`FLAG_<KEY>`), the row, the default.
"""

import logging
import time
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext

from aichat.core.errors import PermissionDenied
from aichat.core.snapshot import Snapshot
from aichat.core.telemetry import product_events
from aichat.flags.features import SWITCHES
from aichat.flags.models import Experiment, Flag
from aichat.flags.rules import ExperimentRule, FlagRule, Rules, Subject, Treatment, subject_of

logger = logging.getLogger(__name__)


class FeatureDisabled(PermissionDenied):
    """The error 403 for a feature that is switched off, for everybody or for the caller."""

    def __init__(self, feature: str) -> None:
        text = gettext("The feature '%(feature)s' is switched off at the moment.")
        super().__init__(text % {"feature": feature}, feature=feature, reason="feature_disabled")


def is_enabled(key: str, who: Any = None) -> bool:
    """Whether the flag is on for `who`: a `Caller`, a `User`, or None for nobody in particular.

    A flag without a row is off, which is logged once; the product's own switches are on by default.
    """
    on = _is_on(key, who)
    if key not in SWITCHES:
        _exposed(subject_of(who), key, "on" if on else "off")
    return on


def _is_on(key: str, who: Any) -> bool:
    if (_in_tests or settings.FLAG_OVERRIDES) and (decided := forced(key)) is not None:
        return decided
    rule = current().flags.get(key)
    if rule is None:
        return key in SWITCHES or _unknown(key)
    return rule.enabled if rule.is_for_everybody else rule.is_on(subject_of(who), time.time())


_exposures = product_events.OncePerPeriod(86_400)


def _exposed(who: Subject, key: str, variant: str) -> None:
    """Emit `FlagExposed`, once a day for a user and a decision. The product's own switches emit nothing."""
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
    return found.name if found else None  # a question of lists such as `states`: the user is not exposed to the variant


def treatment(who: Any, model: str, conversation: UUID | None = None) -> Treatment:
    """The treatment of a chat of `who` that asked for `model`, by the experiments."""
    subject = subject_of(who)
    found = current().treatment(subject, model, conversation, time.time(), lambda key: forced(key) is False)
    if found.experiment:
        _exposed(subject, found.experiment, found.variant)
    return found


def states(who: Any) -> dict[str, dict[str, Any]]:
    """The state of every flag and every running experiment for `who`, by key."""
    rules = current()
    found: dict[str, dict[str, Any]] = {
        key: {"enabled": _is_on(key, who), "variant": None} for key in sorted({*SWITCHES, *rules.flags})
    }
    for key in rules.experiments:
        name = variant(key, who)
        found[key] = {"enabled": name is not None, "variant": name}
    return found


# --- Overrides by the environment and by tests ------------------------------------------------------------------------

_in_tests: dict[str, bool] = {}
_warned: set[str] = set()


def forced(key: str) -> bool | None:
    """The override of the flag by a test or by the environment, None without one. It wins over the row."""
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


_rules: Snapshot[Rules] = Snapshot("the flags", _read, empty=Rules(flags={}, experiments={}))
# `await ready()` on the event loop, `current()` elsewhere; who changes a flag calls `forget()` in their process.
current, ready, forget = _rules.current, _rules.ready, _rules.forget
