"""The time limits of every wait for a provider.

connecting            CHAT_CONNECT_TIMEOUT      (in the HTTP client)
a whole JSON answer   CHAT_ATTEMPT_TIMEOUT      from sending to the last byte
a stream's start      CHAT_FIRST_TOKEN_TIMEOUT  until the first text or call; begins anew with each sign of life (a
                                                comment, a role, a thought)
between its pieces    CHAT_IDLE_TIMEOUT
everything            CHAT_TOTAL_TIMEOUT        one deadline shared by all attempts
"""

import asyncio
from time import monotonic
from types import TracebackType

from django.conf import settings

from aichat.providers.errors import AttemptOutcome, ProviderError


class AttemptTimeouts:
    """Context manager around one attempt that ends it with the `ProviderError` of the limit that ran out.

    `deadline` is the monotonic time at which the request as a whole ends. One timer checks the limits; a piece from the
    provider moves the limit on without a new timer. The time from setting `is_resting`, while a piece is handed to the
    reader, to `go_on` is not counted: a slow reader is not a slow provider.
    """

    def __init__(self, *, stream: bool, deadline: float) -> None:
        self.deadline = deadline
        self.wait, self.outcome = settings.CHAT_ATTEMPT_TIMEOUT, AttemptOutcome.TIMEOUT_ATTEMPT
        self.later = self.wait, self.outcome
        if stream:
            self.wait, self.outcome = settings.CHAT_FIRST_TOKEN_TIMEOUT, AttemptOutcome.TIMEOUT_FIRST_TOKEN
            self.later = settings.CHAT_IDLE_TIMEOUT, AttemptOutcome.TIMEOUT_IDLE
        self.is_resting = False

    async def __aenter__(self) -> "AttemptTimeouts":
        self.loop = asyncio.get_running_loop()
        self.timeout = asyncio.timeout(None)
        await self.timeout.__aenter__()
        self.until = monotonic() + self.wait
        self.timer: asyncio.TimerHandle | None = None
        self.look()
        return self

    def go_on(self, *, is_answer: bool) -> None:
        """Start to wait for the provider's next piece, after one that is part of the answer or a thought."""
        self.is_resting = False
        self.until = monotonic() + (self.later[0] if is_answer else self.wait)
        if is_answer and self.outcome is not self.later[1]:
            self.wait, self.outcome = self.later
            if self.timer is not None:  # set for a limit that may be longer
                self.timer.cancel()
                self.timer = None
        if self.timer is None:
            self.look()

    def note_life(self) -> None:
        """Renew the limit of a stream's start: the provider is at work. Comments keep no stalled answer alive."""
        if self.outcome is AttemptOutcome.TIMEOUT_FIRST_TOKEN:
            self.until = monotonic() + self.wait

    def look(self) -> None:
        """End the attempt when its limit is over, else look again when it will be."""
        self.timer = None
        left = min(self.until, self.deadline) - monotonic()
        if left > 0:
            self.timer = self.loop.call_later(left, self.look)
        elif not self.is_resting:
            self.timeout.reschedule(self.loop.time())  # which is now

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.timer is not None:
            self.timer.cancel()
        try:
            await self.timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise ProviderError(AttemptOutcome.TIMEOUT_TOTAL if self.until > self.deadline else self.outcome) from None
