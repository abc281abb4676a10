"""Counters and timings for Datadog or any StatsD server (STATSD_HOST), by the official client, over UDP.

Measurements go through a `BatchQueue`: no request waits for the client's work or the socket.
"""

from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings

from aichat.core.background.batch_queue import BatchQueue
from aichat.core.money import CREDIT
from aichat.core.telemetry import measurements
from aichat.core.telemetry.measurements import AttemptEnded, Measurement, RequestEnded

PREFIX = "aichat"


class Exporter:
    """Sends measurements to one server; UDP packets to a server that is away are lost without an error."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._client: Any = None

    def client(self) -> Any:
        """The official client, made at its first use, after any fork: a client of our own, not the package's global one."""
        if self._client is None:
            from datadog.dogstatsd.base import DogStatsd  # a tenth of a second, which others need not wait for

            self._client = DogStatsd(
                host=self.host,
                port=self.port,
                namespace=PREFIX,
                disable_buffering=False,
                flush_interval=0,  # no thread of its own: the batch queue flushes
                disable_telemetry=True,
                origin_detection_enabled=False,
            )
        return self._client

    def send(self, batch: Sequence[Measurement]) -> None:
        client = self.client()
        for item in batch:
            match item:
                case RequestEnded():
                    self.request(client, item)
                case AttemptEnded():
                    self.attempt(client, item)
        client.flush()

    def request(self, client: Any, item: RequestEnded) -> None:
        tags = [f"method:{item.method}", f"route:{item.route or 'none'}", f"status:{item.status}"]
        client.increment("requests", tags=tags)
        client.timing("request.duration", item.seconds * 1000, tags=tags)

    def attempt(self, client: Any, item: AttemptEnded) -> None:
        names = [f"kind:{item.kind}", f"provider:{item.provider}", f"model:{item.model}"]
        tags = [*names, f"outcome:{item.outcome}", f"cached:{item.cached}".lower(), f"fallback:{item.fallback}".lower()]
        client.increment("generations", tags=tags)
        client.timing("generation.duration", item.seconds * 1000, tags=tags)
        if item.first_token_seconds is not None:
            client.timing("generation.first_token", item.first_token_seconds * 1000, tags=names)
        amounts = {
            "tokens.input": item.input_tokens,
            "tokens.output": item.output_tokens,
            "images": item.images,
            "credits.charged": item.charged / CREDIT,
        }
        for name, amount in amounts.items():
            if amount:
                client.increment(name, amount, tags=names)


def start() -> Callable[[Measurement], None] | None:
    """Send every measurement to STATSD_HOST, when that is set; called once at start (`AppConfig.ready`).

    Returns the registered listener, or None without STATSD_HOST.
    """
    if settings.STATSD_HOST is None:
        return None
    queue: BatchQueue[Measurement] = BatchQueue("statsd", Exporter(*settings.STATSD_HOST).send, every=0.5)
    measurements.register(queue.put)
    return queue.put
