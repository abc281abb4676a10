"""Django's middleware around the fast path: its hooks are called as plain functions, and what they add is cached.

Most middleware looks neither at the body nor at the response: whether a host is served here, which headers a response to
an origin has. Such middleware is asked once for all requests with the same `varying_headers` (`CachedHeaders`). The
objects asked are those that would be asked every time, so there is no second copy of what they decide.
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

from aichat.core.web.compression import BODY_PROBLEM, BODY_TOO_LARGE
from aichat.core.web.fast_path.request import FastPathRequest
from aichat.core.web.middleware import (
    BodyLimitMiddleware,
    ContentPolicyMiddleware,
    Middleware,
    NulMiddleware,
)

# Middleware without any effect on the fast path: there is no session, form, message or file, bearer tokens can't be forged
# by another site, the handler traces by itself, and the portal has its own words for what a generation answers. All other
# middleware of the settings runs; a test knows this list.
WITHOUT_EFFECT = {
    "aichat.core.web.addresses.AddressMiddleware",  # the ASGI application has mapped the path already
    "accounts.languages.LanguageMiddleware",
    "aichat.core.web.middleware.TraceMiddleware",
    "aichat.core.web.middleware.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
}
BOTH_WAYS = (SecurityMiddleware, ContentPolicyMiddleware, CorsMiddleware, XFrameOptionsMiddleware)
# CommonMiddleware adds the length of each response. BodyLimitMiddleware refuses only what is marked in the scope.
ON_THE_WAY_IN = (*BOTH_WAYS, NulMiddleware, CommonMiddleware, BodyLimitMiddleware)
MOST = 500  # entries of the cache: hosts are few, but anybody may send any origin or query

Before = Callable[[HttpRequest], HttpResponseBase | None]
After = Callable[[HttpRequest, HttpResponseBase], HttpResponseBase]
View = Callable[[FastPathRequest], Awaitable[HttpResponseBase]]
HeaderPairs = list[tuple[bytes, bytes]]


def varying_headers() -> frozenset[bytes]:
    """The request headers that cached middleware reads; a test compares them with what the middleware does read."""
    names = {"host", "origin", "x-forwarded-host", "x-forwarded-port", "access-control-request-private-network"}
    if settings.SECURE_PROXY_SSL_HEADER:
        names.add(settings.SECURE_PROXY_SSL_HEADER[0].removeprefix("HTTP_").replace("_", "-").lower())
    if settings.DISALLOWED_USER_AGENTS:
        names.add("user-agent")
    return frozenset(name.encode() for name in names)


@dataclass(frozen=True, slots=True)
class CachedHeaders:
    """The headers that middleware adds to every response to requests with the same varying headers.

    `afters` are the hooks that look at each of these responses, the innermost first.
    """

    headers: HeaderPairs
    names: frozenset[str]
    afters: list[After]


@dataclass(frozen=True, slots=True)
class Hooks:
    """Holds what a middleware does before and after the view, and whether its result may be cached.

    `after` has no effect on responses to other paths than those that begin with `below`.
    """

    before: Before | None
    after: After | None
    steady_before: bool
    steady_after: bool
    below: str


class MiddlewareChain:
    """The middleware of the settings, the outermost first."""

    def __init__(self) -> None:
        self.all = [hooks_of(path) for path in settings.MIDDLEWARE if path not in WITHOUT_EFFECT]
        self.each_before = [one.before for one in self.all if one.before and not one.steady_before]
        self.varying = varying_headers()
        self.cached: dict[tuple[Any, ...], CachedHeaders] = {}

    async def respond(self, request: FastPathRequest, view: View) -> tuple[HttpResponseBase, HeaderPairs]:
        """The view's response as it leaves all middleware, and the headers to add to the response's own."""
        cached = self.cached_headers(request)
        if cached is None or (self.each_before and not self.let_in(request)):
            return await self.one_by_one(request, view), []
        response = await view(request)
        if not cached.names.isdisjoint(map(str.lower, response.headers)):
            return passed(request, response, [one.after for one in reversed(self.all) if one.after]), []
        if cached.afters:
            response = passed(request, response, cached.afters)
        return response, cached.headers

    async def one_by_one(self, request: FastPathRequest, view: View) -> HttpResponseBase:
        """Call all hooks as Django does: the response of one that responds itself, or fails, passes those around it."""
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
        """Whether the middleware whose result can't be cached lets the request pass."""
        try:
            return all(before(request) is None for before in self.each_before)
        except Exception:
            return False  # `one_by_one` meets the same error in its place, and responds

    def cached_headers(self, request: FastPathRequest) -> CachedHeaders | None:
        """The headers to add to the response; None, which is not cached, for a request that middleware refuses."""
        scope = request.scope
        if BODY_TOO_LARGE in scope or BODY_PROBLEM in scope:
            return None  # BodyLimitMiddleware refuses it
        varying = tuple([pair for pair in scope["headers"] if pair[0] in self.varying])
        key = scope["path"], scope.get("query_string"), scope.get("scheme"), scope.get("server"), varying
        found = self.cached.get(key)
        if found is None and (found := self.ask(request)):
            if len(self.cached) >= MOST:
                self.cached.clear()
            self.cached[key] = found
        return found

    def ask(self, request: FastPathRequest) -> CachedHeaders | None:
        """What the middleware adds to an empty response, if it lets the request pass."""
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
        return CachedHeaders(
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in added],
            names=frozenset(name.lower() for name, _ in added),
            afters=[
                one.after
                for one in reversed(self.all)
                if one.after and not one.steady_after and request.path_info.startswith(one.below)
            ],
        )


def passed(request: HttpRequest, response: HttpResponseBase, afters: Iterable[After]) -> HttpResponseBase:
    """The response after the hooks, the innermost first."""
    for after in afters:
        try:
            response = after(request, response)
        except Exception as error:
            response = response_for_exception(request, error)
    return response


class FastCommonMiddleware(CommonMiddleware):
    """CommonMiddleware that never resolves a URL to see whether a slash is missing: fast paths are complete."""

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
    return Hooks(before, after, steady_before, steady_after, getattr(kind, "below", ""))


def _no_next(request: HttpRequest) -> HttpResponseBase:
    raise AssertionError("the fast path calls the hooks itself")
