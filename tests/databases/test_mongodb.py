"""What only MongoDB needs."""

import os
import subprocess
import sys
import threading
import time
from typing import Any

import httpx
import pytest
from django.apps import apps
from django.core.checks import Error
from django.core.management import call_command
from django.db import OperationalError, connections
from django.db import connection as django_connection
from django.db.models import F
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from accounts.models import Organization
from aichat.core.config.checks import mongodb_has_transactions
from aichat.core.database.models import Row
from aichat.core.database.transactions import run_atomic
from aichat.usage.models import UsageRecord
from credits.models import Wallet
from tests.conftest import Actor
from tests.engines import MongoDB

connection: Any = django_connection  # MongoDB's has more


def indexes(model: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = connection.get_collection(
        apps.get_model(model)._meta.db_table
    ).index_information()
    return list(found.values())


def test_unique_indexes_are_plain_where_nothing_is_null(db: None) -> None:
    unique = [index for model in ("accounts.User", "credits.Hold", "catalog.AIModel") for index in indexes(model)]
    assert [index for index in unique if index.get("unique") and "partialFilterExpression" in index] == []
    assert {"email"} <= {index["key"][0][0] for index in unique if index.get("unique")}


def test_unique_columns_may_be_null_many_times(db: None) -> None:
    for name in ("Red", "Blue"):
        Organization.objects.create(name=name)
    assert Organization.objects.filter(personal_to=None).count() == 2


def test_our_primary_keys_are_what_mongodb_calls_them() -> None:
    rows = [model for model in apps.get_models() if issubclass(model, Row)]
    assert {model._meta.pk.column for model in rows} == {"_id"}


def test_migrations_are_complete(db: None) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_joins_wait_until_a_page_is_cut() -> None:
    page = UsageRecord.objects.select_related("user", "organization").order_by("-created_at")[:50]
    stages = [next(iter(stage)) for stage in pipeline(page)]
    assert stages == ["$sort", "$limit", "$lookup", "$unwind", "$lookup", "$unwind"]


def test_joins_come_first_when_they_choose_the_rows() -> None:
    page = UsageRecord.objects.filter(user__name="Alice").order_by("-created_at")[:50]
    assert "$lookup" in pipeline(page)[0]


def pipeline(queryset: Any) -> list[dict[str, Any]]:
    compiler = queryset.query.get_compiler("default")
    compiler.pre_sql_setup()
    stages: list[dict[str, Any]] = compiler.build_query(None).get_pipeline()
    return stages


def test_a_server_without_a_replica_set_is_refused_with_the_mend() -> None:
    server = MongoDB(replica_set=False)
    try:
        connections.settings["standalone"] = {**connections.settings["default"], "HOST": server.url, "NAME": "aichat"}
        (problem,) = mongodb_has_transactions(databases=["standalone"])
    finally:
        connections.settings.pop("standalone", None)
        server.close()
    assert isinstance(problem, Error)
    assert "--replSet rs0" in (problem.hint or "")


# --- Transactions -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_fails_changes_nothing(alice: Actor) -> None:
    before = alice.wallet.available

    def fail() -> None:
        Wallet.objects.filter(pk=alice.organization.pk).update(available=0)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        run_atomic(fail)
    assert alice.wallet.available == before


@pytest.mark.django_db(transaction=True)
def test_conflicting_transactions_are_tried_again_until_all_are_done(alice: Actor) -> None:
    """The first transactions of all threads have read before any of them writes: all but one must meet a conflict."""
    alice.wallet  # noqa: B018
    runs: list[int] = []
    all_have_read = threading.Barrier(8)

    def work() -> None:
        meetings = [all_have_read]

        def take() -> None:
            runs.append(threading.get_ident())
            wallet = Wallet.objects.filter(pk=alice.organization.pk, available__gte=10)
            assert wallet.exists()
            if meetings:
                meetings.pop().wait(20)
            assert wallet.update(available=F("available") - 10)

        try:
            for _ in range(5):
                run_atomic(take)
        finally:
            connection.close()

    before = Wallet.objects.get(pk=alice.organization.pk).available
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Wallet.objects.get(pk=alice.organization.pk).available == before - 400
    assert len(runs) >= 40 + 7


@pytest.mark.django_db(transaction=True)
def test_a_commit_that_fails_leaves_no_dead_session_behind(alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(session: ClientSession) -> None:
        raise OperationFailure("not now")

    alice.wallet  # noqa: B018
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(ClientSession, "commit_transaction", fail)
        run_atomic(lambda: Wallet.objects.filter(pk=alice.organization.pk).update(sequence=7))
    assert connection.session is None
    assert run_atomic(lambda: Wallet.objects.filter(pk=alice.organization.pk).count()) == 1


def test_a_chat_is_two_commits(http: httpx.Client, alice: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    http.post("/api/v1/chat", json={"message": "Hello"}, headers=alice.headers).raise_for_status()
    commits = []
    commit = ClientSession.commit_transaction

    def counted(session: ClientSession) -> None:
        commits.append(session)
        commit(session)

    monkeypatch.setattr(ClientSession, "commit_transaction", counted)
    http.post("/api/v1/chat", json={"message": "Hello again"}, headers=alice.headers).raise_for_status()
    assert len(commits) == 2


def test_a_column_may_be_added_with_an_empty_default() -> None:
    field = UsageRecord._meta.get_field("prices")
    with connection.schema_editor() as editor:
        assert editor.effective_default(field) == {"$literal": {}}


HOLD = """
import django, sys, time; django.setup()
from aichat.core.database.transactions import run_atomic
from credits.models import Wallet
def work():
    Wallet.objects.filter(pk=sys.argv[1]).update(sequence=7)
    print("locked", flush=True)
    time.sleep(600)
run_atomic(work)
"""


@pytest.mark.django_db(transaction=True)
def test_a_process_killed_in_its_transaction_locks_its_wallet_for_ten_seconds_at_most(alice: Actor) -> None:
    assert connection.limit_transactions() <= 5
    alice.wallet  # noqa: B018
    name = connection.settings_dict["NAME"]
    address = connection.settings_dict["HOST"].replace("/aichat", f"/{name}")
    environment = {**os.environ, "DATABASE_URL": address, "DJANGO_SETTINGS_MODULE": "aichat.settings"}
    command = [sys.executable, "-c", HOLD, str(alice.organization.pk)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        process.kill()
    began = time.monotonic()
    run_atomic(lambda: Wallet.objects.filter(pk=alice.organization.pk).update(available=F("available") + 1))
    assert time.monotonic() - began < 10
    assert alice.wallet.sequence != 7
