"""Confirms a caller whom this process knows: that nothing of theirs has changed, and that their rate lets the request in.

Both are questions to Redis. A handler that changes, spends and shows nothing before the caller is confirmed begins without
the answers: then they come in the round trip of its own questions.
"""

import asyncio

from django.conf import settings
from django.http import HttpRequest

from accounts import key_limits, rate_limits
from accounts.authentication import Caller, credential
from accounts.caller_cache import Recognition
from aichat.core.errors import Overloaded


class CallerChanged(Overloaded):
    """The caller's role, limits or memberships changed while their request was being prepared: it is prepared anew."""


class Confirmation:
    """The confirmation of one request's caller. The questions to Redis are asked when this is made.

    `known` is the cached caller; None when this process knows none who could be right, or when there is no Redis to ask.
    """

    def __init__(self, request: HttpRequest, *, counts: bool) -> None:
        """`counts`: the request is one of those that the caller's rate limits."""
        self.recognition = Recognition(credential(request.headers), request.headers.get("X-Organization", ""))
        self.counts = counts
        self.known = self.recognition.found.caller if self.recognition.found and settings.REDIS_URL else None
        # The rate is asked for before the caller is confirmed: the hit is theirs in any case.
        self.hits = rate_limits.ask(self.known) if self.known and counts else None
        self.is_permitted = False  # whether the view's permissions let `known` in
        self._caller: Caller | None = None
        self._error: Exception | None = None
        self._asking = asyncio.Lock()  # a stream that is late may ask in two tasks

    async def caller(self) -> Caller:
        """The caller as they are now. Raises `NotAuthenticated`, `InvalidApiKey`, `RateLimited`, each time the same."""
        async with self._asking:
            if self._error is not None:
                raise self._error
            if self._caller is None:
                try:
                    caller = await self.recognition.caller()
                    if self.counts:
                        await rate_limits.hit_caller_async(caller, self.hits)
                except Exception as error:
                    self._error = error
                    raise
                self._caller = caller
                if caller is self.known and self.is_permitted and caller.api_key is not None:
                    key_limits.note_use(caller.api_key)
            return self._caller

    async def of_known(self) -> None:
        """Wait until `known` is confirmed. Raises what `caller` raises, or `CallerChanged`."""
        if self._caller is not self.known and await self.caller() is not self.known:
            raise CallerChanged
