"""Django's middleware around the hot URLs: its hooks called as plain functions, and what is always the same said once.

Most of it neither looks at the body nor at the answer: whether a host is served here, what headers an answer to this
origin has. Such layers are asked once for all requests that look the same to them (`Usual`), the same objects that
would be asked every time, so that there is no second copy of what they decide.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from corsheaders.middleware import CorsMiddleware
from django.conf import settings
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.module_loading import import_string

from aichat.core.web.fast_path.request import FastPathRequest
from aichat.core.web.middleware import ContentPolicyMiddleware, Middleware

# Middleware without any effect on hot URLs: there is no session, form, message or file, and bearer tokens can't be
# forged by another site. All other middleware of the settings runs; a test knows this list.
WITHOUT_EFFECT = {
    "aichat.core.web.addresses.AddressMiddleware",  # the ASGI application has mapped the path already
    "aichat.core.web.middleware.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
}
BOTH_WAYS = (SecurityMiddleware, ContentPolicyMiddleware, CorsMiddleware, XFrameOptionsMiddleware)
ON_THE_WAY_IN = (*BOTH_WAYS, CommonMiddleware)  # the length of an answer is another each time
MOST = 500  # usual answers kept: hosts are few, but anybody may send any origin

Before = Callable[[HttpRequest], HttpResponseBase | None]
After = Callable[[HttpRequest, HttpResponseBase], HttpResponseBase]
View = Callable[[HttpRequest], Awaitable[HttpResponseBase]]
HeaderPairs = list[tuple[bytes, bytes]]


def varying_headers() -> frozenset[bytes]:
    """The headers of a request that what is asked once looks at; a test holds this against what it does look at."""
    names = {"host", "origin", "x-forwarded-host", "x-forwarded-port", "access-control-request-private-network"}
    if settings.SECURE_PROXY_SSL_HEADER:
        names.add(settings.SECURE_PROXY_SSL_HEADER[0].removeprefix("HTTP_").replace("_", "-").lower())
    if settings.DISALLOWED_USER_AGENTS:
        names.add("user-agent")
    return frozenset(name.encode() for name in names)


@dataclass(frozen=True, slots=True)
class CachedHeaders:
    """The headers that answers to requests of one look have besides their own."""

    headers: HeaderPairs
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a middleware does before and after the view, and whether that is the same for all requests of one look."""

    before: Before | None
    after: After | None
    steady_before: bool
    steady_after: bool


class MiddlewareChain:
    """The middleware of the settings, the outermost first."""

    def __init__(self) -> None:
        self.all = [hooks_of(path) for path in settings.MIDDLEWARE if path not in WITHOUT_EFFECT]
        self.each_before = [one.before for one in self.all if one.before and not one.steady_before]
        self.each_after = [one.after for one in reversed(self.all) if one.after and not one.steady_after]
        self.looked_at = varying_headers()
        self.usual: dict[tuple[Any, ...], CachedHeaders] = {}

    async def respond(self, request: FastPathRequest, view: View) -> tuple[HttpResponseBase, HeaderPairs]:
        """The view's response inside all layers, and the headers it is to have besides its own."""
        usual = self.usual_of(request)
        if usual is None or not self.let_in(request):
            return await self.one_by_one(request, view), []
        response = await view(request)
        if usual.names.isdisjoint(map(str.lower, response.headers)):
            return passed(request, response, self.each_after), usual.headers
        return passed(request, response, [one.after for one in reversed(self.all) if one.after]), []

    async def one_by_one(self, request: FastPathRequest, view: View) -> HttpResponseBase:
        """As Django calls them: a layer that answers itself, or fails, is passed by those around it."""
        response: HttpResponseBase | None = None
        around: list[After] = []
        for one in self.all:
            try:
                response = one.before(request) if one.before else None
            except Exception as error:
                response = response_for_exception(request, error)
            else:
                if one.after:
                    around.insert(0, one.after)
            if response is not None:
                break
        return passed(request, response or await view(request), around)

    def let_in(self, request: FastPathRequest) -> bool:
        """Whether those layers let it in that look at more of a request."""
        try:
            return all(before(request) is None for before in self.each_before)
        except Exception:
            return False  # as will be found, and answered, in its place

    def usual_of(self, request: FastPathRequest) -> CachedHeaders | None:
        """None for a request that a layer does not let in: that is not remembered, and answered by the layer itself."""
        scope = request.scope
        look = tuple((name, value) for name, value in scope["headers"] if name in self.looked_at)
        key = scope["path"], scope.get("scheme"), scope.get("server"), look
        found = self.usual.get(key)
        if found is None and (found := self.ask(request)):
            if len(self.usual) >= MOST:
                self.usual.clear()
            self.usual[key] = found
        return found

    def ask(self, request: FastPathRequest) -> CachedHeaders | None:
        response: HttpResponseBase = HttpResponse()
        own = set(response.headers)
        try:
            if any(one.before(request) is not None for one in self.all if one.before and one.steady_before):
                return None
            for one in reversed(self.all):
                if one.after and one.steady_after:
                    response = one.after(request, response)
        except Exception:
            return None
        added = [(name, value) for name, value in response.items() if name not in own]
        names = frozenset(name.lower() for name, _ in added)
        return CachedHeaders([(name.encode("ascii"), value.encode("latin-1")) for name, value in added], names)


def passed(request: HttpRequest, response: HttpResponseBase, afters: Iterable[After]) -> HttpResponseBase:
    """The response as it comes out of layers, the innermost first."""
    for after in afters:
        try:
            response = after(request, response)
        except Exception as error:
            response = response_for_exception(request, error)
    return response


class FastCommonMiddleware(CommonMiddleware):
    """They are what they are: nothing is looked up to know whether a slash is missing."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return False


def hooks_of(path: str) -> Hooks:
    kind = import_string(path)
    steady_before, steady_after = issubclass(kind, ON_THE_WAY_IN), issubclass(kind, BOTH_WAYS)
    middleware = (FastCommonMiddleware if kind is CommonMiddleware else kind)(_no_next)
    match middleware:
        case Middleware():
            before = middleware.before if kind.before is not Middleware.before else None
            after = middleware.after if kind.after is not Middleware.after else None
        case CorsMiddleware():
            before, after = middleware.check_preflight, middleware.add_response_headers
        case _:
            before = getattr(middleware, "process_request", None)
            after = getattr(middleware, "process_response", None)
    return Hooks(before, after, steady_before, steady_after)


def _no_next(request: HttpRequest) -> HttpResponseBase:
    raise AssertionError("the thin handler calls the hooks itself")
