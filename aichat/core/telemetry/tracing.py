"""Carries the request ID and the caller through a request: they are set at its edge and can be read wherever its work runs.

A context variable holds one mutable `Trace`. Tasks and threads started for the request inherit the variable, so the access
line at the edge sees what is bound deep inside (the user, after authentication).
"""

import logging
import random
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from urllib.parse import quote

from aichat.core.telemetry import measurements

logger = logging.getLogger(__name__)
access = logging.getLogger("aichat.access")
ACCESS_LINE = "%(method)s %(path)s %(status)s"
ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")
# https://www.w3.org/TR/trace-context/#traceparent-header: version, trace id, parent id, flags
TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Trace:
    """The fields that every log line of one request (or one run of a command or job) carries."""

    request_id: str
    traceparent: str = ""
    user: str = ""
    organization: str = ""
    address: str = ""  # the client's
    route: str = ""  # the URL conf's pattern, once it is known
    started: float = field(default_factory=perf_counter)
    headers: dict[str, str] = field(default_factory=dict)  # for the answer, also when the answer is an error
    after: list[Callable[[], object]] | None = None  # what waits for the answer's end; None: nothing has to wait


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def begin(request_id: str = "", traceparent: str = "") -> Trace:
    """Start a trace for the work that follows. A request ID that is not of the `ACCEPTED` form is replaced by a new one."""
    if not ACCEPTED.fullmatch(request_id):
        request_id = f"{random.getrandbits(128):032x}"  # no secret: the operating system's generator need not be asked
    trace = Trace(request_id, traceparent if TRACEPARENT.fullmatch(traceparent) else "")
    _current.set(trace)
    return trace


def current() -> Trace | None:
    """The trace of the work that runs; None outside of any request, command or job."""
    return _current.get()


def request_id() -> str:
    """The request's ID; empty outside of any request."""
    trace = _current.get()
    return trace.request_id if trace else ""


def address() -> str:
    """The address of the client, or what a trusted proxy says of it; empty outside of any request."""
    trace = _current.get()
    return trace.address if trace else ""


def bind(*, user: object = "", organization: object = "") -> None:
    """Put the caller's IDs on the trace, once authentication knows them."""
    if trace := _current.get():
        trace.user, trace.organization = str(user), str(organization)


def answer_with(headers: dict[str, str]) -> None:
    """Add headers to the request's answer, whether it is a success or an error."""
    if trace := _current.get():
        trace.headers.update(headers)


def after_answer(work: Callable[[], object]) -> None:
    """Call `work` when the request's answer has been handed to the server: its client need not wait for it.

    The call is made at once where there is no answer to wait for: it was sent, its client has left, or a command runs.
    Call this on the event loop.
    """
    trace = _current.get()
    if trace is None or trace.after is None:
        work()
    else:
        trace.after.append(work)


def answered(trace: Trace) -> None:
    """Do what waited for the end of the request's answer; an error of this work is logged, never raised."""
    waiting, trace.after = trace.after or [], None
    for work in waiting:
        try:
            work()
        except Exception:
            logger.exception("what waited for an answer failed")


def answer_headers(trace: Trace) -> dict[str, str]:
    """The headers of every answer: the request ID, and what `answer_with` added."""
    return {"X-Request-ID": trace.request_id, **trace.headers}


def encoded_headers(trace: Trace) -> list[tuple[bytes, bytes]]:
    """The headers of `answer_headers` as ASGI sends them."""
    own = (b"X-Request-ID", trace.request_id.encode())
    return [own, *[(name.encode(), value.encode("latin-1")) for name, value in trace.headers.items()]]


def log_access(trace: Trace, *, method: str, path: str, status: int, finished: bool) -> None:
    """Log the access line and note the request's measurement.

    The path is logged without its query, where a careless client may put a secret.
    """
    seconds = perf_counter() - trace.started
    measurements.note(measurements.RequestEnded(method=method, route=trace.route, status=status, seconds=seconds))
    facts = {
        "method": method,
        "path": path if path.isprintable() else quote(path),
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "finished": finished,  # false: the client left before the answer's end
    }
    if access.isEnabledFor(logging.INFO):  # the record is made here: finding the line of code that logs takes long
        access.handle(access.makeRecord(access.name, logging.INFO, "", 0, ACCESS_LINE, (facts,), None, extra=facts))


class TraceFilter(logging.Filter):
    """Gives every log record the request's fields."""

    def filter(self, record: logging.LogRecord) -> bool:
        trace = _current.get()
        record.request_id = trace.request_id if trace else ""
        record.traceparent = trace.traceparent if trace else ""
        record.user = trace.user if trace else ""
        record.organization = trace.organization if trace else ""
        return True
