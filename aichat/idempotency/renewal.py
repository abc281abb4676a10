"""Renews the leases of this process's claims while their requests run.

After a crash nobody renews them, and the keys are free after IDEMPOTENCY_LEASE seconds.
"""

import asyncio
import logging
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest

from accounts.authentication import Caller
from aichat.core.background import lifecycle
from aichat.core.background.repeating import Repeating
from aichat.core.database import clock, executor
from aichat.idempotency.keys import Answer, KeyClaim, claim_key
from aichat.idempotency.models import IdempotentRequest

logger = logging.getLogger(__name__)
held: set[KeyClaim] = set()
FREE_PAUSES = (0.2, 1.0, 5.0)  # seconds


def renew() -> None:
    """Give every claim of this process a full lease again, by one UPDATE."""
    until = clock.shared_now() + timedelta(seconds=settings.IDEMPOTENCY_LEASE)
    running = IdempotentRequest.objects.filter(state=IdempotentRequest.State.RUNNING)
    running.filter(attempt__in=[claim.attempt for claim in held]).update(lease_until=until)


async def _renew_held() -> None:
    if held:
        await executor.run(renew)


async def claim(caller: Caller, key: str, request: HttpRequest) -> KeyClaim | Answer:
    """Claim a key for this process, which renews the claim until it is no longer in `held`; or find the stored answer.

    A caller that is cancelled meanwhile (its client left) leaves the key free. Raises what `claim_key` raises.
    """
    claiming = lifecycle.spawn(executor.run(claim_key, caller, key, request))
    try:
        found = await asyncio.shield(claiming)
    except asyncio.CancelledError:
        claiming.add_done_callback(_free_unwanted)
        raise
    if isinstance(found, KeyClaim):
        held.add(found)
    return found


def _free_unwanted(claiming: "asyncio.Future[KeyClaim | Answer]") -> None:
    if not claiming.cancelled() and claiming.exception() is None and isinstance(found := claiming.result(), KeyClaim):
        lifecycle.spawn(free(found))


async def free(claim: KeyClaim) -> None:
    """Free a key for a true retry, unless its answer was stored after all.

    While the database is away the key is freed in the background, and in the end by its lease.
    """
    held.discard(claim)
    try:
        await executor.run(claim.free)
    except DatabaseError:
        lifecycle.spawn(_free_later(claim))


async def _free_later(claim: KeyClaim) -> None:
    for pause in FREE_PAUSES:
        await asyncio.sleep(pause)
        try:
            await executor.run(claim.free)
            return
        except DatabaseError as error:
            logger.warning("an Idempotency-Key can't be freed yet: %s", error)


# Not a periodic task: each process renews its own claims, whatever PERIODIC_TASKS says.
loop = Repeating("the renewal of idempotency keys", _renew_held, every=lambda: settings.IDEMPOTENCY_LEASE / 3)
