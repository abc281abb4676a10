"""`seed_demo_data`: a full dashboard in a minute, a ledger that is right, and figures that are read from roll-ups."""

import io
from collections import Counter
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from admin_dashboard.demo import generator
from admin_dashboard.demo.content import MODELS
from admin_dashboard.reports.statistics import Statistics
from aichat.analytics.models import Event
from aichat.catalog import drift
from aichat.chat.models import Feedback, Message
from aichat.usage import verify as usage
from aichat.usage.models import DailyUsage, RollupState, UsageRecord
from aichat.usage.rollup import roll_up
from aichat.usage.windows import Window
from credits import verify as ledger
from credits.backfill import Kind, Movement, write_history
from credits.models import LedgerEntry
from tests.conftest import Actor

SMALL = {"users": 4, "days": 6, "seed": 3}


def seed(**options: Any) -> str:
    output = io.StringIO()
    call_command("seed_demo_data", **{**SMALL, **options}, stdout=output, stderr=output)
    return output.getvalue()


def test_the_demo_has_everything_and_its_ledger_is_right(db: None) -> None:
    assert "4 people had" in seed()
    assert [*ledger.problems(), *usage.problems()] == []
    assert LedgerEntry.objects.filter(kind="CHARGE").count() == UsageRecord.objects.filter(charged__gt=0).count() > 10
    assert Message.objects.count() > 10
    assert {"signed_up", "first_chat", "chat_completed"} <= set(Event.objects.values_list("name", flat=True))
    assert not Feedback.objects.exclude(comment="").exists()
    assert not any(user.has_usable_password() for user in generator.demo_users())


def test_the_demo_is_in_the_sums_of_a_server_that_runs_already(db: None) -> None:
    roll_up()  # as a server does at its start
    seed()
    summed = UsageRecord.objects.filter(created_at__lt=RollupState.objects.get().through).count()
    assert sum(DailyUsage.objects.values_list("attempts", flat=True)) == summed > 10


def test_its_models_are_in_the_catalog_and_offered_to_nobody_without_a_key(catalog: None, ada: Actor) -> None:
    seed(force=True)
    assert drift.findings([model.slug for model in MODELS]) == []
    kinds = ("embedding", "image", "moderation", "speech", "transcription")
    models = ["auto", "demo", *(f"demo-{kind}" for kind in kinds)]
    assert [model["id"] for model in ada.get("/v1/models").json()["data"]] == models


def test_a_second_run_adds_nobody_and_can_add_usage(db: None) -> None:
    seed()
    before = UsageRecord.objects.count()
    assert "here already" in seed()
    assert UsageRecord.objects.count() == before
    assert "usage records: 300 of 300" in seed(usage_rows=300)
    assert UsageRecord.objects.count() == before + 300
    assert [*ledger.problems(), *usage.problems()] == []


def test_an_administrator_may_have_tried_the_demo_model(catalog: None, inline_database: None, ada: Actor) -> None:
    assert ada.post("/api/v1/chat", {"message": "Hello"}).status_code == 200
    assert "4 people had" in seed()


def test_real_users_are_left_alone(alice: Actor) -> None:
    with pytest.raises(CommandError, match="real users"):
        seed()
    assert not generator.demo_users().exists()
    seed(force=True)
    assert generator.demo_users().count() == 4


def test_a_senseless_size_is_refused(db: None) -> None:
    with pytest.raises(CommandError, match="--users is 1 or more"):
        seed(users=0)


def test_a_past_below_zero_is_not_written(alice: Actor) -> None:
    moves = [Movement(kind=Kind.CHARGE, amount=-1, at=alice.user.created_at)]
    with pytest.raises(ValueError, match="below zero"):
        write_history(alice.organization.pk, moves)
    assert not LedgerEntry.objects.exists()


# --- Figures at scale -------------------------------------------------------------------------------------------------


@pytest.fixture
def used(ada: Actor) -> None:
    """Enough rows for a plan to matter, rolled up."""
    seed(usage_rows=1500)
    generator.add_usage(20, days=0, seed=1, progress=lambda *_: None)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def test_figures_equal_a_count_of_the_rows(used: None) -> None:
    for window in (Window.last_days(30), Window.last_days(3), Window.last_days(3).before()):
        rows = list(UsageRecord.objects.filter(created_at__gte=window.start, created_at__lt=window.end))
        found = Statistics.of(window)
        assert found.total.requests == len(rows)
        assert found.total.charged == sum(row.charged for row in rows)
        assert found.total.cost_nanousd == sum(row.cost_nanousd for row in rows)
        assert found.total.output_tokens == sum(row.output_tokens for row in rows)
        assert found.active == len({row.user_id for row in rows})
        assert {model: row.requests for model, row in found.by("model").items()} == Counter(row.model for row in rows)
        fine = ("ok", "cancelled")
        assert found.failures() == Counter(row.status for row in rows if row.status not in fine)


@pytest.mark.skipif(connection.vendor == "mongodb", reason="its plans are tested in tests/databases")
def test_no_page_of_figures_reads_the_whole_table(used: None, ada: Actor) -> None:
    console = Client(headers=ada.headers)
    console.force_login(ada.user)
    for path in ("/admin/?range=30d", "/admin/?range=7d", "/admin/?range=24h", "/api/v1/admin/stats"):
        console.get(path)
        with CaptureQueriesContext(connection) as queries:
            assert console.get(path).status_code == 200, path
        asked = [query["sql"] for query in queries if '"usage_usagerecord"' in query["sql"]]
        assert asked and len(queries) <= 70, path
        plans = {sql: plan_of(sql) for sql in asked}
        whole = "Seq Scan on usage_usagerecord" if connection.vendor == "postgresql" else "SCAN usage_usagerecord"
        read = [sql for sql, plan in plans.items() if whole in plan and not sql.rstrip(";").endswith("LIMIT 1")]
        assert read == [], path


def plan_of(sql: str) -> str:
    verb = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # a table this small would be read whole by choice
        cursor.execute(f"{verb} {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def test_rolling_up_takes_each_record_once(used: None) -> None:
    assert roll_up() == 0
