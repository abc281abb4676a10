"""The pages of those who chat and pay.

A page holds no data: its script asks the public API, with the login token that the browser keeps in a cookie no script can
read (`accounts.authentication`). So the portal has no way of its own to money, models or conversations.
"""

from collections.abc import Callable
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import get_script_prefix
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import permission_classes
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import login_cookie, passkey_views, registration, sso
from accounts import views as accounts
from accounts.browser_pages import target_of
from accounts.permissions import Public
from aichat.core.web.middleware import SELF, policy

# Scripts, styles and questions to the server from this origin only. Pictures may also be made by a page's script.
PAGE_POLICY = policy(
    script_src=SELF, style_src=SELF, img_src=f"{SELF} data: blob:", font_src=SELF, connect_src=SELF, form_action=SELF
)
Page = Callable[..., HttpResponse]


def page(name: str) -> Page:
    """The view of one page: `portal/<name>.html`, the same for everybody but for the way on (`next`)."""

    @permission_classes([Public])
    def show(request: HttpRequest, conversation_id: UUID | None = None, token: str = "") -> HttpResponse:
        context = {
            "page": name,
            "portal": settings.PORTAL,
            "base": get_script_prefix(),
            "language_cookie": settings.LANGUAGE_COOKIE_NAME,
            "next": target_of(request),
            "largest_file": settings.MAX_REQUEST_BYTES,
            "languages": settings.LANGUAGES,
            "sells": bool(settings.STRIPE_SECRET_KEY),
            "sso": sso.is_on(),
            "passwords": settings.PASSWORD_LOGIN,
            "mail": bool(settings.EMAIL_URL),
            # An invitation may open a closed registration: the server asks whose it is.
            "registration_open": settings.PASSWORD_LOGIN and (registration.is_open() or "invitation" in request.GET),
        }
        headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
        if token:  # of a shared conversation: whoever has the address reads it, so no search engine is to have it
            headers |= {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}
        return TemplateResponse(request, f"portal/{name}.html", context, headers=headers)

    return show


def keep_in_cookie(response: Response) -> Response:
    """Move the login token of an answer into the cookie, so that no script ever sees it."""
    if token := response.data.pop("token", None):
        login_cookie.put(response, token, response.data["expires_at"])
    return response


@extend_schema(exclude=True)
class LoginView(accounts.LoginView):
    """Log in as the API does; the token goes into the cookie."""

    def post(self, request: Request) -> Response:
        return keep_in_cookie(super().post(request))


@extend_schema(exclude=True)
class PasskeyLoginView(passkey_views.PasskeyLoginView):
    """Log in with a passkey as the API does; the token goes into the cookie."""

    def post(self, request: Request) -> Response:
        return keep_in_cookie(super().post(request))


@extend_schema(exclude=True)
class SignUpView(accounts.RegisterView):
    """Sign up as the API does; the token goes into the cookie."""

    def post(self, request: Request) -> Response:
        return keep_in_cookie(super().post(request))


@extend_schema(exclude=True)
class LogoutView(accounts.LogoutView):
    """Revoke the token of the cookie, and forget it."""

    def post(self, request: Request) -> Response:
        response = super().post(request)
        login_cookie.forget(response)
        return response
