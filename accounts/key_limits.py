"""The limits of an API key that are checked before any work: where it may be used from, and what for.

No query is made: the key was read when its caller was authenticated. The client's address is the one of the connection,
or what a trusted proxy says (uvicorn reads `X-Forwarded-For` from the hosts in FORWARDED_ALLOW_IPS only).
"""

import time
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from accounts.models import AccessToken, Scope
from aichat.core.background.batch_queue import BatchQueue
from aichat.core.errors import ApiError

LAST_USE_SECONDS = 60.0  # how often the last use of a key is written
MOST = 10_000  # keys whose last use this process remembers


class IpNotAllowed(ApiError):
    status, code = 403, "ip_not_allowed"

    def __init__(self, address: str) -> None:
        super().__init__(f"This key may not be used from {address or 'an unknown address'}: see its `allowed_ips`.")


class ScopeMissing(ApiError):
    status, code = 403, "scope_missing"

    def __init__(self, wanted: Collection[Scope]) -> None:
        names = [scope.value for scope in Scope if scope in wanted] or [Scope.MANAGE.value]
        words = " or ".join(f"`{name}`" for name in names)
        super().__init__(
            f"This key lacks the scope {words}: use another key, or give this one the scope.", scope=names[0]
        )


def require_address(key: AccessToken, request: Any) -> None:
    """Raise `IpNotAllowed` when the key may not be used from the address that sends the request."""
    if key.allowed_ips:
        address = request.META.get("REMOTE_ADDR") or ""
        if not is_within(address, tuple(key.allowed_ips)):
            raise IpNotAllowed(address)


@lru_cache(4096)
def is_within(address: str, allowed: tuple[str, ...]) -> bool:
    """Return whether an address is allowed, itself or by a network. An IPv4 address written as IPv6 is IPv4."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network_of(text) for text in allowed)


def network_of(text: str) -> IPv4Network | IPv6Network:
    """Return the network that an address or a network in CIDR notation names. Raises `ValueError`."""
    return ip_network(text, strict=False)


def spelled(text: str) -> str:
    """Return an address or network in its usual spelling. Raises `ValueError`."""
    network = network_of(text)
    is_one = network.prefixlen == network.max_prefixlen and "/" not in text
    return str(network.network_address if is_one else network)


def require_scope(key: AccessToken, wanted: Collection[Scope]) -> None:
    """Raise `ScopeMissing` unless the key has one of the scopes; a key without stated scopes has all."""
    if key.scopes and not any(scope in key.scopes for scope in wanted):
        raise ScopeMissing(wanted)


# --- Last use ---------------------------------------------------------------------------------------------------------

_noted: dict[str, float] = {}  # monotonic seconds by the key's digest


def note_use(key: AccessToken) -> None:
    """Remember that the key was used. It is written beside the requests, at most once a minute for each key."""
    now = time.monotonic()
    if now - _noted.get(key.pk, float("-inf")) >= LAST_USE_SECONDS:
        if len(_noted) >= MOST:
            _noted.clear()
        _noted[key.pk] = now
        last_uses.put((key.pk, timezone.now().replace(microsecond=0)))


def write_last_uses(batch: list[tuple[str, datetime]]) -> None:
    """Write when keys were used, unless another process wrote it within the last minute."""
    for digest, at in batch:
        is_older = Q(last_used_at=None) | Q(last_used_at__lte=at - timedelta(seconds=LAST_USE_SECONDS))
        AccessToken.objects.filter(is_older, pk=digest).update(last_used_at=at)


def _write(batch: list[tuple[str, datetime]]) -> None:
    try:
        write_last_uses(batch)
    finally:
        connection.close()


last_uses: BatchQueue[tuple[str, datetime]] = BatchQueue("last use of keys", _write)


def forget() -> None:
    """Forget the uses that are not written yet (for tests)."""
    _noted.clear()
    last_uses.renew()
