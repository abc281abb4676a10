"""Reads settings from the environment: every wrong value names the variable and the mend.

A leaf used by `settings.py` (its patterns also by fields); everything else reads `django.conf.settings`.
"""

import os
import re
import secrets
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
ORIGIN = re.compile(r"https?://[^/\s?#@]+")
RATE = re.compile(r"[1-9]\d*/(sec|min|hour|day)")
SYNC_CONNECTIONS = 8  # database connections of a process for its ordinary views, beside those of async work
LARGEST = 10**9  # of a decimal setting: keeps every price and amount inside a 64-bit column
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}


def _read(name: str, default: T, parse: Callable[[str], T], expected: str) -> T:
    raw = os.environ.get(name, "").strip()
    if not raw:
        return default
    try:
        return parse(raw)
    except (ValueError, InvalidOperation):
        raise ImproperlyConfigured(f"{name}={raw!r} is wrong: write {expected}.") from None


def text(name: str, default: str = "") -> str:
    return _read(name, default, str, "text")


def boolean(name: str, default: bool) -> bool:
    def parse(raw: str) -> bool:
        if raw.lower() not in TRUE | FALSE:
            raise ValueError
        return raw.lower() in TRUE

    return _read(name, default, parse, "true or false")


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


def origins(name: str) -> list[str]:
    """A comma separated list of origins: what a browser sends as `Origin`, without path or trailing slash."""
    found = [word.rstrip("/") for word in words(name)]
    for origin in found:
        if not ORIGIN.fullmatch(origin):
            raise ImproperlyConfigured(
                f"{name}: {origin!r} is wrong: write an origin, such as https://app.example.com."
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


def url(name: str, default: str = "", schemes: tuple[str, ...] = ("http", "https")) -> str:
    def parse(raw: str) -> str:
        parts = urlsplit(raw)
        if parts.scheme not in schemes or not parts.netloc:
            raise ValueError
        return raw.rstrip("/")

    return _read(name, default, parse, "an address starting with " + " or ".join(f"{scheme}://" for scheme in schemes))


def endpoint(name: str, *, port: int) -> tuple[str, int] | None:
    """`host` or `host:port`; None when it is not set."""

    def parse(raw: str) -> tuple[str, int] | None:
        parts = urlsplit(f"//{raw}")
        if not parts.hostname or parts.path or "@" in raw:
            raise ValueError
        return parts.hostname, parts.port or port

    return _read(name, None, parse, f"host or host:port, such as 127.0.0.1:{port}")


def secret_key(keep_in: Path) -> str:
    """SECRET_KEY, or one made once and kept beside the data: no start without a key, none shared by two installations."""
    if given := text("SECRET_KEY"):
        return given
    if keep_in.exists():
        return keep_in.read_text()
    try:
        keep_in.parent.mkdir(parents=True, exist_ok=True)
        draft = keep_in.with_name(f"{keep_in.name}.{secrets.token_hex(8)}")
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:  # noqa: PTH123
            file.write(secrets.token_urlsafe(50))
        try:
            os.link(draft, keep_in)  # of many processes starting at once one wins, and none reads half a key
        finally:
            draft.unlink()
    except FileExistsError:
        pass
    except OSError as error:
        raise ImproperlyConfigured(
            f"SECRET_KEY is not set and {keep_in} can't be written ({error.strerror}): set SECRET_KEY."
        ) from None
    return keep_in.read_text()


def database(name: str, default: str, *, base_dir: Path, timeout: float, threads: int) -> dict[str, object]:
    """The DATABASES entry of a database address.

    `timeout` (seconds) bounds every statement and lock wait; `threads` is how many of ours ask at the same time.
    """
    raw = text(name, default)
    try:
        parts = urlsplit(raw)
        _ = parts.port  # parsed when it is read
    except ValueError:  # its words may quote the password
        raise ImproperlyConfigured(f"{name} is no address: percent-encode the password's special characters.") from None
    if parts.scheme == "sqlite" and parts.path.strip("/") not in {"", ":memory:"}:
        return _sqlite(base_dir / unquote(parts.path[1:]), timeout)
    if parts.scheme in {"postgres", "postgresql"} and parts.path.strip("/"):
        return _postgresql(raw, timeout, threads)
    if parts.scheme in {"mongodb", "mongodb+srv"} and parts.path.strip("/"):
        return _mongodb(raw, timeout, threads)
    raise ImproperlyConfigured(
        f"{name}={parts.scheme}://… is wrong: write sqlite:///path/to/file, postgres://user:password@host:5432/name, "
        "or mongodb://user:password@host:27017/name?replicaSet=rs0."
    )


def caches(redis_url: str, *, timeout: float) -> dict[str, object]:
    """The CACHES: Redis shared by all processes, or a dictionary in each. `timeout` (seconds) bounds each command."""
    if not redis_url:
        return {
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                "OPTIONS": {"MAX_ENTRIES": 10_000},
            }
        }
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": redis_url,
            "KEY_PREFIX": "aichat",
            "OPTIONS": {
                "IGNORE_EXCEPTIONS": True,
                "REDIS_CLIENT_CLASS": "aichat.cache.GuardedRedis",
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",  # a pickle runs its writer's code
                "SOCKET_CONNECT_TIMEOUT": timeout,
                "SOCKET_TIMEOUT": timeout,
                "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},  # by default three, over seconds
            },
        }
    }


