"""Spans for OpenTelemetry (OTEL_EXPORTER_OTLP_ENDPOINT), by the official SDK, which is an optional package.

    with spans.step("reserve"):
        ...

Without the setting nothing is imported, and each function here is one comparison. With it the SDK's own variables hold
(`OTEL_*`: service name, headers, sampler, limits, queue). A span has IDs, names and numbers: no texts of people, and of an
error its code or class alone, because an error's text quotes what was refused.

The SDK sends from a thread of each process, in batches, and drops spans while the receiver is slow or gone. The thread
starts with the first span, so a master process that forks workers has none.
"""

import asyncio
import atexit
import functools
import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.conf import settings

from aichat.core.background import lifecycle
from aichat.core.errors import ApiError
from aichat.core.telemetry import tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)
CLOSING_SECONDS = 5.0  # that the last spans may take when the process ends
SERVICE = "aichat"
PROBES = {"/healthz", "/readyz", "/metrics"}  # which are asked every few seconds and tell nothing
Attributes = Mapping[str, Any]
P = ParamSpec("P")
T = TypeVar("T")


class Maker:
    """Makes the spans of a process; the SDK's provider, with its thread, is made for the first of them."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self._tracer: Tracer | None = None
        self._making = threading.Lock()

    @property
    def tracer(self) -> "Tracer":
        if self._tracer is None:
            with self._making:
                if self._tracer is None:
                    self._tracer = self._make()
        return self._tracer

    def _make(self) -> "Tracer":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self.provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint())))
        return self.provider.get_tracer(SERVICE, settings.RELEASE)


_maker: Maker | None = None  # None: off
enabled = False  # whether spans are made; code that runs for every request reads this instead of calling a function
_current: ContextVar["Span | None"] = ContextVar("span", default=None)
NO_STEP = nullcontext(None)


def resource() -> "Resource":
    """The SDK's description of this process: its service's name and version, and an ID of the process."""
    from opentelemetry.sdk.resources import Resource

    found = Resource.create({"service.version": settings.RELEASE})
    if str(found.attributes.get("service.name", "")).startswith("unknown_service"):  # OTEL_SERVICE_NAME is unset
        found = found.merge(Resource({"service.name": SERVICE}))
    return found


def endpoint() -> str:
    """The address to which spans are sent; empty: none are sent."""
    base: str = settings.OTEL_EXPORTER_OTLP_ENDPOINT
    own: str = settings.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
    found = own or (f"{base}/v1/traces" if base else "")
    return found if settings.OTEL_TRACES_EXPORTER == "otlp" else ""


def start() -> bool:
    """Make spans from now on, when a setting says where they go; called once at start (`AppConfig.ready`)."""
    global _maker, enabled
    if not endpoint():
        return False
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401  (here and not for the first request)
    except ImportError:
        return False  # the system check aichat.E042 says the mend
    _maker, enabled = Maker(), True
    return True


def begin(name: str, attributes: Attributes | None = None, *, kind: str = "INTERNAL") -> "Span | None":
    """Begin a span below the current one, else below the span that the client's `traceparent` names; None when off.

    The caller ends the span with `end`. `kind` is a word of OpenTelemetry: INTERNAL, SERVER, CLIENT, CONSUMER.
    """
    return None if _maker is None else _begin(_maker, name, attributes, kind)


def _begin(maker: Maker, name: str, attributes: Attributes | None, kind: str) -> "Span | None":
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context, parent, trace = Context(), _current.get(), tracing.current()
    if parent is not None:
        context = set_span_in_context(parent, context)
    elif trace is not None and trace.traceparent:
        context = TraceContextTextMapPropagator().extract({"traceparent": trace.traceparent}, context)
    try:
        return maker.tracer.start_span(name, context, kind=SpanKind[kind], attributes=dict(attributes or {}))
    except Exception:  # a wrong variable of the SDK: no request may fail for that
        switch_off()
        logger.exception("OpenTelemetry is off until the next start")
        return None


def end(span: "Span | None", problem: str = "", attributes: Attributes | None = None) -> None:
    """End a span; `problem` names the error that it ended with."""
    if span is None:
        return
    if attributes:
        span.set_attributes(attributes)
    if problem:
        from opentelemetry.trace import StatusCode

        span.set_attribute("error.type", problem)
        span.set_status(StatusCode.ERROR)
    span.end()


def switch_off() -> None:
    """Make no more spans in this process."""
    global _maker, enabled
    _maker, enabled = None, False


def harmless(work: Callable[P, T]) -> Callable[P, T | None]:
    """Decorate what is done for a span alone: its defects are logged, and fail no request."""

    @functools.wraps(work)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return work(*args, **kwargs)
        except Exception:
            logger.exception("a span lacks something")
            return None

    return guarded


# --- The current span -------------------------------------------------------------------------------------------------


class _Inside:
    """Makes a span the current one: what is begun inside is below it, and `traceparent` names it."""

    __slots__ = ("is_ended", "span", "token")

    def __init__(self, span: "Span", *, is_ended: bool) -> None:
        self.span, self.is_ended = span, is_ended
        self.token: Token[Span | None]

    def __enter__(self) -> "Span":
        self.token = _current.set(self.span)
        return self.span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self.token)
        if self.is_ended:
            end(self.span, name_of(error))


def step(
    name: str, attributes: Attributes | None = None, *, kind: str = "INTERNAL"
) -> "AbstractContextManager[Span | None]":
    """A span around a step of the work: it ends with the block, and with the block's error."""
    span = None if _maker is None else _begin(_maker, name, attributes, kind)
    return NO_STEP if span is None else _Inside(span, is_ended=True)


