"""Sends the messages of alerts: claimed with a lease, tried again, and given up in the end.

A process that dies while it sends leaves the message to its lease; another process sends it then, with the same ID.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import F
from django.utils import translation

from accounts.models import User
from aichat.core.database import clock
from aichat.core.errors import ApiError
from aichat.core.outbound import mail, webhooks
from aichat.core.web.responses import json_bytes
from aichat.payments.alert_texts import body_of, context_of, text_of
from aichat.payments.models import AlertMessage

logger = logging.getLogger(__name__)
Channel, State = AlertMessage.Channel, AlertMessage.State
AT_ONCE = 20
MOST_ATTEMPTS = 8
FIRST_WAIT = timedelta(seconds=5)  # four times as long after each attempt: the last one comes after about eight hours
LEASE = timedelta(seconds=90)  # more than the longest attempt takes
OPERATOR = UUID(int=0)  # whose secret signs the operator's webhooks
KEPT = timedelta(days=90)


def send_due() -> int:
    """Send the messages that are due, and return how many were sent. Any number of processes may run this."""
    sent = 0
    while rows := _claim_due():
        results = asyncio.run(_send_all(rows, _languages(rows)))
        for row, problem in zip(rows, results, strict=True):
            _record(row, problem)
            sent += not problem
    return sent


def prune(now: datetime | None = None) -> int:
    """Delete the messages of a quarter of a year ago; return how many there were."""
    deleted, _ = AlertMessage.objects.filter(created_at__lt=(now or clock.shared_now()) - KEPT).delete()
    return deleted


def send_again(row: AlertMessage) -> bool:
    """Have a message that was given up sent again, with all its attempts. Returns False for any other."""
    given_up = AlertMessage.objects.filter(pk=row.pk, state=State.GIVEN_UP)
    return bool(given_up.update(state=State.WAITING, attempts=0, next_at=clock.shared_now()))


def _claim_due() -> list[AlertMessage]:
    now = clock.shared_now()
    due = AlertMessage.objects.select_related("organization").filter(state=State.WAITING, next_at__lte=now)
    return [row for row in due.order_by("next_at")[:AT_ONCE] if _claim(row, now)]


def _claim(row: AlertMessage, now: datetime) -> bool:
    """Take a message for one attempt, by one conditional UPDATE. Returns False when another process was quicker."""
    mine = AlertMessage.objects.filter(pk=row.pk, state=State.WAITING, attempts=row.attempts, next_at=row.next_at)
    if not mine.update(attempts=F("attempts") + 1, next_at=now + LEASE):
        return False
    row.attempts, row.next_at = row.attempts + 1, now + LEASE
    return True


def _record(row: AlertMessage, problem: str) -> None:
    """Write down an attempt, unless another process has taken the message over meanwhile."""
    mine = AlertMessage.objects.filter(pk=row.pk, state=State.WAITING, attempts=row.attempts)
    if not problem:
        mine.update(state=State.DELIVERED, problem="")
    elif row.attempts >= MOST_ATTEMPTS:
        mine.update(state=State.GIVEN_UP, problem=problem)
        logger.warning("an alert was given up", extra={"alert": str(row.pk), "problem": problem})
    else:
        mine.update(next_at=clock.shared_now() + FIRST_WAIT * 4 ** (row.attempts - 1), problem=problem)


# --- Sending ----------------------------------------------------------------------------------------------------------


def _languages(rows: list[AlertMessage]) -> dict[str, str]:
    """The languages that the people with the messages' addresses chose, by address."""
    addresses = [row.address for row in rows if row.channel == Channel.EMAIL]
    chosen = User.objects.filter(email__in=addresses).values_list("email", "language")
    return {address: language for address, language in chosen if language}


async def _send_all(rows: list[AlertMessage], languages: dict[str, str]) -> list[str]:
    """Make one attempt of each; return the problems, "" for what was sent."""
    return list(await asyncio.gather(*(_send(row, languages.get(row.address)) for row in rows)))


async def _send(row: AlertMessage, language: str | None) -> str:
    try:
        if row.channel == Channel.EMAIL:
            await asyncio.to_thread(send_mail, row, language or settings.LANGUAGE_CODE)
            return ""
        said = {"text": text_of(row)} if row.channel == Channel.SLACK else body_of(row)
        secret = webhooks.secret_of(row.organization_id or OPERATOR)
        _, problem = await webhooks.post(row.address, json_bytes(said), secret, message_id=f"msg_{row.pk.hex}")
        return problem
    except (ApiError, OSError, ValueError) as error:
        return type(error).__name__  # not its text: it may have the address in it


def send_mail(row: AlertMessage, language: str) -> None:
    """Mail the alert. Raises what `mail.send_now` does."""
    with translation.override(language):
        context = context_of(row)
    mail.send_now(row.address, "payments/mail/alert", context, language=language)
