"""Sends signed messages to servers of others. No redirect is followed, no private address is called.

Messages are signed as Standard Webhooks (https://www.standardwebhooks.com): `webhook-id`, `webhook-timestamp` and
`webhook-signature`, HMAC-SHA256 over "ID.SECONDS.BODY" in base64. For receivers of earlier releases, and until the next
one, the header `Aichat-Signature` is sent too: `t=SECONDS,v1=HEX`, HMAC-SHA256 over "SECONDS.BODY".
"""

import hmac
from base64 import b64encode
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
from django.conf import settings
from django.utils.crypto import salted_hmac
from standardwebhooks import Webhook

from aichat.core.outbound.public_addresses import is_public, public_socket

SIGNATURE = "Aichat-Signature"
PREFIX = "whsec_"  # of a secret whose rest is base64
TIMEOUT_SECONDS = 10.0


def secret_of(organization_id: UUID) -> str:
    """The organization's signing secret (`whsec_` and base64), derived from SECRET_KEY: a change of that key changes it."""
    key = salted_hmac("aichat.images.standard-webhooks", str(organization_id), algorithm="sha256").digest()
    return PREFIX + b64encode(key).decode()


def reachable(url: str) -> str:
    """Return `url`. Raises `ValueError` when its host is written as a private address.

    The addresses of a name are checked when a message is sent.
    """
    if url and not settings.ALLOW_PRIVATE_WEBHOOKS and is_private(urlsplit(url).hostname or ""):
        raise ValueError("private addresses are not called")
    return url


def is_private(host: str) -> bool:
    """Whether `host` is a private IP address or a name of this machine."""
    try:
        return not is_public(host)
    except ValueError:  # a name
        return host == "localhost" or host.endswith(".localhost")


def signature(secret: str, body: bytes, seconds: int) -> str:
    """The value of `Aichat-Signature`."""
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, "sha256").hexdigest()
    return f"t={seconds},v1={digest}"


def signed_headers(secret: str, body: bytes, message_id: str) -> dict[str, str]:
    """The three headers of Standard Webhooks. A `secret` without the prefix `whsec_` is used as it is, as UTF-8."""
    now = datetime.now(UTC)
    key = Webhook(secret if secret.startswith(PREFIX) else secret.encode())
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": key.sign(message_id, now, body.decode()),
    }


async def post(
    url: str, body: bytes, secret: str, *, message_id: str, old_secret: str = "", **headers: str
) -> tuple[int | None, str]:
    """Send `body` once. Returns the status code (None without an answer) and the problem ("" when a 2xx came).

    `message_id` is the same at every try, so that a receiver knows a message it has. `old_secret` signs the old header.
    """
    guard = None if settings.ALLOW_PRIVATE_WEBHOOKS else public_socket
    signed = signed_headers(secret, body, message_id)
    sent = {
        "Content-Type": "application/json",
        "User-Agent": "aichat-webhooks",
        SIGNATURE: signature(old_secret or secret, body, int(signed["webhook-timestamp"])),
        **signed,
        **headers,
    }
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(socket_factory=guard),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            ) as session,
            session.post(url, data=body, headers=sent, allow_redirects=False) as response,
        ):
            return response.status, "" if response.status < 300 else f"answered {response.status}"
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return None, f"{type(error).__name__}: {error}"[:200]