def _sqlite(path: Path, timeout: float) -> dict[str, object]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(
            f"DATABASE_URL: the folder {path.parent} can't be made ({error.strerror})."
        ) from None
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "OPTIONS": {
            "timeout": timeout,
            # A deferred transaction that turns into a writer fails at once under load; an immediate one queues.
            "transaction_mode": "IMMEDIATE",
            # FULL: a committed grant or charge survives a power cut, not only a killed process.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16000;",
        },
    }


def _postgresql(address: str, timeout: float, threads: int) -> dict[str, object]:
    parts = urlsplit(address)
    milliseconds = int(timeout * 1000)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "CONN_HEALTH_CHECKS": True,  # a connection that died in the pool is replaced, not handed out
        "OPTIONS": {
            "prepare_threshold": 5,  # uses of a statement, before the server keeps its plan
            **_postgresql_options(parts.query),
            "connect_timeout": max(1, min(5, int(timeout))),
            "tcp_user_timeout": milliseconds,  # a server whose machine is gone says nothing, not even no
            # What is prepared is meant to be planned once: the server would plan some of it anew for each list.
            "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} "
            "-c plan_cache_mode=force_generic_plan",
            "pool": {
                "min_size": 1,
                "max_size": threads + 1 + SYNC_CONNECTIONS,  # one for the commits
                "timeout": timeout,
                "reconnect_timeout": 0,
                "reconnect_failed": _refuse_waiting,
            },
        },
    }


def _postgresql_options(query: str) -> dict[str, object]:
    pairs = (pair.partition("=") for pair in unquote(query).split("&") if "=" in pair)
    options: dict[str, object] = {name: value for name, _, value in pairs}
    if "prepare_threshold" in options:  # psycopg wants a number; any other word keeps no plans
        threshold = str(options["prepare_threshold"])
        options["prepare_threshold"] = int(threshold) if threshold.isdigit() else None
    return options


def _refuse_waiting(pool: Any) -> None:
    """The database refuses connections: requests waiting for one fail now instead of after the timeout.

    The pool has no call for this; left to itself it would let them wait, and try again ever more rarely.
    """
    from psycopg_pool import PoolTimeout

    with pool._lock:
        while pool._waiting:
            pool._waiting.popleft().fail(PoolTimeout("the database refuses connections"))


def storage(address: str) -> dict[str, object]:
    """The default entry of STORAGES: local files, or a bucket (`s3://bucket/folder?endpoint_url=…&region_name=…`).

    The credentials are boto3's own: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role.
    """
    if not address:
        return {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    parts = urlsplit(address)
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": parts.netloc,
            "location": parts.path.strip("/"),
            "file_overwrite": False,
            **dict(parse_qsl(parts.query)),
        },
    }


def _mongodb(address: str, timeout: float, threads: int) -> dict[str, object]:
    return {
        "ENGINE": "aichat.mongodb",
        "HOST": address,
        "NAME": unquote(urlsplit(address).path[1:]),
        "OPTIONS": {
            "timeoutMS": int(timeout * 1000),
            "serverSelectionTimeoutMS": int(min(timeout, 5) * 1000),
            "maxPoolSize": threads + SYNC_CONNECTIONS,
        },
    }
