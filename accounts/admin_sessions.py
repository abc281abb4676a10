"""Sessions of the admin site among a person's logins: each has a login token, whose secret nobody knows.

So a session is listed and ended like every other login (`GET /api/v1/me/sessions`), and ends with all of them. Signals of
`django.contrib.auth` begin and end it; `accounts/admin.py` asks at each page whether it was ended. An administrator who is
logged in on the portal's pages needs no second login: the session then has that login's token, and either ends both.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import HttpRequest
from django.utils import timezone

from accounts.authentication import stored_token
from accounts.models import AccessToken, User
from aichat.core.errors import ApiError

KEY = "login_token"  # in the session: the ID of its token
NAME = "admin site"
PATHS = ("/admin/", "/accounts/")
BACKEND = "django.contrib.auth.backends.ModelBackend"


def is_ended(request: HttpRequest) -> bool:
    """Return whether the session's login was ended elsewhere. A request asks once."""
    if not hasattr(request, "_login_ended"):
        request._login_ended = _is_ended(request.session.get(KEY))  # type: ignore[attr-defined]
    return bool(request._login_ended)  # type: ignore[attr-defined]


def begin_from_cookie(request: HttpRequest) -> bool:
    """Begin a session for an administrator who is logged in on the portal's pages; returns whether there is one."""
    try:
        token = stored_token(request.COOKIES.get(settings.LOGIN_COOKIE_NAME, ""))
    except ApiError:
        return False
    if token.kind != AccessToken.Kind.LOGIN or not token.user.may_administer:
        return False
    request._login_token = token  # type: ignore[attr-defined]
    login(request, token.user, backend=BACKEND)
    return True


def _is_ended(token_id: str | None) -> bool:
    return token_id is not None and not AccessToken.objects.usable().filter(id=token_id).exists()


def _begin(sender: Any, request: HttpRequest | None, user: User, **_: Any) -> None:
    if request is None or not request.path_info.startswith(PATHS):
        return
    token = getattr(request, "_login_token", None)
    if token is None:
        token, _secret = AccessToken.objects.create(user=user, kind=AccessToken.Kind.LOGIN, name=NAME)
    request.session[KEY] = str(token.id)


def _end(sender: Any, request: HttpRequest, user: User | None, **_: Any) -> None:
    if token_id := request.session.get(KEY):
        AccessToken.objects.filter(id=token_id, revoked_at=None).update(revoked_at=timezone.now())


def watch() -> None:
    """Connect the signals, once at the start of the process."""
    user_logged_in.connect(_begin, dispatch_uid="admin_sessions")
    user_logged_out.connect(_end, dispatch_uid="admin_sessions")
