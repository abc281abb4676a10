"""The language in which a person reads: the one that they chose, else the one that their browser asks for, else English.

The portal's pages and the answers to them are translated, and mails to people. Programs, logs and the operator's console are
in English.
"""

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers

from accounts.authentication import PORTAL_HEADER
from accounts.models import User
from aichat.core.web.middleware import Middleware


def of_mail_to(user: User) -> str:
    """Return the language of a mail to somebody: their own, else the language of the request that makes the mail."""
    return user.language or translation.get_language() or settings.LANGUAGE_CODE


class LanguageMiddleware(Middleware):
    """Translates what a browser shows: pages, and what the portal's scripts ask for.

    A chosen language is in the cookie `LANGUAGE_COOKIE_NAME`, which the portal's scripts keep equal to the person's choice.
    """

    def before(self, request: HttpRequest) -> None:
        if is_shown_to_people(request):
            translation.activate(translation.get_language_from_request(request))

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if is_shown_to_people(request):
            response.headers.setdefault("Content-Language", translation.get_language() or settings.LANGUAGE_CODE)
            patch_vary_headers(response, ("Accept", "Accept-Language", "Cookie"))
            translation.deactivate()
        return response


def is_shown_to_people(request: HttpRequest) -> bool:
    if request.path_info.startswith("/admin/"):
        return False
    return PORTAL_HEADER in request.headers or "text/html" in request.headers.get("Accept", "")
