"""Product events (signed up, chat completed, refused for credits …): code says what happened, sinks decide who hears.

`emit` never raises and never waits: a sink that is slow or broken can't touch a request.
"""

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)
Sink = Callable[[str, dict[str, Any]], None]
_sinks: list[Sink] = []


def register(sink: Sink) -> None:
    """Called once at start (`AppConfig.ready`); the sink must return at once."""
    _sinks.append(sink)


def emit(name: str, **facts: Any) -> None:
    """Tell every sink. Facts are identifiers and numbers, never message contents, e-mails or keys."""
    for sink in _sinks:
        try:
            sink(name, facts)
        except Exception:
            logger.exception("event sink failed", extra={"event": name})
