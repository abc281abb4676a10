"""Decides whether an IP address is of the public internet, for everything that this service calls.

People type the addresses of providers and webhooks, and a public name may resolve to 127.0.0.1 or to a cloud's metadata
service only when it is connected to (DNS rebinding). So the address of the socket is checked just before it connects: the
address that was checked is the one that is called.

The tables are IANA's registries of special-purpose addresses, written out because `ipaddress.is_global` differs among
the Python versions that are supported: https://www.iana.org/assignments/iana-ipv4-special-registry,
https://www.iana.org/assignments/iana-ipv6-special-registry. What is translated or tunnelled elsewhere is refused as a
whole, except for two wrappers of IPv4 that hosts use to reach the public internet.
"""

import errno
import socket
from http.client import HTTPConnection, HTTPSConnection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.request import BaseHandler, HTTPHandler, HTTPSHandler, ProxyHandler

PRIVATE_IPV4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, clouds' metadata services
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, clouds' metadata services
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
]
GLOBAL_IPV6 = IPv6Network("2000::/3")  # the only global unicast addresses there are
PRIVATE_IPV6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, with Teredo
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]
# IPv4-mapped addresses, as dual-stack sockets write them, and the well-known prefix of NAT64.
WRAPPERS_OF_IPV4 = [IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96")]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet. Raises `ValueError` for text that is no IP address."""
    found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if not any(found in network for network in WRAPPERS_OF_IPV4):
            return found in GLOBAL_IPV6 and not any(found in network for network in PRIVATE_IPV6)
        found = IPv4Address(int(found) & 0xFFFFFFFF)
    return not any(found in network for network in PRIVATE_IPV4)


def public_socket(info: tuple[Any, ...]) -> socket.socket:
    """Make a socket for one resolved address, as aiohttp's `socket_factory`. Raises `PermissionError` for a private one."""
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise PermissionError(
            errno.EACCES,
            f"{address[0]} is a private address, and ALLOW_PRIVATE_… is off",
        )
    return socket.socket(family, kind, protocol)


def connect_to_public(address: tuple[str, int], timeout: float, source: tuple[str, int] | None = None) -> socket.socket:
    """Connect as `socket.create_connection` does, to the first public address of a name that answers.

    Raises `PermissionError` for a name that has no public address, and `OSError` when none of them answers.
    """
    host, port = address
    problem = OSError(f"{host} has no address")
    for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        made = None
        try:
            made = public_socket(info)
            made.settimeout(timeout)
            if source:
                made.bind(source)
            made.connect(info[4])
        except OSError as error:
            problem = error
            if made:
                made.close()
        else:
            return made
    raise problem


class _PublicHttp(HTTPConnection):
    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._create_connection = connect_to_public  # http.client's own seam: its `connect` adds what TLS needs


class _PublicHttps(HTTPSConnection):
    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._create_connection = connect_to_public


class _PublicHttpHandler(HTTPHandler):
    def http_open(self, request: Any) -> Any:
        return self.do_open(_PublicHttp, request)


class _PublicHttpsHandler(HTTPSHandler):
    def https_open(self, request: Any) -> Any:
        return self.do_open(_PublicHttps, request)


def public_handlers() -> list[BaseHandler]:
    """Handlers of `urllib.request.build_opener` that connect to public addresses only, and through no proxy.

    A proxy would resolve the name itself, and perhaps connect to another address than the one that was checked.
    """
    return [ProxyHandler({}), _PublicHttpHandler(), _PublicHttpsHandler()]
