"""What a thousand slow connections cost one worker, and whether an honest client is served meanwhile.

`make bench-slow` runs it. A third of the connections is silent, a third sends its head a byte a second, a third the body of
a chat, with a right key, at 1 KiB a second: a quarter of the pace that is asked of a body.
"""

import asyncio
import statistics
import time
from contextlib import suppress
from pathlib import Path

import httpx

from tests.service import Service, running_service

CONNECTIONS = 1_000
HONEST_PAUSE = 0.02  # seconds between two chats of the honest client
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8}
NO_LIMITS = {f"RATE_LIMIT_{name}": "1000000/min" for name in ("AUTH", "USER", "SUBSCRIBER", "ADMIN")}


def resident(process: int) -> float:
    """The memory of a process in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def be_slow(service: Service, number: int, ends: list[float]) -> None:
    """Hold one connection until the server closes it; the seconds that took go to `ends`."""
    host, _, port = service.address.rpartition("//")[2].partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began = time.monotonic()
    closed = asyncio.create_task(reader.read())  # what is said before the end, at most a 408
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
    kind = number % 3
    if kind:
        writer.write((head + "Content-Type: application/json\r\nContent-Length: 1000000\r\n").encode())
    if kind == 2:
        writer.write(b"\r\n")
    with suppress(OSError):
        while not closed.done():
            if kind:
                writer.write(b" " * 1024 if kind == 2 else b"x")
            await asyncio.wait([closed], timeout=1)
    with suppress(OSError):
        await closed
    ends.append(time.monotonic() - began)
    writer.close()


async def be_honest(service: Service, until: asyncio.Event) -> list[float]:
    """Chat until then; the milliseconds of each answer."""
    times = []
    async with httpx.AsyncClient(base_url=service.address, headers=service.headers, timeout=30) as client:
        while not until.is_set():
            began = time.perf_counter()
            answer = await client.post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 200, answer.text
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(HONEST_PAUSE)
    return times


def said(times: list[float]) -> str:
    cuts = statistics.quantiles(times, n=100)
    return f"{len(times)} chats, p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, slowest {max(times):.0f} ms"


async def measure(service: Service) -> None:
    (worker,) = service.workers()
    for name in ("warm-up", "alone"):
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(8, over.set)
        times = await be_honest(service, over)
        print(f"{name}: {said(times)}; {resident(worker):.1f} MiB")  # noqa: T201
    over, ends = asyncio.Event(), list[float]()
    before, honest = resident(worker), asyncio.create_task(be_honest(service, over))
    slow = [asyncio.create_task(be_slow(service, number, ends)) for number in range(CONNECTIONS)]
    await asyncio.sleep(15)
    during = resident(worker)
    await asyncio.wait(slow, timeout=120)
    over.set()
    print(f"beside {CONNECTIONS:,} slow connections: {said(await honest)}; {during:.1f} MiB")  # noqa: T201
    print(f"a connection: {(during - before) * 1024 / CONNECTIONS:.1f} KiB")  # noqa: T201
    print(f"closed by the server: {len(ends):,}, after {min(ends):.0f} to {max(ends):.0f} s")  # noqa: T201
    assert len(ends) == CONNECTIONS


def main() -> None:
    with running_service(workers=1, STARTER_CREDITS="1000000", **NO_LIMITS) as service:
        asyncio.run(measure(service))


if __name__ == "__main__":
    main()
