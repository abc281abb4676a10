"""Sends mail by the server that EMAIL_URL names: after the answer, in a thread of its own, never in a transaction.

A mail is two templates: `NAME.txt`, whose first line is the subject, and `NAME.html`. Mail that can't be handed over is
tried a few times, then logged and given up: the person asks for another one.
"""

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.template.loader import render_to_string

from aichat.core.background import lifecycle
from aichat.core.errors import ApiError, Overloaded
from aichat.core.telemetry import tracing

logger = logging.getLogger(__name__)
TRIES, PAUSE = 3, 1.0  # the pause, in seconds, doubles
LONGEST_QUEUE = 1000
SHUTDOWN_SECONDS = 5.0

_threads: ThreadPoolExecutor | None = None
_pending: set["Future[None]"] = set()
_lock = threading.Lock()


class MailUnavailable(ApiError):
    status, code = 503, "mail_unavailable"
    message = "This server can't send mail: its operator sets EMAIL_URL (such as smtp://user:password@host:587)."


def require() -> None:
    """Raise `MailUnavailable` when no mail server is configured."""
    if not settings.EMAIL_URL:
        raise MailUnavailable()


def send(to: str, template: str, context: Mapping[str, Any]) -> None:
    """Queue a mail made of `template` (`accounts/mail/reset`); in a transaction, once it is committed.

    Raises `MailUnavailable` without a mail server, and `Overloaded` when too many mails wait.
    """
    require()
    _has_room()
    transaction.on_commit(partial(_submit, to, template, dict(context), tracing.request_id()))


def send_now(to: str, template: str, context: Mapping[str, Any]) -> None:
    """Hand one mail to the server, once, and return when the server has it: for callers that try again by themselves.

    Raises `MailUnavailable` without a mail server, and `OSError` when the server did not take it. Never in a transaction.
    """
    require()
    _message(to, template, dict(context)).send()


def send_nothing() -> None:
    """Do what `send` does before it returns, so that the time of an answer tells no stranger whether a mail was sent."""
    require()
    _has_room()
    transaction.on_commit(partial(_submit, "", "", {}, ""))


def wait_until_sent(seconds: float = 10) -> None:
    """Wait until the queued mails were sent or given up (for tests and commands)."""
    wait(list(_pending), timeout=seconds)


def _has_room() -> None:
    if len(_pending) >= LONGEST_QUEUE:
        raise Overloaded("Too many mails wait to be sent: try again shortly.", retry_after=30)


def _submit(to: str, template: str, context: dict[str, Any], request_id: str) -> None:
    global _threads
    with _lock:
        if _threads is None:
            _threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="mail")
        future = _threads.submit(_deliver, to, template, context, request_id)
        _pending.add(future)
    future.add_done_callback(_pending.discard)


def _deliver(to: str, template: str, context: dict[str, Any], request_id: str) -> None:
    if not to:
        return
    tracing.begin(request_id)
    try:
        _hand_over(_message(to, template, context))
    except Exception as error:
        # Neither the address nor a traceback: the text holds a token.
        logger.error("a mail (%s) was not sent: %s", template, type(error).__name__)
    else:
        logger.info("a mail (%s) was sent", template)


def _message(to: str, template: str, context: dict[str, Any]) -> EmailMultiAlternatives:
    subject, _, text = render_to_string(f"{template}.txt", context).strip().partition("\n")
    message = EmailMultiAlternatives(" ".join(subject.split()), text.strip() + "\n", settings.EMAIL_FROM, [to])
    message.attach_alternative(render_to_string(f"{template}.html", context), "text/html")
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
