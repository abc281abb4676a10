"""Measurements for every monitoring system: code notes each once, exporters (StatsD, Prometheus) register for all.

    measurements.note(measurements.AttemptEnded(kind="chat", provider="openai", …))

Labels have few values, known beforehand: routes instead of paths, no users, no request IDs.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEnded:
    """One HTTP request. `route` is the URL conf's pattern, empty where none was found; `status` 499: the client left."""

    method: str
    route: str
    status: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """One candidate's turn in a chat (`kind` chat) or image job (`image`), told after the commit that settles it.

    `outcome` is the usage record's status: ok, partial, cancelled, or how it failed. `final`: the attempt that ended its
    request, and carries the charge in microcredits.
    """

    kind: str
    provider: str
    model: str
    outcome: str
    final: bool
    seconds: float
    first_token_seconds: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    images: int = 0
    charged: int = 0
    cached: bool = False
    fallback: bool = False
    source: str = "EXACT"  # of the figures: the usage record's


Measurement = RequestEnded | AttemptEnded
Listener = Callable[[Measurement], None]
_listeners: list[Listener] = []


def register(listener: Listener) -> None:
    """Add a listener, once at start (`AppConfig.ready`). The listener must return at once: every request waits for it."""
    _listeners.append(listener)


def note(measurement: Measurement) -> None:
    """Give the measurement to every listener; a listener's error is logged, never raised."""
    for listener in _listeners:
        try:
            listener(measurement)
        except Exception:
            logger.exception("measurement listener failed")
