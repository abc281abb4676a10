"""Whether strangers may sign up."""

from collections.abc import Callable

from django.conf import settings

_reasons: list[Callable[[], bool]] = []


def is_open() -> bool:
    """What REGISTRATION_OPEN says; where it is not set, open only while nothing speaks against it (`close_while`)."""
    if settings.REGISTRATION_OPEN is not None:
        return bool(settings.REGISTRATION_OPEN)
    return not any(holds() for holds in _reasons)


def close_while(holds: Callable[[], bool]) -> None:
    """Keep the default closed while `holds()`: the floors above know what strangers could spend."""
    if holds not in _reasons:
        _reasons.append(holds)
