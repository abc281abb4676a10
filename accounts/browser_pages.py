"""The paths below `/accounts/`: they lead to the pages for logging in, signing up and one's account.

They are the usual paths of Django's account apps, so that links and bookmarks of before lead on. The pages themselves are
the portal's.
"""

import functools
import re
from collections.abc import Callable
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import get_script_prefix, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from rest_framework.decorators import permission_classes

from accounts.permissions import Public
from aichat.core.errors import ApiError, MethodNotAllowed
from aichat.core.telemetry import tracing
from aichat.core.web.middleware import SELF, policy

View = Callable[..., HttpResponse]
LONGEST_PATH = 500  # characters of the path to which a login leads
# The beginning of a path, the page to which it leads, and the part of the page. The first row that fits counts.
LEADS = (
    ("login", "login", ""),
    ("signup", "signup", ""),
    ("password/reset", "reset-password", ""),
    ("confirm-email", "verify-email", ""),
    ("password", "account", "#change-password"),
    ("2fa/authenticate", "login", ""),
    ("2fa/webauthn/login", "login", ""),
    ("2fa/webauthn", "account", "#passkeys"),
    ("2fa", "account", "#second-factor"),
    ("sessions", "account", "#logins"),
    ("logout", "account", "#logins"),
    ("email", "account", ""),
    ("reauthenticate", "login", ""),
    ("3rdparty", "account", ""),
)
KEY = re.compile(r"\A(?:password/reset/key|confirm-email)/([^/]+)\Z")
PROVIDER = re.compile(r"\Aoidc/[\w.-]+/login\Z")


def page(view: View) -> View:
    """Decorate a view for browsers: GET only, and errors are a page in words."""

    @permission_classes([Public])
    @functools.wraps(view)
    def shown(request: HttpRequest, **names: str) -> HttpResponse:
        try:
            if request.method not in {"GET", "HEAD"}:
                raise MethodNotAllowed()
            response = view(request, **names)
        except ApiError as error:
            context = {"message": error.message, "request_id": tracing.request_id(), "again": reverse("portal:login")}
            response = render(request, "accounts/sso_problem.html", context, status=error.status)
            response["Content-Security-Policy"] = policy(style_src=SELF, img_src=SELF)
        response["Cache-Control"] = "no-store"
        return response

    return shown


def target_of(request: HttpRequest, default: str = "") -> str:
    """Return the path to which the browser goes after the login, as `next` says: one of ours, never a neighbour's."""
    wanted = request.GET.get("next", "")
    is_ours = wanted.startswith(get_script_prefix()) and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted if is_ours and len(wanted) <= LONGEST_PATH else default or get_script_prefix()


@page
def lead(request: HttpRequest, path: str = "") -> HttpResponse:
    """Lead to the page that a path below `/accounts/` is for, with the query, such as `next`."""
    path = path.rstrip("/")
    query = request.GET.copy()
    if PROVIDER.match(path):
        return _redirect(reverse("sso"), query.urlencode())
    if key := KEY.match(path):
        query["token"] = key[1]
    for beginning, name, part in LEADS:
        if f"{path}/".startswith(f"{beginning}/"):
            return _redirect(reverse(f"portal:{name}"), query.urlencode(), part)
    if path:
        raise Http404
    return _redirect(reverse("portal:account"), query.urlencode())


def login_address(target: str) -> str:
    """Return the address of the page on which people log in, from which they go on to `target`, a path of ours."""
    return f"{reverse('portal:login')}?{urlencode({'next': target})}"


def _redirect(address: str, query: str, part: str = "") -> HttpResponseRedirect:
    return HttpResponseRedirect(f"{address}{'?' if query else ''}{query}{part}")
