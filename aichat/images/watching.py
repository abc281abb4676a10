"""Watches of image jobs: event streams that tell every change of a job until it is over.

One poll of the database serves all watches of a process. A watch counts as one of the streams its user may have open, and
ends when the user's access does.
"""

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest

from accounts import stream_limits
from accounts.authentication import Caller
from aichat.api import open_streams
from aichat.core.database import executor
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing
from aichat.core.web import sse
from aichat.images.models import ImageJob
from aichat.images.serializers import ImageJobSerializer

logger = logging.getLogger(__name__)
POLL_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
LONGEST_WATCH_SECONDS = 600.0
BATCH = 500  # IDs in one statement


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as the last poll found it, with its pictures; `position` is that in the queue, None unless it is queued."""

    job: ImageJob
    position: int | None

    @property
    def state(self) -> tuple[str, int | None]:
        """The part of the job whose changes a watch tells."""
        return self.job.status, self.position


def look_at(job_ids: Collection[UUID]) -> dict[UUID, Seen]:
    """Read jobs with their pictures and positions, in three statements for each `BATCH` jobs. Deleted ones are missing."""
    ids, jobs = list(job_ids), list[ImageJob]()
    for start in range(0, len(ids), BATCH):
        jobs += ImageJob.objects.filter(pk__in=ids[start : start + BATCH]).prefetch_related("pictures")
    queued = [job.run_after for job in jobs if job.status == ImageJob.Status.QUEUED]
    before = ImageJob.objects.filter(status=ImageJob.Status.QUEUED, run_after__lt=max(queued)) if queued else None
    times = [] if before is None else list(before.order_by("run_after").values_list("run_after", flat=True))
    return {
        job.pk: Seen(job, bisect_left(times, job.run_after) if job.status == ImageJob.Status.QUEUED else None)
        for job in jobs
    }


class Watch:
    """The events of one watch, to be closed by `aclose`. Make it with `begin`."""

    def __init__(self, request: HttpRequest, caller: Caller, seen: Seen, place: AsyncExitStack) -> None:
        self.request, self.caller, self.place = request, caller, place
        self.job_id = seen.job.pk
        self.loop = asyncio.get_running_loop()
        self.begun = self.loop.time()
        self.news: asyncio.Queue[Seen | ApiError | None] = asyncio.Queue()  # None: the job was deleted
        self.state: tuple[str, int | None] | None = None
        self.is_over = False
        self.tell(seen)
        _watches.add(self)
        open_streams.add(self)
        _ensure_poll()

    @classmethod
    async def begin(cls, request: HttpRequest, caller: Caller, job_id: UUID) -> "Watch | None":
        """Take one of the user's places and begin; None when the job is gone. Raises `RateLimited`."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(
                stream_limits.counted(caller.user.pk, lifetime=LONGEST_WATCH_SECONDS + KEEP_ALIVE_SECONDS)
            )
            seen = (await executor.run(look_at, [job_id])).get(job_id)
            return cls(request, caller, seen, stack.pop_all()) if seen else None

    @property
    def is_running(self) -> bool:
        """Whether more events may come."""
        return self in _watches

    def tell(self, seen: Seen | None) -> None:
        """Queue what a poll found for the client, if it has changed. None: the job was deleted."""
        state = seen.state if seen else None
        if seen is None or state != self.state:
            self.news.put_nowait(seen)
        self.state = state
        if seen is None or seen.job.is_over:
            _watches.discard(self)

    def end(self, reason: ApiError) -> None:
        """End the watch with `reason` as its last event."""
        self.news.put_nowait(reason)
        _watches.discard(self)

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> bytes:
        if self.is_over or self.loop.time() >= self.begun + LONGEST_WATCH_SECONDS:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                news = await self.news.get()
        except TimeoutError:
            return sse.KEEP_ALIVE
        if isinstance(news, Seen):
            self.is_over = news.job.is_over
            context = {"request": self.request, "position": news.position}
            return sse.server_sent_event(ImageJobSerializer(news.job, context=context).data, "status")
        self.is_over = True
        if news is None:
            return sse.server_sent_event({"id": str(self.job_id), "status": "deleted"}, "deleted")
        return sse.server_sent_event(news.body(tracing.request_id()), "error")

    async def aclose(self) -> None:
        """End the watch without an event and give its place back."""
        self.is_over = True
        _watches.discard(self)
        await self.place.aclose()


_watches: set[Watch] = set()
_poll: asyncio.Task[None] | None = None


def _ensure_poll() -> None:
    global _poll
    if _poll is None or _poll.done() or _poll.get_loop() is not asyncio.get_running_loop():
        _poll = asyncio.get_running_loop().create_task(_look_again_and_again())


async def _look_again_and_again() -> None:
    """Poll while anybody watches. A failure is logged, and the next poll is the retry."""
    while _watches:
        await asyncio.sleep(POLL_SECONDS)
        watches = list(_watches)  # one that begins while the database is read must not be told that its job is gone
        try:
            found = await executor.run(look_at, {watch.job_id for watch in watches})
        except Exception as error:
            logger.warning("the watched image jobs could not be read: %s", type(error).__name__)
            continue
        for watch in watches:
            if watch.loop.time() > watch.begun + LONGEST_WATCH_SECONDS + KEEP_ALIVE_SECONDS:
                await watch.aclose()  # nobody has read or closed it
            elif watch.is_running:
                watch.tell(found.get(watch.job_id))
