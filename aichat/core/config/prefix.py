"""Derives settings from URL_PREFIX, the path below which a proxy shows this server on a host that others share."""

import re
from typing import Any


def settings_of(prefix: str) -> dict[str, Any]:
    """Return the settings that follow from `prefix`, such as `/ai`; it is empty on a host of the server's own.

    Browsers send the cookies of a neighbour at `/` here as well, and of two cookies with one name Django reads the
    neighbour's. So ours have the prefix in their names. Django's messages are then kept in the session, because the
    name of their cookie can't be changed.
    """
    mark = prefix.replace("/", "_")
    path = prefix or "/"
    probes = "|".join(("healthz", "readyz", "metrics"))
    return {
        "FORCE_SCRIPT_NAME": prefix or None,
        "STATIC_URL": f"{prefix}/static/",
        "SESSION_COOKIE_NAME": f"sessionid{mark}",
        "CSRF_COOKIE_NAME": f"csrftoken{mark}",
        "LOGIN_COOKIE_NAME": f"aichat_login{mark}",
        "LANGUAGE_COOKIE_NAME": f"aichat_language{mark}",
        "SESSION_COOKIE_PATH": path,
        "CSRF_COOKIE_PATH": path,
        "LANGUAGE_COOKIE_PATH": path,
        "MESSAGE_STORAGE": f"django.contrib.messages.storage.{'session.Session' if prefix else 'fallback.Fallback'}Storage",
        # Of a path without its first slash: probes ask the port itself, without TLS.
        "SECURE_REDIRECT_EXEMPT": [rf"^{re.escape(f'{prefix}/'[1:])}({probes})$"],
    }
