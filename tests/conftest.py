"""What every test may use: the cast, and a real server in this process. `tests/other_servers.py` has those it asks.

Alice owns, Bob belongs to her team, Charlie is a stranger, and Ada is the administrator.
"""

import asyncio
import faulthandler
import itertools
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.core.management.commands import flush
from django.db import OperationalError
from django.db.backends.base.operations import BaseDatabaseOperations
from django.test import Client
from django.utils import timezone
from pytest_django.plugin import blocking_manager_key

import tests.settings
from accounts import caller_cache, key_limits, rate_limits, services
from accounts.models import Membership, Organization, Role, User
from accounts.tenancy import personal_organization
from aichat.catalog.sync import sync_models
from aichat.core import snapshot as snapshots
from aichat.core.database import clock, executor
from aichat.core.database.models import uuid7
from aichat.core.money import CREDIT
from aichat.core.redis import health
from aichat.core.telemetry import product_events
from aichat.core.web.server import Protocol
from aichat.generation import circuit_breaker
from aichat.generation.charging import group_commit
from aichat.promptcache import store
from aichat.usage import verify as usage
from aichat.usage.models import UsageRecord
from credits import verify as ledger
from credits.models import Wallet
from credits.services import wallet_of
from tests import schema
from tests.logs import Logs, collected

pytest_plugins = ["tests.other_servers"]


def pytest_configure(config: pytest.Config) -> None:
    """Before the workers start: they find out at their first test whether the database is there that they copy."""
    has_workers = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if has_workers and tests.settings.IS_OF_THIS_RUN:
        with config.stash[blocking_manager_key].unblock():
            schema.make_beside()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """End a run with what was not tried; the reasons name the command that brings it."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, number in reasons.items():
        terminalreporter.write_line(f"Not tried: {number} tests ({reason})")


loops: list[asyncio.AbstractEventLoop] = []  # of the servers in this process
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _nothing_left_over() -> Iterator[None]:
    snapshots.reset_all()
    rate_limits.reset()
    circuit_breaker.forget()
    caller_cache.forget()
    key_limits.forget()
    health.health.reset()
    caches["default"].clear()
    store.memory.clear()
    yield
    snapshots.reset_all()


@pytest.fixture(scope="session", autouse=True)
def _no_thread_writes_last_uses() -> Iterator[None]:
    """A thread that writes while tables are emptied would fail other tests: a test drains the queue itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_limits.last_uses, "_start", lambda: None)
        yield


@pytest.fixture(scope="session")
def django_db_keepdb(django_db_keepdb: bool, django_db_modify_db_settings: None, django_db_blocker: Any) -> bool:
    """Whether the worker's database is there already, as a copy of the run's."""
    with django_db_blocker.unblock():
        return django_db_keepdb or schema.copy_to_test_database()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """A database in which a connection is left can't be dropped."""
    yield
    executor.close()


@pytest.fixture(scope="session", autouse=True)
def _keep_permissions() -> Iterator[None]:
    """Tables are emptied between tests; content types and permissions, which never change, are kept, not made again.

    Making them takes three quarters of the time of emptying.
    """

    def sql_flush(style: Any, connection: Any, **options: Any) -> list[str]:
        tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
        kept = {"django_content_type", "auth_permission"}
        statements: list[str] = connection.ops.sql_flush(
            style, [name for name in tables if name not in kept], **options
        )
        return statements

    execute = BaseDatabaseOperations.execute_sql_flush

    def execute_sql_flush(operations: Any, statements: list[str]) -> None:
        """Again when a thread that still read for the test before got into a deadlock with it."""
        for is_last in (False, False, True):
            try:
                execute(operations, statements)
                break
            except OperationalError:
                if is_last:
                    raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", execute_sql_flush)
        patch.setattr(flush, "sql_flush", sql_flush)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *args, **options: None)
        yield


# --- The cast ---------------------------------------------------------------------------------------------------------


