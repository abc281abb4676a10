"""Reads settings from the environment: every wrong value names the variable and the mend.

`settings.py` calls these functions, some of them through `stores.py`. All other code reads `django.conf.settings`.
"""

import os
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from email.utils import parseaddr
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
ADDRESS = re.compile(r"[^@\s<>]+@[^@\s<>]+")
# Browsers send http and https; desktop applications and extensions have schemes of their own (app://obsidian.md).
ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s?#@]+")
PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
RATE = re.compile(r"[1-9]\d*/(sec|min|hour|day)")
ALIKE = 0.86  # of 1: OPENAI_APIKEY and OPENAI_API_KEY are 0.96 alike, HOST and HOSTNAME 0.67
LARGEST = 10**9  # of a decimal setting: keeps every price and amount inside a 64-bit column
NAMES: set[str] = set()  # every variable that a setting was read from
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def _read(name: str, default: T, parse: Callable[[str], T], expected: str) -> T:
    NAMES.add(name)
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    try:
        return parse(raw)
    except (ValueError, InvalidOperation):
        raise ImproperlyConfigured(f"{name}={raw!r} is wrong: write {expected}.") from None


def misspelt() -> dict[str, str]:
    """Environment variables whose names are nearly those of settings, each with the setting that was likely meant."""
    found = {}
    for name in os.environ:
        likely = get_close_matches(name, NAMES, n=1, cutoff=ALIKE)
        is_ours = not name.startswith(("FLAG_", "OTEL_EXPORTER_OTLP_"))  # OpenTelemetry has many more
        if name not in NAMES and likely and is_ours and not os.environ.get(likely[0]):
            found[name] = likely[0]
    return found


def folder(name: str, default: Path) -> Path | None:
    """A folder's path; None for `off`."""
    raw = _read(name, str(default), str, "the path of a folder, or off")
    return None if raw.lower() == "off" else Path(raw)


def text(name: str, default: str = "") -> str:
    return _read(name, default, str, "text")


def boolean(name: str, default: bool) -> bool:
    return _read(name, default, _true_or_false, "true or false")


def boolean_or_unset(name: str) -> bool | None:
    """None for a variable that is not set: something else decides then."""
    return _read(name, None, _true_or_false, "true or false")


def _true_or_false(raw: str) -> bool:
    if raw.lower() not in TRUE | FALSE:
        raise ValueError
    return raw.lower() in TRUE


def booleans(prefix: str) -> dict[str, bool]:
    """All variables that begin with `prefix`, by the rest of their name in lower case."""
    names = [name for name, value in os.environ.items() if name.startswith(prefix) and value.strip()]
    return {name.removeprefix(prefix).lower(): boolean(name, False) for name in names}


def whole(name: str, default: int, *, minimum: int = 0, maximum: float = float("inf")) -> int:
    def parse(raw: str) -> int:
        if not minimum <= int(raw) <= maximum:
            raise ValueError
        return int(raw)

    bounds = f"from {minimum}" if maximum == float("inf") else f"from {minimum} to {maximum:.0f}"
    return _read(name, default, parse, f"a whole number {bounds}, such as {default}")


def seconds(name: str, default: float) -> float:
    def parse(raw: str) -> float:
        if not 0 < float(raw) < float("inf"):
            raise ValueError
        return float(raw)

    return _read(name, default, parse, f"a number of seconds above 0, such as {default:g}")


def decimal(name: str, default: str, *, places: int | None = None) -> Decimal:
    """From 0 to a billion; `places` is the most digits after the point."""

    def parse(raw: str) -> Decimal:
        value = Decimal(raw)
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int) or not 0 <= value <= LARGEST:
            raise ValueError
        if places is not None and exponent < -places:
            raise ValueError
        return value

    digits = "" if places is None else f" with at most {places} decimal places"
    return _read(name, Decimal(default), parse, f"a number from 0 to {LARGEST}{digits}, such as {default}")


def share(name: str, default: float) -> float:
    """From 0 (none) to 1 (all)."""

    def parse(raw: str) -> float:
        if not 0 <= float(raw) <= 1:
            raise ValueError
        return float(raw)

    return _read(name, default, parse, "a number from 0 (none) to 1 (all), such as 0.1")


