"""Which addresses are called: the same on every Python, and the one that was checked is the one that is connected."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from aichat.core.outbound import webhooks
from aichat.core.outbound.public_addresses import is_public, public_socket

PUBLIC = [
    "8.8.8.8", "1.1.1.1", "192.0.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.1", "223.255.255.255", "198.20.0.1",
    "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2620:fe::fe",
]  # fmt: skip
PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1",
    "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1",
    "198.18.0.1", "198.19.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::10.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "64:ff9b:1::8.8.8.8",
    "100::1", "100:0:0:1::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "3fff:fff::1", "5f00::1", "fc00::1",
    "fd00:ec2::254", "fe80::1",
    "fe80::1%eth0", "fec0::1", "feff::1", "ff02::1", "ff0e::1", "4000::1", "e000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_internet_is_called(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_leads_elsewhere_is_not_called(address: str) -> None:
    assert not is_public(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with pytest.raises(PermissionError):
        public_socket((family, socket.SOCK_STREAM, 0, "", (address, 80)))


class Rebinding(aiohttp.abc.AbstractResolver):
    """A name server that says a public address first and this machine's ever after."""

    asked = 0

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        self.asked += 1
        address = "8.8.8.8" if self.asked == 1 else "127.0.0.1"
        return [{"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


async def test_a_name_that_moves_to_this_machine_after_it_was_checked_is_not_called() -> None:
    reached = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port, resolver = server.sockets[0].getsockname()[1], Rebinding()
    await resolver.resolve("rebinding.example", port)
    connector = aiohttp.TCPConnector(resolver=resolver, socket_factory=public_socket, use_dns_cache=False)
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://rebinding.example:{port}/")
    server.close()
    assert resolver.asked == 2
    assert not reached.is_set()


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]", "0"])
async def test_no_way_to_write_this_machine_s_address_gets_a_webhook_there(settings: Any, host: str) -> None:
    settings.ALLOW_PRIVATE_WEBHOOKS = False
    status, problem = await webhooks.post(f"http://{host}:1/", b"{}", "secret", message_id="m1")
    assert status is None
    assert "private address" in problem or problem.startswith("InvalidUrl")
