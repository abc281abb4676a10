"""Signed messages to somebody else's server: redirects are not followed, private addresses are not called.

The signature is `t=SECONDS,v1=HEX`: HMAC-SHA256 with the shared secret over "SECONDS.BODY". A receiver compares it in
constant time and refuses a time that is minutes old.
"""

import hmac
import time

import aiohttp
from django.conf import settings

from aichat.core.outbound.public_addresses import public_socket

SIGNATURE = "Aichat-Signature"
TIMEOUT_SECONDS = 10.0


def signature(secret: str, body: bytes, seconds: int) -> str:
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, "sha256").hexdigest()
    return f"t={seconds},v1={digest}"


async def post(url: str, body: bytes, secret: str, **headers: str) -> tuple[int | None, str]:
    """Send `body` once. Returns the status code (None without an answer) and the problem ("" when a 2xx came)."""
    guard = None if settings.ALLOW_PRIVATE_WEBHOOKS else public_socket
    sent = {
        "Content-Type": "application/json",
        "User-Agent": "aichat-webhooks",
        SIGNATURE: signature(secret, body, int(time.time())),
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
