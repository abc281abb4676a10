"""Errors for Sentry (SENTRY_DSN), by the official SDK, which is an optional package: without the setting it isn't imported.

Whatever fails unexpectedly here is logged as an error: by the handler of requests, by background work, by image workers. A
log handler therefore is the one place that reports; the SDK's own integrations with Django are off, because they attach
requests. Commands fail through `sys.excepthook`.

An event is built from a list of what may leave the house. The text of an exception is not on that list: a database quotes
the row that it refused, a provider quotes the prompt. SENTRY_TRACES_SAMPLE_RATE of the requests are sent with their times, as
transactions without spans: OpenTelemetry has the spans (`spans.py`).
"""

import logging
import random
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from django.conf import settings

from aichat.core.background.batch_queue import BatchQueue
from aichat.core.telemetry import measurements, tracing
from aichat.core.telemetry.measurements import Measurement, RequestEnded

OWN_LOGGERS = ("aichat", "accounts", "credits", "admin_dashboard")  # their messages are constants; values are arguments
APART = ("gunicorn.error", "uvicorn.error")  # they don't propagate to the root logger
SILENT = ("sentry_sdk", "urllib3", "opentelemetry")  # failures of monitoring must not become events
EVENT_FIELDS = ("event_id", "timestamp", "level", "platform", "release", "environment", "logger", "logentry", "sdk")
TRANSACTION_FIELDS = ("type", "transaction", "transaction_info", "start_timestamp", "spans", "tags", "user")
FRAME_FIELDS = ("filename", "function", "module", "lineno", "in_app")


def start() -> "ErrorHandler | None":
    """Report every error that is logged or that ends a command; called once at start (`AppConfig.ready`).

    Returns the log handler, or None without SENTRY_DSN. Sending happens on a thread of the SDK, which drops events while
    Sentry is slow or gone.
    """
    if not settings.SENTRY_DSN:
        return None
    try:
        import sentry_sdk
        from sentry_sdk.integrations.atexit import AtexitIntegration
        from sentry_sdk.integrations.excepthook import ExcepthookIntegration
        from sentry_sdk.utils import BadDsn
    except ImportError:
        return None  # the system check aichat.E040 says the mend
    try:
        sentry_sdk.init(
            dsn=settings.SENTRY_DSN,
            release=settings.RELEASE,
            environment=settings.SENTRY_ENVIRONMENT,
            sample_rate=settings.SENTRY_SAMPLE_RATE,
            before_send=without_values,
            before_send_transaction=times_alone,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[ExcepthookIntegration(), AtexitIntegration(callback=lambda pending, timeout: None)],
            include_local_variables=False,
            include_source_context=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            auto_session_tracking=False,
            send_client_reports=False,
        )
    except BadDsn:
        return None  # the system check aichat.E041 says the mend
    handler = ErrorHandler()
    for name in ("", *APART):
        logging.getLogger(name).addHandler(handler)
    if settings.SENTRY_TRACES_SAMPLE_RATE:
        measurements.register(note_times)
    return handler


class ErrorHandler(logging.Handler):
    """Sends each error record to Sentry."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """Capture the record. Django's line about an answer of 500 is left out: its cause was logged already."""
        from sentry_sdk import capture_event, get_client
        from sentry_sdk.utils import event_from_exception

        if record.name.startswith(SILENT) or (record.name.startswith("django.request") and not record.exc_info):
            return
        try:
            event: Any = {}
            if record.exc_info and record.exc_info[1]:
                event, _ = event_from_exception(record.exc_info[1], client_options=get_client().options)
            event["level"] = "fatal" if record.levelno >= logging.CRITICAL else "error"
            event["logger"] = record.name
            if record.name.startswith(OWN_LOGGERS) and isinstance(record.msg, str):
                event["logentry"] = {"message": record.msg}  # without its arguments
            capture_event(event)
        except Exception:
            self.handleError(record)


def without_values(event: Any, hint: Any) -> Any:
    """The event reduced to what may leave the house, with the IDs of the request that runs."""
    kept = {name: event[name] for name in EVENT_FIELDS if name in event}
    if values := (event.get("exception") or {}).get("values"):
        kept["exception"] = {"values": [_without_text(value) for value in values]}
    if trace := tracing.current():
        kept["tags"] = {"request_id": trace.request_id}
        if trace.organization:
            kept["tags"]["organization"] = trace.organization
        if trace.user:
            kept["user"] = {"id": trace.user}
    return kept


# --- Times of requests ------------------------------------------------------------------------------------------------


def note_times(item: Measurement) -> None:
    """Have a share of the requests sent to Sentry, in the background: a listener of measurements."""
    if isinstance(item, RequestEnded) and random.random() < settings.SENTRY_TRACES_SAMPLE_RATE:
        trace = tracing.current()
        _times.put(_transaction(item, trace, time.time()))


def _transaction(item: RequestEnded, trace: tracing.Trace | None, ended: float) -> dict[str, Any]:
    """An event in Sentry's format: https://develop.sentry.dev/sdk/data-model/event-payloads/transaction/"""
    trace_id = trace.traceparent[3:35] if trace and trace.traceparent else uuid4().hex
    event: dict[str, Any] = {
        "type": "transaction",
        "transaction": f"{item.method} {item.route or 'none'}",
        "transaction_info": {"source": "route"},
        "start_timestamp": ended - item.seconds,
        "timestamp": ended,
        "contexts": {
            "trace": {
                "trace_id": trace_id,
                "span_id": uuid4().hex[:16],
                "op": "http.server",
                "status": "internal_error" if item.status >= 500 else "ok",
                "data": {"http.response.status_code": item.status},
            }
        },
        "tags": {"request_id": trace.request_id} if trace else {},
        "spans": [],
    }
    if trace and trace.organization:
        event["tags"]["organization"] = trace.organization
    if trace and trace.user:
        event["user"] = {"id": trace.user}
    return event


def _send_times(batch: Sequence[dict[str, Any]]) -> None:
    from sentry_sdk import capture_event

    for event in batch:
        capture_event(event)  # type: ignore[arg-type]


_times: BatchQueue[dict[str, Any]] = BatchQueue("sentry", _send_times)


def times_alone(event: Any, hint: Any) -> Any:
    """A transaction reduced to what `_transaction` made: the SDK's own additions stay in the house."""
    kept = {name: event[name] for name in (*EVENT_FIELDS, *TRANSACTION_FIELDS) if name in event}
    kept["contexts"] = {"trace": event["contexts"]["trace"]}
    return kept


def _without_text(value: Any) -> dict[str, Any]:
    """An exception's type and places in the code; neither its text nor variables."""
    frames = (value.get("stacktrace") or {}).get("frames") or []
    return {
        "type": value.get("type"),
        "module": value.get("module"),
        "stacktrace": {"frames": [{name: frame[name] for name in FRAME_FIELDS if name in frame} for frame in frames]},
    }