def rate(name: str, default: str) -> str:
    def parse(raw: str) -> str:
        if not RATE.fullmatch(raw):
            raise ValueError
        return raw

    return _read(name, default, parse, f"N/sec, N/min, N/hour or N/day, such as {default}")


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    def parse(raw: str) -> str:
        matches = [value for value in allowed if value.lower() == raw.lower()]
        if not matches:
            raise ValueError
        return matches[0]

    return _read(name, default, parse, "one of " + ", ".join(allowed))


def words(name: str, default: str = "") -> list[str]:
    """A comma separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def choices(name: str, allowed: tuple[str, ...]) -> list[str]:
    """A comma separated list of some of `allowed`; all of them by default."""

    def parse(raw: str) -> list[str]:
        found = [word.strip() for word in raw.split(",") if word.strip()]
        if not set(found) <= set(allowed):
            raise ValueError
        return found

    return _read(name, list(allowed), parse, "some of " + ", ".join(allowed))


def origins(name: str) -> list[str]:
    """A comma separated list of origins: what a browser sends as `Origin`, without path or trailing slash."""
    found = [word.rstrip("/") for word in words(name)]
    for origin in found:
        if not ORIGIN.fullmatch(origin):
            raise ImproperlyConfigured(
                f"{name}: {origin!r} is wrong: write an origin, such as https://app.example.com or app://obsidian.md."
            )
    return found


def mapping(name: str, allowed: tuple[str, ...]) -> dict[str, str]:
    """A comma separated list of `word=value`, with values of those allowed."""

    def parse(raw: str) -> dict[str, str]:
        pairs = dict(pair.rsplit("=", 1) for pair in raw.split(",") if pair.strip())
        if not set(pairs.values()) <= set(allowed):
            raise ValueError
        return {word.strip(): value for word, value in pairs.items()}

    return _read(name, {}, parse, f"word={allowed[0]},… with values of {', '.join(allowed)}")


def places(name: str, roles: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """A comma separated list of `word=place` or `word=place:role`; without a role it is the first of those allowed."""

    def parse(raw: str) -> dict[str, tuple[str, str]]:
        found = {}
        for pair in raw.split(","):
            word, is_pair, place = (part.strip() for part in pair.rpartition("="))
            team, has_role, role = (part.strip() for part in place.rpartition(":"))
            team, role = (team, role) if has_role else (role, roles[0])
            if not (word and is_pair and 0 < len(team) <= 150 and role in roles):
                raise ValueError
            found[word] = (team, role)
        return found

    return _read(name, {}, parse, f"word=Team,word=Team:{roles[1]},… with roles of {', '.join(roles)}")


def url(name: str, default: str = "", schemes: tuple[str, ...] = ("http", "https")) -> str:
    def parse(raw: str) -> str:
        parts = urlsplit(raw)
        if parts.scheme not in schemes or not parts.netloc:
            raise ValueError
        return raw.rstrip("/")

    return _read(name, default, parse, "an address starting with " + " or ".join(f"{scheme}://" for scheme in schemes))


def path_prefix(name: str) -> str:
    """The beginning of all paths, without a slash at its end: `/ai`, `/tools/ai`. Empty: none."""

    def parse(raw: str) -> str:
        raw = raw.rstrip("/")
        if raw and not PREFIX.fullmatch(raw):
            raise ValueError
        return raw

    return _read(name, "", parse, "a path that begins with a slash, such as /ai, of letters, digits and . _ ~ -")


def email(name: str, default: str) -> str:
    """An e-mail address, with or without a name before it."""

    def parse(raw: str) -> str:
        address = parseaddr(raw)[1]
        before, at, host = address.partition("@")
        if not (before and at and host) or not raw.isprintable():
            raise ValueError
        return raw

    return _read(name, default, parse, f"an e-mail address, such as {default} or Our chat <{default}>")


def emails(name: str) -> list[str]:
    """A comma separated list of e-mail addresses."""

    def parse(raw: str) -> list[str]:
        found = [word.strip() for word in raw.split(",") if word.strip()]
        if not all(ADDRESS.fullmatch(address) for address in found):
            raise ValueError
        return found

    return _read(name, [], parse, "e-mail addresses, such as ops@example.com,owner@example.com")


def endpoint(name: str, *, port: int) -> tuple[str, int] | None:
    """`host` or `host:port`; None when it is not set."""

    def parse(raw: str) -> tuple[str, int] | None:
        parts = urlsplit(f"//{raw}")
        if not parts.hostname or parts.path or "@" in raw:
            raise ValueError
        return parts.hostname, parts.port or port

    return _read(name, None, parse, f"host or host:port, such as 127.0.0.1:{port}")
