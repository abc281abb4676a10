"""Renews the leases of this process's claims while their requests run.

After a crash nobody renews them, and the keys are free after IDEMPOTENCY_LEASE seconds.
"""

import asyncio
import logging
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from aichat.core.background import lifecycle
from aichat.core.database import executor
from aichat.idempotency.keys import KeyClaim
from aichat.idempotency.models import IdempotentRequest

logger = logging.getLogger(__name__)
held: set[KeyClaim] = set()
_renewing: asyncio.Task[None] | None = None


def renew() -> None:
    """Give every claim of this process a full lease again, by one UPDATE."""
    until = timezone.now() + timedelta(seconds=settings.IDEMPOTENCY_LEASE)
    running = IdempotentRequest.objects.filter(state=IdempotentRequest.State.RUNNING)
    running.filter(attempt__in=[claim.attempt for claim in held]).update(lease_until=until)


async def _renew_again_and_again() -> None:
    while True:
        await asyncio.sleep(settings.IDEMPOTENCY_LEASE / 3)
        if held:
            try:
                await executor.run(renew)
            except Exception:
                logger.exception("claims can't be renewed")


@lifecycle.on_startup
async def _start() -> None:
    global _renewing
    _renewing = asyncio.create_task(_renew_again_and_again())


@lifecycle.on_shutdown
async def _stop() -> None:
    if _renewing:
        _renewing.cancel()
