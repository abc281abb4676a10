"""The cookie with a login token that the portal's pages use; `accounts.authentication` says when it counts."""

from datetime import datetime
from typing import Any

from django.conf import settings

from accounts.authentication import LOGIN_COOKIE


def put(response: Any, token: str, expires: datetime) -> None:
    """Put the login token where no script can read it, and from where no other site's request takes it."""
    response.set_cookie(LOGIN_COOKIE, token, expires=expires, secure=settings.HTTPS, httponly=True, samesite="Strict")
