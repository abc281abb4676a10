"""Logging in at the OpenID Connect issuer in a browser: the authorization code flow, with PKCE, state and nonce.

| step | who | what |
| --- | --- | --- |
| 1 | the browser, at `/accounts/oidc/login` | `begin`: the address at the issuer; a signed cookie keeps what must come back |
| 2 | the person, at the issuer | log in there |
| 3 | the browser, at `/accounts/oidc/login/callback` | `finish`: state, code, ID token and nonce are checked |
| 4 | the browser, at `/accounts/oidc/logout` | `logout_address`: the login at the issuer ends as well, where it offers that |
| 5 | the issuer, at `/accounts/oidc/backchannel-logout` | `end_logins`: it ended the person's login |

People are found and made as for bearer JWTs (`accounts.oidc`): by issuer and subject, never by e-mail.
https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth, https://www.rfc-editor.org/rfc/rfc7636
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.core import signing
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext, gettext_noop

from accounts import logins, oidc
from accounts.models import ExternalIdentity, User
from aichat.core.errors import ApiError, InvalidRequest, PermissionDenied

GOOD_FOR = 600  # seconds between the two requests of the browser
SALT = "accounts.sso"
LONGEST = 4096  # characters of a code that an issuer sends
LONGEST_HINT = 3500  # characters of a cookie
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
AGAIN = "This login is over or was begun in another browser: log in again."


class SingleSignOnUnavailable(ApiError):
    status, code = 503, "sso_unavailable"
    message = gettext_noop(
        "This server has no single sign-on for browsers: its operator sets OIDC_ISSUER and OIDC_CLIENT_ID."
    )


@dataclass(frozen=True, slots=True)
class Attempt:
    """Holds what a browser keeps of a login under way. `target` is the path to which it goes then."""

    state: str
    nonce: str
    verifier: str
    target: str

    def sealed(self) -> str:
        return signing.dumps(asdict(self), salt=SALT)


def is_on() -> bool:
    return bool(settings.OIDC_ISSUER and settings.OIDC_CLIENT_ID)


def begin(target: str, redirect_uri: str) -> tuple[str, Attempt]:
    """Return the address at the issuer to send the browser to, and what the browser has to keep meanwhile.

    Raises `SingleSignOnUnavailable`, `IdentityProviderUnavailable`.
    """
    if not is_on():
        raise SingleSignOnUnavailable()
    attempt = Attempt(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), target)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(attempt.verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": settings.OIDC_CLIENT_ID,
        "redirect_uri": redirect_uri,
        "scope": "openid profile email",
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    address = oidc.keys_of(settings.OIDC_ISSUER).endpoint("authorization_endpoint")
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}", attempt


def opened(sealed: str) -> Attempt:
    """Return the login under way that the browser kept. Raises `InvalidRequest` when it is not signed by us, or too old."""
    try:
        return Attempt(**signing.loads(sealed, salt=SALT, max_age=GOOD_FOR))
    except (signing.BadSignature, TypeError):
        raise InvalidRequest(AGAIN) from None


def finish(attempt: Attempt, answer: Mapping[str, str], redirect_uri: str) -> tuple[User, str]:
    """Return the person who logged in at the issuer, made at first sight, and a hint for the logout there.

    `answer` is what the browser brought back.

    Raises `InvalidRequest`, `PermissionDenied` when the issuer refused, `InvalidJwt`, `IdentityProviderUnavailable`.
    """
    if not is_on():
        raise SingleSignOnUnavailable()
    if not constant_time_compare(answer.get("state", ""), attempt.state):
        raise InvalidRequest(AGAIN, param="state")
    if problem := answer.get("error"):
        shown = problem[:100] if problem.isprintable() and problem.isascii() else "an error"
        raise PermissionDenied(gettext("The identity provider did not log you in: %(reason)s.") % {"reason": shown})
    code = answer.get("code", "")
    if not 0 < len(code) <= LONGEST:
        raise InvalidRequest(AGAIN, param="code")
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": attempt.verifier,
    }
    token = oidc.exchange(fields)
    claims = oidc.verify(token, audience=settings.OIDC_CLIENT_ID)
    if not constant_time_compare(str(claims.get("nonce", "")), attempt.nonce):
        raise oidc.InvalidJwt(gettext("This token was made for another login: log in again."))
    if claims.get("azp", settings.OIDC_CLIENT_ID) != settings.OIDC_CLIENT_ID:
        raise oidc.InvalidJwt("This token was made for another application.")
    return oidc.user_of_claims(claims, is_login=True), hint_of(token)


def hint_of(token: str) -> str:
    """Return the ID token sealed for a cookie, so that nobody can use it. A token too long for a cookie is left out."""
    sealed = _seal().encrypt(token.encode()).decode()
    return sealed if len(sealed) <= LONGEST_HINT else _seal().encrypt(b"").decode()


def logout_address(hint: str, back: str) -> str:
    """Return the address at the issuer that ends the login there and sends the browser `back`; empty if there is none.

    `hint` is that of the login (`finish`): without one the browser's login did not come from the issuer.
    https://openid.net/specs/openid-connect-rpinitiated-1_0.html
    """
    if not (is_on() and hint):
        return ""
    try:
        token = _seal().decrypt(hint.encode()).decode()
        address = oidc.keys_of(settings.OIDC_ISSUER).endpoint("end_session_endpoint")
    except (InvalidToken, ApiError):
        return ""
    query = {"client_id": settings.OIDC_CLIENT_ID, "post_logout_redirect_uri": back}
    if token:
        query["id_token_hint"] = token
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"


def end_logins(token: str) -> None:
    """End all logins of the person whom the issuer's logout token names; a stranger's changes nothing.

    Raises `InvalidJwt`. https://openid.net/specs/openid-connect-backchannel-1_0.html#LogoutToken
    """
    if not is_on():
        raise SingleSignOnUnavailable()
    claims = oidc.verify(token, audience=settings.OIDC_CLIENT_ID)
    events = claims.get("events")
    if not isinstance(events, dict) or LOGOUT_EVENT not in events or "nonce" in claims:
        raise oidc.InvalidJwt("This is no logout token.")
    found = ExternalIdentity.objects.select_related("user").filter(**oidc.key_of(claims)).first()
    if found is not None:
        logins.end_logins(found.user)


def _seal() -> Fernet:
    key = hashlib.sha256(f"{SALT}:{settings.SECRET_KEY}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))
