"""The browser's way in by single sign-on: off to the issuer, and back. What is done is in `accounts/sso.py`."""

from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts import admin_sessions, login_cookie, rate_limits, services, sso
from accounts.browser_pages import page, target_of
from aichat.core.errors import PermissionDenied

COOKIE = "aichat_sso"
PATH = "/accounts/"


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
        login(request, user, backend=admin_sessions.BACKEND)
    else:
        token, secret = services.create_login_token(user)
        login_cookie.put(response, secret, token.expiry)
    response.delete_cookie(COOKIE, path=PATH, samesite="Lax")
    return response
