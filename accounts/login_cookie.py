"""The cookie with a login token that the portal's pages use; `accounts.authentication` says when it counts."""

from datetime import datetime
from typing import Any

from django.conf import settings


def put(response: Any, token: str, expires: datetime) -> None:
    """Put the login token where no script can read it, and from where no other site's request takes it."""
    response.set_cookie(
        settings.LOGIN_COOKIE_NAME,
        token,
        expires=expires,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.HTTPS,
        httponly=True,
        samesite="Strict",
    )


def forget(response: Any) -> None:
    """Have the browser forget the login token."""
    response.delete_cookie(settings.LOGIN_COOKIE_NAME, path=settings.SESSION_COOKIE_PATH, samesite="Strict")
