"""Every wait for a provider, bounded in one place.

connecting            CHAT_CONNECT_TIMEOUT      (in the HTTP client)
a whole JSON answer   CHAT_ATTEMPT_TIMEOUT      from sending to the last byte
a stream's start      CHAT_FIRST_TOKEN_TIMEOUT  from sending to the first piece of the answer, not the first byte
between its pieces    CHAT_IDLE_TIMEOUT
everything            CHAT_TOTAL_TIMEOUT        one deadline shared by all attempts
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic

from django.conf import settings

from aichat.providers.base import Accepted, Part
from aichat.providers.errors import Outcome, ProviderError


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds each wait may take."""

    attempt: float
    first_token: float
    idle: float
    total: float


def chat_limits() -> Limits:
    return Limits(
        attempt=settings.CHAT_ATTEMPT_TIMEOUT,
        first_token=settings.CHAT_FIRST_TOKEN_TIMEOUT,
        idle=settings.CHAT_IDLE_TIMEOUT,
        total=settings.CHAT_TOTAL_TIMEOUT,
    )


async def bounded(
    parts: AsyncGenerator[Part, None], *, stream: bool, limits: Limits, deadline: float
) -> AsyncGenerator[Part, None]:
    """The parts of one attempt, or the `ProviderError` of the limit that ran out.

    `deadline` is the monotonic time at which the request as a whole is over. No limit spans a `yield`: a slow reader is
    not a slow provider.
    """
    if stream:
        wait, expired = limits.first_token, Outcome.TIMEOUT_FIRST_TOKEN
    else:
        wait, expired = limits.attempt, Outcome.TIMEOUT_ATTEMPT
    async with aclosing(parts):
        until = monotonic() + wait
        while True:
            try:
                async with asyncio.timeout(min(until, deadline) - monotonic()):
                    part = await anext(parts)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise ProviderError(Outcome.TIMEOUT_TOTAL if until > deadline else expired) from None
            yield part
            if stream and not isinstance(part, Accepted):
                until, expired = monotonic() + limits.idle, Outcome.TIMEOUT_IDLE