class Actor:
    """A person with an API key; speaks to Django directly (`get`, `post` …)."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.organization = personal_organization(user)
        _, self.key = services.create_api_key(user=user, organization=self.organization, name="test")
        _, self.token = services.create_login_token(user)
        self.headers = {"Authorization": f"Bearer {self.key}"}
        self.client = Client(headers=self.headers)

    def with_login(self) -> "Actor":
        """From now on with the login token, which may act for any of their organizations (`X-Organization`)."""
        self.client = Client(headers={"Authorization": f"Bearer {self.token}"})
        return self

    def get(self, path: str, **extra: Any) -> Any:
        return self.client.get(path, **extra)

    def post(self, path: str, body: Any = None, **extra: Any) -> Any:
        return self.client.post(path, body, content_type="application/json", **extra)

    def patch(self, path: str, body: Any = None, **extra: Any) -> Any:
        return self.client.patch(path, body, content_type="application/json", **extra)

    def delete(self, path: str, **extra: Any) -> Any:
        return self.client.delete(path, **extra)

    @property
    def wallet(self) -> Wallet:
        return wallet_of(self.organization)

    def set_credits(self, credits: int) -> None:
        """Give the wallet exactly this balance, by the ledger's own verbs."""
        from credits.services import Credit, Kind, apply

        change = credits * CREDIT - self.wallet.available
        if change:
            reference = f"test:{uuid7()}"
            adjustment = Credit(
                wallet_id=self.organization.pk,
                amount=change,
                reference=reference,
                kind=Kind.ADJUSTMENT,
                actor_id=self.user.pk,
                reason="Set by a test",
            )
            apply([adjustment])[0].or_raise()


def in_team(team: str) -> dict[str, str]:
    """The header that picks the organization whose address (or ID) is given."""
    return {"X-Organization": team.rpartition("/")[2]}


def join(organization: Organization, who: Actor, role: str = Membership.Role.MEMBER) -> Membership:
    """Make somebody a member, as if they had accepted an invitation."""
    return Membership.objects.create(organization=organization, user=who.user, role=role)


