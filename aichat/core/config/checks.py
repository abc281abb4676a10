"""System checks of combinations of settings. Each problem comes with its mend; the IDs never change."""

import sys
from base64 import b64decode
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register, run_checks
from django.db import OperationalError, connections
from django.urls import get_resolver

from aichat.core.config import env

LONGEST_TRANSACTION = 10  # seconds


def stop_on_errors(*, of_database: bool = True) -> list[CheckMessage]:
    """Run all checks. End the process with the first error and its mend in one line; return the warnings, for the log.

    `of_database=False` leaves out the checks that ask the database, for one that is away: each would wait for it.
    """
    problems = run_checks(tags=["aichat", *([Tags.database] if of_database else [])], databases=["default"])
    for problem in problems:
        if problem.is_serious():
            sys.exit(f"Configuration error: {problem.msg} {problem.hint or ''}".rstrip())
    return problems


@register("aichat")
def holds_outlive_requests(**kwargs: Any) -> list[CheckMessage]:
    """A hold must not expire under a request that is still running."""
    totals = {name: getattr(settings, name) for name in ("CHAT_TOTAL_TIMEOUT", "IMAGE_TOTAL_TIMEOUT")}
    return [
        Error(
            f"HOLD_TTL ({settings.HOLD_TTL:g} s) is not longer than {name} ({total:g} s).",
            hint="Raise HOLD_TTL: credits held for a running request would be released under it.",
            id="aichat.E001",
        )
        for name, total in totals.items()
        if total >= settings.HOLD_TTL
    ]


@register("aichat")
def total_timeout_covers_an_attempt(**kwargs: Any) -> list[CheckMessage]:
    """All attempts share the total time, so one attempt must fit into it."""
    longest = max(settings.CHAT_ATTEMPT_TIMEOUT, settings.CHAT_FIRST_TOKEN_TIMEOUT, settings.CHAT_IDLE_TIMEOUT)
    if longest <= settings.CHAT_TOTAL_TIMEOUT:
        return []
    return [
        Error(
            f"CHAT_TOTAL_TIMEOUT ({settings.CHAT_TOTAL_TIMEOUT:g} s) is shorter than one attempt may take ({longest:g} s).",
            hint="Raise CHAT_TOTAL_TIMEOUT, or lower CHAT_ATTEMPT_TIMEOUT, CHAT_FIRST_TOKEN_TIMEOUT and CHAT_IDLE_TIMEOUT.",
            id="aichat.E002",
        )
    ]


@register("aichat")
def workers_share_a_cache(**kwargs: Any) -> list[CheckMessage]:
    """Each process without Redis counts rate limits and caches for itself."""
    if settings.REDIS_URL or settings.WEB_CONCURRENCY <= 1:
        return []
    return [
        Warning(
            f"{settings.WEB_CONCURRENCY} workers share no cache: each counts rate limits and keeps answers for itself.",
            hint="Set REDIS_URL, or WEB_CONCURRENCY=1.",
            id="aichat.W001",
        )
    ]


@register("aichat")
def names_are_spelt_right(**kwargs: Any) -> list[CheckMessage]:
    """A variable that nearly is a setting changes nothing, which is hard to see."""
    return [
        Warning(f"{name} is no setting.", hint=f"Did you mean {likely}?", id="aichat.W003")
        for name, likely in sorted(env.misspelt().items())
    ]


@register("aichat")
def celery_has_a_broker(**kwargs: Any) -> list[CheckMessage]:
    """Celery sends its messages over Redis."""
    if settings.IMAGE_DISPATCHER == "database" or settings.REDIS_URL:
        return []
    return [
        Error(
            "IMAGE_DISPATCHER is celery and REDIS_URL is not set.",
            hint="Set REDIS_URL to the broker's address, or IMAGE_DISPATCHER=database.",
            id="aichat.E003",
        )
    ]


