"""Sends mail by the server that EMAIL_URL names: after the answer, in a thread of its own, never in a transaction.

A mail is two templates: `NAME.txt`, whose first line is the subject, and `NAME.html`.

| step | who | what |
| --- | --- | --- |
| 1 | `send` | writes a row in the caller's transaction: the mail is as durable as what it tells |
| 2 | a thread of this process, after the commit | takes the row by a conditional UPDATE, sends the mail, deletes the row |
| 3 | `send_due`, every half minute | does the same for rows whose process died, and for mails that are to be tried again |

A mail that no server takes is tried again for some hours, then logged and given up. A process that dies between the
server's word and the deletion of the row leaves a mail that is sent twice, never one that is lost.
"""

import base64
import hashlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from asgiref.sync import sync_to_async
from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import connections, transaction
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext, gettext_noop

from aichat.core.background import lifecycle
from aichat.core.database import clock
from aichat.core.errors import ApiError, Overloaded
from aichat.core.outbound.models import QueuedMail
from aichat.core.telemetry import tracing

logger = logging.getLogger(__name__)
TRIES, PAUSE = 3, 1.0  # the pause, in seconds, doubles
LONGEST_QUEUE = 1000
LEASE = timedelta(minutes=2)  # longer than all tries of a mail take
AGAIN = [timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240)]  # after the first failure, the second …
AT_ONCE, RUN_SECONDS = 100, 60.0  # mails of one run of `send_due`, and how long it begins with further ones
SHUTDOWN_SECONDS = 5.0

_threads: ThreadPoolExecutor | None = None
_pending: set["Future[None]"] = set()
_lock = threading.Lock()


class MailUnavailable(ApiError):
    status, code = 503, "mail_unavailable"
    message = gettext_noop(
        "This server can't send mail: its operator sets EMAIL_URL (such as smtp://user:password@host:587)."
    )


def require() -> None:
    """Raise `MailUnavailable` when no mail server is configured."""
    if not settings.EMAIL_URL:
        raise MailUnavailable()


def send(to: str, template: str, context: Mapping[str, str], *, language: str = "") -> None:
    """Queue a mail made of `template` (such as `accounts/mail/reset`). It is sent after the caller's transaction, if any.

    `language` is the mail's; by default that of the current request. Raises `MailUnavailable` without a mail server, and
    `Overloaded` when too many mails wait.
    """
    require()
    _has_room()
    words = {
        "to": to,
        "template": template,
        "context": dict(context),
        "request_id": tracing.request_id(),
        "language": language or translation.get_language(),
    }
    row = QueuedMail.objects.create(sealed=_seal().encrypt(json.dumps(words).encode()).decode(), due_at=_lease())
    transaction.on_commit(partial(_submit, row))


def send_now(to: str, template: str, context: Mapping[str, Any], *, language: str = "") -> None:
    """Send one mail and return when the server has it, without a second try: for callers that try again by themselves.

    Raises `MailUnavailable` without a mail server, and `OSError` when the server did not take it. Never in a transaction.
    """
    require()
    _message(to, template, dict(context), language).send()


def send_nothing() -> None:
    """Do what `send` does before it returns, so that the time of an answer tells no stranger whether a mail was sent."""
    send("", "", {})


def send_due() -> int:
    """Send the mails whose process died, and those whose next try is due; return how many were taken.

    A run begins with no further mail after RUN_SECONDS, however slow the mail server is: the next run goes on.
    """
    until = time.monotonic() + RUN_SECONDS
    due = QueuedMail.objects.filter(due_at__lte=clock.shared_now()).order_by("due_at")
    taken = 0
    for row in due[:AT_ONCE]:
        if time.monotonic() > until:
            break
        taken += _take_and_send(row)
    return taken


def wait_until_sent(seconds: float = 10) -> None:
    """Wait until the queued mails were sent or given up (for tests and commands)."""
    wait(list(_pending), timeout=seconds)


def _has_room() -> None:
    if len(_pending) >= LONGEST_QUEUE:
        raise Overloaded(gettext("Too many mails wait to be sent: try again shortly."), retry_after=30)


def _submit(row: QueuedMail) -> None:
    global _threads
    with _lock:
        if _threads is None:
            _threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="mail")
        future = _threads.submit(_work, row)
        _pending.add(future)
    future.add_done_callback(_pending.discard)


def _work(row: QueuedMail) -> None:
    """Send a mail on a thread of the queue, which keeps no connection to the database in between."""
    try:
        _take_and_send(row)
    except Exception as error:  # the database is away: `send_due` finds the row
        logger.error("a mail waits for the database: %s", type(error).__name__)
    finally:
        connections.close_all()


def _take_and_send(row: QueuedMail) -> bool:
    """Send the mail, unless another process took it since `row` was read; return whether it was taken here."""
    mine = uuid4()
    if not QueuedMail.objects.filter(pk=row.pk, holder=row.holder).update(holder=mine, due_at=_lease()):
        return False
    if _is_over(row):
        QueuedMail.objects.filter(pk=row.pk, holder=mine).delete()
    else:
        again = clock.shared_now() + AGAIN[row.tries]
        QueuedMail.objects.filter(pk=row.pk, holder=mine).update(due_at=again, tries=row.tries + 1)
    return True


def _is_over(row: QueuedMail) -> bool:
    """Try to send the mail; return whether it is over: sent, or given up."""
    try:
        words = json.loads(_seal().decrypt(row.sealed.encode()))
    except (InvalidToken, ValueError):
        logger.error("a mail was given up: it was sealed with another SECRET_KEY")
        return True
    if not words["to"]:
        return True
    tracing.begin(words["request_id"])
    is_last = row.tries >= len(AGAIN)
    try:
        _hand_over(_message(words["to"], words["template"], words["context"], words.get("language")))
    except Exception as error:
        # Neither the address nor a traceback: the text holds a token.
        end = "is given up" if is_last else "is tried again"
        logger.error("a mail (%s) was not sent and %s: %s", words["template"], end, type(error).__name__)
        return is_last
    logger.info("a mail (%s) was sent", words["template"])
    return True


def _lease() -> Any:
    return clock.shared_now() + LEASE


def _seal() -> Fernet:
    key = hashlib.sha256(f"aichat.core.outbound.mail:{settings.SECRET_KEY}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def _message(to: str, template: str, context: dict[str, Any], language: str | None = None) -> EmailMultiAlternatives:
    with translation.override(language or settings.LANGUAGE_CODE):
        subject, _, text = render_to_string(f"{template}.txt", context).strip().partition("\n")
        page = render_to_string(f"{template}.html", context)
    message = EmailMultiAlternatives(" ".join(subject.split()), text.strip() + "\n", settings.EMAIL_FROM, [to])
    message.attach_alternative(page, "text/html")
    return message


def _hand_over(message: EmailMultiAlternatives) -> None:
    """Give the mail to the server, trying again after errors of the network or of a server that is busy."""
    for attempt in range(TRIES):
        try:
            message.send()
        except OSError:  # `smtplib`'s errors are OSErrors
            if attempt == TRIES - 1:
                raise
            time.sleep(PAUSE * 2**attempt)
        else:
            return


@lifecycle.on_shutdown
async def _finish() -> None:
    await sync_to_async(wait_until_sent, thread_sensitive=False)(SHUTDOWN_SECONDS)
