"""Decides whether strangers may sign up."""

from collections.abc import Callable

from django.conf import settings

_reasons: list[Callable[[], bool]] = []


def is_open() -> bool:
    """Return whether strangers may sign up: as REGISTRATION_OPEN says, else while no reason of `close_while` holds."""
    if settings.REGISTRATION_OPEN is not None:
        return bool(settings.REGISTRATION_OPEN)
    return not any(holds() for holds in _reasons)


def close_while(holds: Callable[[], bool]) -> None:
    """Register a reason that closes registration by default while `holds()`. The floors above know what strangers spend."""
    if holds not in _reasons:
        _reasons.append(holds)
