"""Renews the holds of generations that run long: a slow reader must not outlive the credits that pay for its stream."""

from time import monotonic
from uuid import UUID

from django.conf import settings

from aichat.core.background.repeating import Repeating
from aichat.core.database import executor
from credits.models import HoldRef
from credits.services import renew_holds

_in_use: dict[UUID, tuple[HoldRef, float]] = {}  # each hold, and the monotonic time from which it is valid for HOLD_TTL


def begin(hold: HoldRef) -> None:
    """Renew the hold from now on, until `end`."""
    _in_use[hold.id] = hold, monotonic()


def end(hold: HoldRef) -> None:
    _in_use.pop(hold.id, None)


async def renew() -> None:
    """Renew the holds in use that are past half of their time."""
    now = monotonic()
    ageing = [hold for hold, since in _in_use.values() if now - since > settings.HOLD_TTL / 2]
    if ageing:
        await executor.run(renew_holds, ageing)
        for hold in ageing:
            if hold.id in _in_use:
                _in_use[hold.id] = hold, now


loop = Repeating("the renewal of holds", renew, every=lambda: settings.HOLD_TTL / 6)