@register("aichat")
def webhooks_are_signed(**kwargs: Any) -> list[CheckMessage]:
    """Without a secret nobody could tell our events from a stranger's."""
    if not settings.ANALYTICS_WEBHOOK_URL or settings.ANALYTICS_WEBHOOK_SECRET:
        return []
    return [
        Error(
            "ANALYTICS_WEBHOOK_URL is set without ANALYTICS_WEBHOOK_SECRET.",
            hint="Set ANALYTICS_WEBHOOK_SECRET to a long random text that the receiver knows too.",
            id="aichat.E020",
        )
    ]


@register("aichat")
def payments_have_a_strong_secret(**kwargs: Any) -> list[CheckMessage]:
    """Whoever can guess the secret can write themselves credits."""
    secret = settings.PAYMENTS_WEBHOOK_SECRET
    if not secret or (len(secret) >= 16 and (not secret.startswith("whsec_") or _is_base64(secret[6:]))):
        return []
    return [
        Error(
            "PAYMENTS_WEBHOOK_SECRET is shorter than 16 characters, or what follows whsec_ is no base64.",
            hint="Make one: echo whsec_$(openssl rand -base64 32)",
            id="aichat.E021",
        )
    ]


@register("aichat")
def stripe_can_be_used(**kwargs: Any) -> list[CheckMessage]:
    """A key without the library, or without the webhooks, would take money and give nothing."""
    if not settings.STRIPE_SECRET_KEY:
        return []
    found: list[CheckMessage] = []
    if find_spec("stripe") is None:
        found.append(
            Error(
                "STRIPE_SECRET_KEY is set and the package stripe is not installed.",
                hint="pip install 'stripe~=16.1.0' (the extra `stripe`), or leave the setting out.",
                id="aichat.E022",
            )
        )
    if len(settings.STRIPE_WEBHOOK_SECRET.strip()) < 16:
        found.append(
            Error(
                "STRIPE_SECRET_KEY is set without a STRIPE_WEBHOOK_SECRET: what is paid would never arrive.",
                hint="Add the endpoint /webhooks/stripe in Stripe's dashboard and copy its signing secret (whsec_…).",
                id="aichat.E023",
            )
        )
    return found


def _is_base64(text: str) -> bool:
    try:
        return len(b64decode(text + "==")) >= 12
    except ValueError:
        return False


@register("aichat")
def single_sign_on_has_an_audience(**kwargs: Any) -> list[CheckMessage]:
    """Without it, a token the issuer made for any other application would be let in."""
    if not settings.OIDC_ISSUER:
        if not settings.OIDC_CLIENT_ID:
            return []
        hint = "Set OIDC_ISSUER to the address of your OpenID Connect provider."
        return [Error("OIDC_CLIENT_ID is set without OIDC_ISSUER.", hint=hint, id="aichat.E013")]
    if settings.OIDC_AUDIENCE or settings.OIDC_CLIENT_ID:
        return []
    return [
        Error(
            "OIDC_ISSUER is set without OIDC_AUDIENCE and OIDC_CLIENT_ID.",
            hint="Set OIDC_AUDIENCE to the audience the issuer writes into bearer tokens for this service, or "
            "OIDC_CLIENT_ID (and OIDC_CLIENT_SECRET) for people who log in with a browser, or both.",
            id="aichat.E010",
        )
    ]


@register("aichat")
def somebody_can_log_in(**kwargs: Any) -> list[CheckMessage]:
    """Without passwords and without an issuer only API keys that were made before would be left."""
    if settings.PASSWORD_LOGIN or settings.OIDC_ISSUER:
        return []
    return [
        Error(
            "PASSWORD_LOGIN is false and OIDC_ISSUER is not set: nobody could log in.",
            hint="Set OIDC_ISSUER to your OpenID Connect provider, or PASSWORD_LOGIN=true.",
            id="aichat.E012",
        )
    ]


