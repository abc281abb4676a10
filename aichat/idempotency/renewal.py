"""Renews the leases of this process's claims while their requests run.

After a crash nobody renews them, and the keys are free after IDEMPOTENCY_LEASE seconds.
"""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from aichat.core.background.repeating import Repeating
from aichat.core.database import executor
from aichat.idempotency.keys import KeyClaim
from aichat.idempotency.models import IdempotentRequest

held: set[KeyClaim] = set()


def renew() -> None:
    """Give every claim of this process a full lease again, by one UPDATE."""
    until = timezone.now() + timedelta(seconds=settings.IDEMPOTENCY_LEASE)
    running = IdempotentRequest.objects.filter(state=IdempotentRequest.State.RUNNING)
    running.filter(attempt__in=[claim.attempt for claim in held]).update(lease_until=until)


async def _renew_held() -> None:
    if held:
        await executor.run(renew)


# Not a periodic task: each process renews its own claims, whatever PERIODIC_TASKS says.
loop = Repeating("the renewal of idempotency keys", _renew_held, every=lambda: settings.IDEMPOTENCY_LEASE / 3)
