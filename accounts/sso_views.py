"""The browser's way in by single sign-on: off to the issuer, and back. What is done is in `accounts/sso.py`."""

from django.conf import settings
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext
from drf_spectacular.utils import extend_schema
from rest_framework import parsers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import admin_sessions, login_cookie, oidc, rate_limits, services, sso
from accounts.browser_pages import page, target_of
from accounts.permissions import Public
from aichat.core.errors import InvalidRequest, PermissionDenied

COOKIE, HINT = "aichat_sso", "aichat_sso_hint"


def callback_address(request: HttpRequest) -> str:
    return request.build_absolute_uri(reverse("sso-callback"))


def cookie_path() -> str:
    """Return the path below which the browser sends the cookies of a login at the issuer."""
    return f"{settings.URL_PREFIX}/accounts/"


@page
def begin(request: HttpRequest) -> HttpResponse:
    """Send the browser to the issuer. `next` is the path to which it goes after the login."""
    address, attempt = sso.begin(target_of(request), callback_address(request))
    response = HttpResponseRedirect(address)
    response.set_cookie(
        COOKIE,
        attempt.sealed(),
        max_age=sso.GOOD_FOR,
        path=cookie_path(),
        secure=settings.HTTPS,
        httponly=True,
        samesite="Lax",
    )
    return response


@page
def finish(request: HttpRequest) -> HttpResponse:
    """Log in whom the issuer sent back: for the admin site by a session, for the portal by its cookie."""
    rate_limits.hit(settings.RATE_LIMIT_AUTH, "sso", "address", rate_limits.network_of(request))
    attempt = sso.opened(request.COOKIES.get(COOKIE, ""))
    user, hint = sso.finish(attempt, request.GET.dict(), callback_address(request))
    user.take_deletion_back()
    response = HttpResponseRedirect(attempt.target)
    if attempt.target.startswith(reverse("admin:index")):
        if not user.is_staff:
            raise PermissionDenied(gettext("The operator's console is for the role ADMIN, and you don't have it."))
        login(request, user, backend=admin_sessions.BACKEND)
    else:
        token, secret = services.create_login_token(user)
        login_cookie.put(response, secret, token.expiry)
    response.delete_cookie(COOKIE, path=cookie_path(), samesite="Lax")
    response.set_cookie(HINT, hint, path=reverse("sso-logout"), secure=settings.HTTPS, httponly=True, samesite="Strict")
    return response


@page
def leave(request: HttpRequest) -> HttpResponse:
    """Lead a browser that was logged out here to the issuer's logout, if its login came from there, else to the login page.

    A link on another site's page brings no hint along, so it logs nobody out.
    """
    back = request.build_absolute_uri(reverse("portal:login"))
    address = sso.logout_address(request.COOKIES.get(HINT, ""), back)
    response = HttpResponseRedirect(address or reverse("portal:login"))
    response.delete_cookie(HINT, path=reverse("sso-logout"), samesite="Strict")
    return response


class BackchannelLogoutView(APIView):
    authentication_classes = ()
    permission_classes = [Public]
    parser_classes = [parsers.FormParser]

    @extend_schema(exclude=True)
    def post(self, request: Request) -> Response:
        """End the logins of the person whom `logout_token` names. 400 for a token that is not the issuer's."""
        token = request.data.get("logout_token", "") if isinstance(request.data, dict) else ""
        try:
            sso.end_logins(token if isinstance(token, str) else "")
        except oidc.InvalidJwt as error:
            raise InvalidRequest(error.message, param="logout_token") from None
        return Response(headers={"Cache-Control": "no-store"})