@register("aichat")
def confirming_an_address_needs_mail(**kwargs: Any) -> list[CheckMessage]:
    """Without mail nobody could confirm an address, and nobody would get their starter credits."""
    if settings.EMAIL_VERIFICATION == "none" or settings.EMAIL_URL:
        return []
    return [
        Error(
            f"EMAIL_VERIFICATION is {settings.EMAIL_VERIFICATION} and EMAIL_URL is not set.",
            hint="Set EMAIL_URL to your mail server (smtp://user:password@host:587), or EMAIL_VERIFICATION=none.",
            id="aichat.E011",
        )
    ]


@register("aichat")
def field_encryption_key_is_strong(**kwargs: Any) -> list[CheckMessage]:
    """Check that FIELD_ENCRYPTION_KEY can't be guessed: who knows it and the database has the providers' keys."""
    key = settings.FIELD_ENCRYPTION_KEY
    if not key or (len(key) >= 32 and len(set(key)) >= 8):
        return []
    return [
        Error(
            "FIELD_ENCRYPTION_KEY can be guessed.",
            hint="Set at least 32 random characters (python -c 'import secrets; print(secrets.token_urlsafe(50))').",
            id="aichat.E031",
        )
    ]


@register("aichat")
def secret_key_is_strong(**kwargs: Any) -> list[CheckMessage]:
    """Check outside of DEBUG that SECRET_KEY can't be guessed: who knows it makes signed links and sessions."""
    key = str(settings.SECRET_KEY)
    is_strong = len(key) >= 32 and len(set(key)) >= 8 and not key.startswith("django-insecure-")
    if settings.DEBUG or is_strong:
        return []
    return [
        Error(
            "SECRET_KEY can be guessed.",
            hint="Set at least 32 random characters (python -c 'import secrets; print(secrets.token_urlsafe(50))'), "
            "or leave it out: then one is made and kept beside the data.",
            id="aichat.E030",
        )
    ]


@register("aichat")
def the_prefix_is_told_from_our_paths(**kwargs: Any) -> list[CheckMessage]:
    """A proxy may pass the prefix on or take it away: which one it did is seen by the path's beginning."""
    prefix, problems = settings.URL_PREFIX, list[CheckMessage]()
    if prefix and prefix[1:].partition("/")[0] in {"static", "openai", *_beginnings(get_resolver().url_patterns)}:
        hint = "Choose another, such as /ai: a request could be for a page of the server or for the prefix."
        problems.append(Error(f"URL_PREFIX={prefix} begins as paths of this server do.", hint=hint, id="aichat.E015"))
    if prefix and settings.APP_URL and not f"{urlsplit(settings.APP_URL).path}/".startswith(f"{prefix}/"):
        hint = f"Mails link below APP_URL: write APP_URL={settings.APP_URL}{prefix}, unless it has pages of your own."
        problems.append(Warning("APP_URL is not below URL_PREFIX.", hint=hint, id="aichat.W016"))
    return problems


def _beginnings(patterns: Sequence[Any]) -> Iterator[str]:
    """The first part of the path of each route."""
    for pattern in patterns:
        route = str(pattern.pattern)
        yield from [route.partition("/")[0]] if route else _beginnings(getattr(pattern, "url_patterns", []))


@register("aichat")
def nothing_is_open_on_a_public_server(**kwargs: Any) -> list[CheckMessage]:
    """Warn about DEBUG and ALLOWED_HOSTS=* where strangers can call: behind TLS, or beyond this machine."""
    if not settings.HTTPS and settings.HOST in {"127.0.0.1", "::1", "localhost"}:
        return []
    problems: list[CheckMessage] = []
    if settings.DEBUG:
        hint = "Set DEBUG=false: error pages show settings and source code to everybody."
        problems.append(Warning("DEBUG is on, on a server that others can reach.", hint=hint, id="aichat.W030"))
    if "*" in settings.ALLOWED_HOSTS:
        hint = "Name the hosts: with any Host header, links in answers lead wherever a stranger says."
        problems.append(Warning("ALLOWED_HOSTS is *.", hint=hint, id="aichat.W031"))
    return problems