def inside(span: "Span | None") -> "AbstractContextManager[Span | None]":
    """Inside the block the span is the current one. Another place ends it."""
    return NO_STEP if span is None else _Inside(span, is_ended=False)


def name_of(error: BaseException | None) -> str:
    """The name of an error on a span: an `ApiError`'s code, else the class; empty when the client left."""
    if isinstance(error, ApiError):
        return error.code
    return type(error).__name__ if isinstance(error, Exception) else ""


def traceparent() -> str:
    """The W3C header for requests that the current work makes: of its span, else the client's own. It may be empty."""
    span = _current.get()
    if span is not None and (context := span.get_span_context()).is_valid:
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    trace = tracing.current()
    return trace.traceparent if trace else ""


def upstream_headers() -> dict[str, str]:
    """The headers by which a provider's spans join ours."""
    header = traceparent()
    return {"traceparent": header} if header else {}


# --- Requests ---------------------------------------------------------------------------------------------------------


def begin_request(trace: tracing.Trace, scope: Mapping[str, Any]) -> "Span | None":
    """Begin the span of an HTTP request (ASGI's `scope`), and let the request's log lines name it as `traceparent`.

    https://opentelemetry.io/docs/specs/semconv/http/http-spans/, without the path: the link of a mail has a secret there.
    The route is told.
    """
    _current.set(None)
    if scope["path"] in PROBES:
        return None
    attributes = {
        "http.request.method": scope["method"],
        "url.scheme": scope.get("scheme", "http"),
        "aichat.request_id": trace.request_id,
    }
    span = begin(scope["method"], attributes, kind="SERVER")
    _current.set(span)
    trace.traceparent = traceparent()
    return span


def end_request(span: "Span", trace: tracing.Trace, method: str, status: int) -> None:
    """End the span of an HTTP request. `status` 499: the client left."""
    span.update_name(f"{method} {trace.route}" if trace.route else method)
    found = {
        "http.response.status_code": status,
        "http.route": trace.route,
        "user.id": trace.user,
        "aichat.organization": trace.organization,
    }
    end(span, str(status) if status >= 500 else "", {name: value for name, value in found.items() if value})


# --- The end ----------------------------------------------------------------------------------------------------------


def close(seconds: float = CLOSING_SECONDS) -> None:
    """Send what is left, for at most `seconds`."""
    provider = _maker.provider if _maker else None
    if provider is not None:
        sending = threading.Thread(target=provider.shutdown, daemon=True)
        sending.start()
        sending.join(seconds)


@lifecycle.on_shutdown
async def _close() -> None:
    await asyncio.to_thread(close)


atexit.register(close)
