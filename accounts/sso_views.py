"""The browser's way in by single sign-on: off to the issuer, and back. What is done is in `accounts/sso.py`."""

import functools
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from rest_framework.decorators import permission_classes

from accounts import login_cookie, rate_limits, services, sso
from accounts.permissions import Public
from aichat.core.errors import ApiError, MethodNotAllowed, PermissionDenied
from aichat.core.telemetry import tracing
from aichat.core.web.middleware import SELF, policy

COOKIE = "aichat_sso"
PATH = "/accounts/"
ADMIN_BACKEND = "django.contrib.auth.backends.ModelBackend"
View = Callable[[HttpRequest], HttpResponse]


def page(view: View) -> View:
    """Decorate a view for browsers: GET only, and errors are a page in words."""

    @permission_classes([Public])
    @functools.wraps(view)
    def shown(request: HttpRequest) -> HttpResponse:
        try:
            if request.method not in {"GET", "HEAD"}:
                raise MethodNotAllowed()
            response = view(request)
        except ApiError as error:
            context = {"message": error.message, "request_id": tracing.request_id(), "again": login_page()}
            response = render(request, "accounts/sso_problem.html", context, status=error.status)
            response["Content-Security-Policy"] = policy(style_src=SELF, img_src=SELF)
        response["Cache-Control"] = "no-store"
        return response

    return shown


def login_page() -> str:
    """The path of the page on which people log in."""
    return reverse("portal:login") if settings.PORTAL else reverse("admin:login")


def target_of(request: HttpRequest) -> str:
    """Return the path to which the browser goes after the login: of this server, never another site's."""
    wanted = request.GET.get("next", "")
    is_ours = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return wanted[:500] if is_ours else "/" if settings.PORTAL else reverse("admin:index")


def callback_address(request: HttpRequest) -> str:
    return request.build_absolute_uri(reverse("sso-callback"))


@page
def begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the issuer. `next` is the path to which it goes after the login."""
    address, attempt = sso.begin(target_of(request), callback_address(request))
    response = HttpResponseRedirect(address)
    response.set_cookie(
        COOKIE, attempt.sealed(), max_age=sso.GOOD_FOR, path=PATH, secure=settings.HTTPS, httponly=True, samesite="Lax"
    )
    return response


@page
def finish(request: HttpRequest) -> HttpResponse:
    """Log in whom the issuer sent back: for the admin site by a session, for the portal by its cookie."""
    rate_limits.hit(settings.RATE_LIMIT_AUTH, "sso", "address", rate_limits.network_of(request))
    attempt = sso.opened(request.COOKIES.get(COOKIE, ""))
    user = sso.finish(attempt, request.GET.dict(), callback_address(request))
    user.take_deletion_back()
    response = HttpResponseRedirect(attempt.target)
    if attempt.target.startswith(reverse("admin:index")):
        if not user.is_staff:
            raise PermissionDenied("The operator's console is for the role ADMIN, and you don't have it.")
        login(request, user, backend=ADMIN_BACKEND)
    else:
        token, secret = services.create_login_token(user)
        login_cookie.put(response, secret, token.expiry)
    response.delete_cookie(COOKIE, path=PATH, samesite="Lax")
    return response


@page
def enter(request: HttpRequest) -> HttpResponse:
    """Lead to the page on which people log in."""
    return HttpResponseRedirect(login_page())


@page
def sign_up(request: HttpRequest) -> HttpResponse:
    """Lead to the page on which people sign up."""
    return HttpResponseRedirect(reverse("portal:signup") if settings.PORTAL else login_page())