@register(Tags.database)
def mongodb_has_transactions(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Money moves in transactions, and MongoDB has them on replica sets only. Asked at start and before migrations."""
    problems: list[CheckMessage] = []
    for alias in databases or ():
        connection: Any = connections[alias]
        if connection.vendor != "mongodb":
            continue
        try:
            has_transactions = connection.has_transactions()
        except OperationalError as error:
            problems.append(Warning(f"MongoDB does not answer: {error}", hint="Check DATABASE_URL.", id="aichat.W002"))
            continue
        if not has_transactions:
            problems.append(
                Error(
                    "DATABASE_URL names a MongoDB without a replica set: it has no transactions.",
                    hint="Start mongod with --replSet rs0, run rs.initiate() once in mongosh, "
                    "and add ?replicaSet=rs0 to DATABASE_URL. One server is enough.",
                    id="aichat.E004",
                )
            )
    return problems


@register("aichat")
def sentry_can_be_reached(**kwargs: Any) -> list[CheckMessage]:
    """SENTRY_DSN needs the SDK and must be an address of a project. The address holds a key: it isn't repeated."""
    if not settings.SENTRY_DSN:
        return []
    if find_spec("sentry_sdk") is None:
        hint = "Install the extra `sentry` (pip install 'sentry-sdk~=2.75.0'), or remove SENTRY_DSN."
        return [Error("SENTRY_DSN is set and sentry-sdk is not installed.", hint=hint, id="aichat.E040")]
    try:
        address = urlsplit(settings.SENTRY_DSN)
        names_a_project = address.path.rpartition("/")[2].isdigit() and address.port != 0
        valid = bool(address.scheme in ("http", "https") and address.username and address.hostname and names_a_project)
    except ValueError:
        valid = False
    if valid:
        return []
    hint = "Copy it from Sentry: Settings, Projects, Client Keys. It looks like https://<key>@<host>/<number>."
    return [Error("SENTRY_DSN is not the DSN of a project.", hint=hint, id="aichat.E041")]


@register("aichat")
def opentelemetry_can_be_sent(**kwargs: Any) -> list[CheckMessage]:
    """OTEL_EXPORTER_OTLP_ENDPOINT needs the SDK and its exporter."""
    if not (
        settings.OTEL_EXPORTER_OTLP_ENDPOINT
        or settings.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
        or settings.OTEL_EXPORTER_OTLP_METRICS_ENDPOINT
    ):
        return []
    needed = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.exporter.otlp.proto.http")
    try:
        is_there = all(find_spec(name) for name in needed)
    except ModuleNotFoundError:
        is_there = False
    if is_there:
        return []
    hint = (
        "Install the extra `otel` (pip install 'opentelemetry-sdk~=1.45.0' "
        "'opentelemetry-exporter-otlp-proto-http~=1.45.0'), or remove OTEL_EXPORTER_OTLP_ENDPOINT."
    )
    return [
        Error("OTEL_EXPORTER_OTLP_ENDPOINT is set and OpenTelemetry is not installed.", hint=hint, id="aichat.E042")
    ]


@register(Tags.database)
def mongodb_ends_transactions_of_the_dead(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """A process that dies inside a transaction locks wallets until MongoDB ends the transaction: after 60 s by default."""
    problems: list[CheckMessage] = []
    for alias in databases or ():
        connection: Any = connections[alias]
        if connection.vendor != "mongodb":
            continue
        try:
            limit: float | None = connection.limit_transactions()
        except OperationalError:
            limit = None  # away, or not allowed to ask
        if limit is None or limit > LONGEST_TRANSACTION:
            problems.append(
                Warning(
                    f"MongoDB keeps the transactions of dead processes for {limit or 'up to 60'} seconds.",
                    hint="Their wallets are locked meanwhile. On every member of the replica set, set the parameter "
                    "transactionLifetimeLimitSeconds to 4 (mongod --setParameter), or give the user the right to set it.",
                    id="aichat.W005",
                )
            )
    return problems