@pytest.fixture
def host_goes_ahead(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once this is called, the host's clock is ten years ahead of the database's."""

    def go() -> None:
        present = timezone.now()
        ahead = present + timedelta(days=3650)
        monkeypatch.setattr(clock, "shared_now", lambda: present)
        monkeypatch.setattr(timezone, "now", lambda: ahead)

    return go


@pytest.fixture
def actor(db: None) -> Callable[..., Actor]:
    """Makes a further person: `actor("dora")`, `actor("root", Role.ADMIN)`."""

    def make(name: str, role: Role = Role.USER) -> Actor:
        return Actor(User.objects.create_user(f"{name}@example.com", PASSWORD, name=name.title(), role=role))

    return make


@pytest.fixture
def alice(actor: Callable[..., Actor]) -> Actor:
    return actor("alice")


@pytest.fixture
def bob(actor: Callable[..., Actor]) -> Actor:
    return actor("bob")


@pytest.fixture
def charlie(actor: Callable[..., Actor]) -> Actor:
    return actor("charlie")


@pytest.fixture
def ada(actor: Callable[..., Actor]) -> Actor:
    return actor("ada", Role.ADMIN)


@pytest.fixture
def anonymous() -> Client:
    return Client()


@pytest.fixture
def inline_database(monkeypatch: pytest.MonkeyPatch, commits_by_threads: None) -> None:
    """The database work of async views happens on the test's own connection, inside its transaction: a test that speaks
    to Django directly and needs no threads is quicker so."""

    async def run(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(work, thread_sensitive=True)(*args, **kwargs)

    async def run_kept(name: str, threads: int, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await run(work, *args, **kwargs)

    monkeypatch.setattr(executor, "run", run)
    monkeypatch.setattr(executor, "run_kept", run_kept)


@pytest.fixture
def commits_by_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The group commit leaves everything to threads, as on SQLite and MongoDB."""

    async def leave(units: Sequence[group_commit.Unit]) -> list[None]:
        return [None for _ in units]

    monkeypatch.setattr(group_commit, "commit_at_once", leave)


@pytest.fixture
def catalog(db: None) -> None:
    """The models a fresh installation has: the demo."""
    sync_models()


@pytest.fixture
def heard() -> Iterator[list[product_events.ProductEvent]]:
    """The product events emitted during the test."""
    found: list[product_events.ProductEvent] = []
    product_events.register(found.append)
    yield found
    product_events._sinks.remove(found.append)


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Everything logged during the test."""
    with collected() as found:
        yield found


# --- A real server ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def server_address() -> Iterator[str]:
    """Our ASGI application under uvicorn in a thread of this process: HTTP as clients see it, settings as tests set them.

    The end of an answer is sent after what follows it (its access line, metrics, events), so that a test can look at that.
    """
    from aichat.asgi import application

    async def followed(scope: Any, receive: Any, send: Any) -> None:
        ends: list[Any] = []

        async def send_begun(message: Any) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                ends.append(message)
            else:
                await send(message)

        try:
            await application(scope, receive, send_begun)
        finally:
            for end in ends:
                await send(end)

    listener = socket.create_server(("127.0.0.1", 0))
    how = {"http": Protocol, "ws": "none", "lifespan": "on"}
    config = uvicorn.Config(followed, log_config=None, timeout_graceful_shutdown=5, **how)  # type: ignore[arg-type]
    server = uvicorn.Server(config)

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    while not server.started:  # what starts with it must not see the settings of the test that asked for it first
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)
    executor.close()


@pytest.fixture
def server(transactional_db: None, server_address: str) -> Iterator[str]:
    """The server's address; the ledger is proved after every test that used it."""
    from aichat.asgi import application

    application.fast_path.middleware.cached.clear()  # made of another test's settings
    sync_models()
    yield server_address
    assert [*ledger.problems(), *usage.problems()] == []


class ExplainingClient(httpx.Client):
    """A client that prints, when an answer does not come in time, what each thread and task of the server waits for.

    An answer is returned when the server has also done what it does after the answer (`tracing.after_answer`).
    """

    def send(self, *args: Any, **kwargs: Any) -> httpx.Response:
        try:
            answer = super().send(*args, **kwargs)
        except httpx.ReadTimeout:
            faulthandler.dump_traceback(all_threads=True)
            for task in itertools.chain.from_iterable(asyncio.all_tasks(loop) for loop in loops):
                print(task, file=sys.stderr)  # noqa: T201
                task.print_stack(file=sys.stderr)
            raise
        for loop in loops:
            if loop.is_running():
                has_turned = threading.Event()
                loop.call_soon_threadsafe(has_turned.set)
                has_turned.wait(timeout=30)
        return answer


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    """A client of the server, without credentials."""
    with ExplainingClient(base_url=server, timeout=30) as client:
        yield client


# --- Usage ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def usage_record(db: None) -> Callable[..., UsageRecord]:
    """Makes a usage record of somebody: `usage_record(alice, model="x")`."""

    def make(actor: Actor, **fields: Any) -> UsageRecord:
        now = fields.pop("created_at", timezone.now())
        facts: dict[str, Any] = {
            "request_id": f"request-{UsageRecord.objects.count()}",
            "requested_model": "auto",
            "model": "demo",
            "provider": "demo",
            "status": "ok",
            "input_tokens": 10,
            "output_tokens": 20,
            "charged": CREDIT,
            "cost_nanousd": 500_000,
            "latency_ms": 250,
            **fields,
        }
        return UsageRecord.objects.create(
            organization=actor.organization, user=actor.user, created_at=now, day=now.astimezone(UTC).date(), **facts
        )

    return make
