"""Turns the addresses of stores (database, cache, files) and the secret key into Django's settings."""

import os
import secrets
import time
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from aichat.core.config.env import text

T = TypeVar("T")
COMMIT_CONNECTIONS = 3  # kept by the threads of the group commit
MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
SYNC_CONNECTIONS = 8  # database connections of a process for its ordinary views, beside those of async work


def secret_key(keep_in: Path) -> str:
    """SECRET_KEY, or a key that is made at the first start and kept beside the data."""
    if given := text("SECRET_KEY"):
        return given
    if keep_in.exists():
        return keep_in.read_text()
    try:
        keep_in.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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
        if not parts.scheme.startswith("mongodb"):  # whose addresses may list several hosts, each with a port
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
                "REDIS_CLIENT_CLASS": "aichat.core.redis.health.GuardedRedis",
                "SERIALIZER": "django_redis.serializers.json.JSONSerializer",  # a pickle runs its writer's code
                "SOCKET_CONNECT_TIMEOUT": timeout,
                "SOCKET_TIMEOUT": timeout,
                "CONNECTION_POOL_KWARGS": {"retry": Retry(NoBackoff(), 0)},  # by default three, over seconds
            },
        }
    }


def mail(name: str, default: str, *, timeout: float) -> dict[str, Any]:
    """Django's settings for the mail server that an address names; `timeout` (seconds) bounds each exchange with it.

    `smtp://` uses STARTTLS when there is a password, so that none crosses a network in the clear; `smtp+tls://` always
    does, `smtps://` speaks TLS from the first byte. `console:` prints mails. Empty: no mail.
    """
    raw = text(name, default)
    # The error does not repeat the address, which may hold a password.
    wrong = ImproperlyConfigured(
        f"{name} is wrong: write smtp://user:password@host:587, smtps://user:password@host:465, smtp+tls://host:587 or "
        "console: (percent-encode special characters of the password)."
    )
    try:
        parts = urlsplit(raw)
        port = parts.port
    except ValueError:
        raise wrong from None
    backend = "console" if raw.rstrip("/") == "console:" else "smtp"
    if raw and backend == "smtp" and (parts.scheme not in MAIL_PORTS or not parts.hostname or parts.path.strip("/")):
        raise wrong
    if parts.query or parts.fragment or ((parts.username is None) != (parts.password is None)):
        raise wrong
    has_secret_to_guard = bool(parts.password) and parts.hostname not in {"localhost", "127.0.0.1", "::1"}
    return {
        "EMAIL_URL": raw,
        "EMAIL_BACKEND": f"django.core.mail.backends.{backend if raw else 'dummy'}.EmailBackend",
        "EMAIL_HOST": parts.hostname or "",
        "EMAIL_PORT": port or MAIL_PORTS.get(parts.scheme, 25),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls" or (parts.scheme == "smtp" and has_secret_to_guard),
        "EMAIL_TIMEOUT": timeout,
    }


def make_private(path: Path) -> None:
    """Make the file's folder (0700) and the file (0600), or take others' permissions away from a file of ours."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    elif path.stat().st_mode & 0o077 and path.stat().st_uid == os.getuid():
        path.chmod(0o600)  # SQLite gives its journals the permissions of the database


def _sqlite(path: Path, timeout: float) -> dict[str, object]:
    try:
        make_private(path)
    except OSError as error:
        raise ImproperlyConfigured(
            f"DATABASE_URL: the folder {path.parent} can't be made ({error.strerror})."
        ) from None
    return {
        "ENGINE": "aichat.core.database.sqlite",
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
            # A process that stops inside a transaction (frozen, or its host cut off) locks wallets: the server ends its
            # transaction before those who wait for the wallets give up. Prepared statements are planned once: by default the
            # server would plan some of them anew for each list.
            "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} "
            f"-c idle_in_transaction_session_timeout={max(1, milliseconds // 2)} "
            "-c plan_cache_mode=force_generic_plan",
            "pool": {
                "min_size": 1,
                "max_size": threads + COMMIT_CONNECTIONS + SYNC_CONNECTIONS,
                "timeout": timeout,
                "reconnect_timeout": 0,
                "reconnect_failed": _refuse_waiting,
                "connection_class": _pooled_connection(),
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


def _pooled_connection() -> type[Any]:
    """A psycopg connection whose failed liveness check has the pool replace all idle connections at once.

    psycopg_pool checks one idle connection after the other, and sleeps 1, 2, 4 … seconds between those that are dead: a
    server that ended eight connections stopped answers for many seconds after it was well again.
    """
    import psycopg

    drained_at = 0.0

    class PooledConnection(psycopg.Connection[Any]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.opened_at = time.monotonic()

        def execute(self, *args: Any, **kwargs: Any) -> Any:
            """Django asks through cursors: what comes here is the check of `ConnectionPool.check_connection`."""
            nonlocal drained_at
            try:
                return super().execute(*args, **kwargs)
            except psycopg.OperationalError:
                # `_pool` is set while the pool lends the connection. Older connections were replaced already.
                if self.opened_at > drained_at and (pool := getattr(self, "_pool", None)):
                    drained_at = time.monotonic()
                    pool.drain()
                raise

    return PooledConnection


def _refuse_waiting(pool: Any) -> None:
    """Fail the requests that wait for a connection at once, when the database refuses connections.

    psycopg_pool 3.3 has no public call for this: left alone, the requests wait until the timeout. So its private `_lock`
    and `_waiting` are used; `tests/core/config/test_settings.py` fails when these names move.
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
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri

    if address.startswith("mongodb://"):  # `mongodb+srv` would ask the name server
        try:
            parse_uri(address)
        except (PyMongoError, ValueError):  # its words may quote the password
            raise ImproperlyConfigured(
                "DATABASE_URL is no address of MongoDB: write mongodb://user:password@host:27017/name?replicaSet=rs0, or "
                "several hosts with commas between them, and percent-encode the password's special characters."
            ) from None
    return {
        "ENGINE": "aichat.core.database.mongodb",
        "HOST": address,
        "NAME": unquote(urlsplit(address).path[1:]),
        "OPTIONS": {
            "timeoutMS": int(timeout * 1000),
            "serverSelectionTimeoutMS": int(min(timeout, 5) * 1000),
            "maxPoolSize": threads + SYNC_CONNECTIONS,
        },
    }
