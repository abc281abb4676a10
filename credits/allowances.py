"""The monthly allowance of each role."""

import logging
from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from accounts.models import Organization
from aichat.core.database import clock
from aichat.core.database.batches import rows_by_key
from credits.models import CreditPlan, LedgerEntry
from credits.services import Credit, Kind, apply

logger = logging.getLogger(__name__)
AT_ONCE = 200  # organizations


def grant_allowances(now: datetime | None = None) -> int:
    """Give every active user whose role has a plan the credits of the UTC month; return how many users got them.

    The month is the entry's reference, so an organization gets one allowance a month however often this runs. A user
    who changes role within a month gets no second allowance. An allowance that is refused (the wallet can hold no more) is
    logged, and tried again by the next run.
    """
    clock.keep_compared()
    reference = f"allowance:{now or clock.shared_now():%Y-%m}"
    granted = 0
    for plan in CreditPlan.objects.order_by("role"):
        for organizations in _without(reference, plan):
            results = apply(
                [
                    Credit(
                        wallet_id=organization,
                        amount=plan.amount,
                        reference=reference,
                        kind=Kind.ALLOWANCE,
                        reason=f"Monthly allowance of the role {plan.role}",
                    )
                    for organization in organizations
                ]
            )
            granted += sum(not result.repeated and not result.error for result in results)
            for organization, result in zip(organizations, results, strict=True):
                if result.error:
                    logger.error("no allowance: %s", result.error, extra={"organization": str(organization)})
    return granted


def _without(reference: str, plan: CreditPlan) -> Iterator[list[UUID]]:
    """Yield, in batches, the IDs of the personal organizations that the plan is for and that lack the entry `reference`."""
    people = Organization.objects.filter(personal_to__role=plan.role, personal_to__is_active=True)
    for batch in rows_by_key(people.only("pk"), AT_ONCE):
        ids = [organization.pk for organization in batch]
        entries = LedgerEntry.objects.filter(wallet_id__in=ids, kind=Kind.ALLOWANCE, reference=reference)
        have = set(entries.values_list("wallet_id", flat=True))
        yield [id_ for id_ in ids if id_ not in have]
