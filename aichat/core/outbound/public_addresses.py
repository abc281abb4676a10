"""Keeps catalog rows and webhooks from reaching into the operator's own network.

A base URL is typed by an administrator, and a public name may resolve to 127.0.0.1 or to a cloud's metadata service
only at the moment of connecting: so it is the address of the socket that is checked, just before it connects.
"""

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also when an IPv4 address is wrapped in an IPv6 one."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in NAT64:
            wrapped = IPv4Address(int(found) & 0xFFFFFFFF)
        found = wrapped or found
    return found.is_global and not found.is_multicast


def public_socket(info: tuple[Any, ...]) -> socket.socket:
    """aiohttp's `socket_factory`, called with each address about to be tried. Raises `PermissionError` for private ones."""
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise PermissionError(
            errno.EACCES,
            f"{address[0]} is a private address, and ALLOW_PRIVATE_… is off",
        )
    return socket.socket(family, kind, protocol)
