import asyncio
from typing import Any

from aichat.core.web.server import MOST_GATHERED, GatheringTransport


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.written.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.written


async def gathering() -> tuple[Transport, Any]:
    transport = Transport()
    return transport, GatheringTransport(transport)  # type: ignore[arg-type]


async def test_what_is_written_in_one_turn_goes_out_together_and_in_order() -> None:
    transport, gathered = await gathering()
    for turn in (b"head ", b"more "):
        gathered.write(turn)
        gathered.write(b"body")
        await asyncio.sleep(0)
    assert transport.written == [b"head body", b"more body"]


async def test_nothing_is_lost_by_closing() -> None:
    transport, gathered = await gathering()
    gathered.write(b"last")
    gathered.close()
    assert gathered.is_closing()
    await asyncio.sleep(0)
    assert transport.written == [b"last", b"closed"]


async def test_much_is_not_kept_from_the_transport_which_knows_when_it_is_too_much() -> None:
    transport, gathered = await gathering()
    gathered.write(b"x" * MOST_GATHERED)
    assert not transport.written
    gathered.write(b"y")
    assert len(transport.written[0]) == MOST_GATHERED + 1
    await asyncio.sleep(0)
    assert len(transport.written) == 1
