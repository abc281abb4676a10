"""Cost reconciliation: what providers should bill, beside what was charged, and which prices can't be trusted."""

import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aichat.catalog import drift
from aichat.catalog.models import AIModel, Price, Provider
from aichat.core.money import CREDIT
from aichat.usage.models import UsageRecord
from aichat.usage.rollup import roll_up
from tests.conftest import Actor

Make = Callable[..., UsageRecord]
PATH = "/api/v1/admin/reconciliation"
PAGE = "/admin/reconciliation/"


@pytest.mark.parametrize("rolled", [False, True])
def test_each_day_and_model_has_its_row(ada: Actor, alice: Actor, usage_record: Make, rolled: bool) -> None:
    monday, tuesday = datetime(2026, 11, 23, 9, tzinfo=UTC), datetime(2026, 11, 24, 9, tzinfo=UTC)
    usage_record(alice, created_at=monday, charged=3 * CREDIT, cost_nanousd=2 * 10**6, source="ESTIMATED")
    usage_record(alice, created_at=monday, charged=CREDIT, cost_nanousd=10**6, shortfall=CREDIT)
    usage_record(alice, created_at=monday, charged=0, cost_nanousd=10**6, final=False, status="timeout")
    usage_record(alice, created_at=tuesday, model="luna", provider="openai", charged=0, cost_nanousd=10**7)
    if rolled:
        roll_up()
    body = ada.get(f"{PATH}?from=2026-11-23&to=2026-11-24").json()
    luna, demo = body["results"]
    assert (luna["day"], luna["model"], luna["provider"], luna["margin_usd"]) == (
        "2026-11-24",
        "luna",
        "openai",
        "-0.01",
    )
    assert (demo["day"], demo["requests"], demo["attempts"]) == ("2026-11-23", 2, 3)
    assert (demo["cost_usd"], demo["credits_charged"], demo["charged_usd"]) == ("0.004", "4", "0.004")
    assert (demo["margin_usd"], demo["estimated_rate"], demo["shortfall_credits"]) == ("0", 0.5, "1")
    assert (body["totals"]["cost_usd"], body["totals"]["requests"]) == ("0.014", 3)


@pytest.mark.parametrize("rolled", [False, True])
def test_tokens_of_cached_answers_are_on_no_invoice(ada: Actor, alice: Actor, usage_record: Make, rolled: bool) -> None:
    monday = datetime(2026, 11, 23, 9, tzinfo=UTC)
    usage_record(alice, created_at=monday, input_tokens=100, cached_input_tokens=10, output_tokens=20)
    used = {"input_tokens": 100, "cached_input_tokens": 10, "output_tokens": 20, "charged": 0, "cost_nanousd": 0}
    usage_record(alice, created_at=monday, cached=True, **used)
    if rolled:
        roll_up()
    row = ada.get(f"{PATH}?from=2026-11-23&to=2026-11-24").json()["totals"]
    assert row["requests"] == 2
    assert (row["input_tokens"], row["cached_input_tokens"], row["output_tokens"]) == (100, 10, 20)


def test_csv_says_the_same_and_runs_no_formula(ada: Actor, alice: Actor, usage_record: Make) -> None:
    usage_record(alice, model="=cmd()", charged=CREDIT, cost_nanousd=10**9)
    response = ada.get(f"{PATH}?format=csv")
    assert response.streaming and response["Content-Type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode()))
    assert (row["model"], row["cost_usd"], row["margin_usd"], row["price"]) == ("'=cmd()", "1", "-0.999", "removed")


def test_csv_of_nothing_has_its_header(ada: Actor) -> None:
    text = b"".join(ada.get(f"{PATH}?format=csv").streaming_content).decode()
    assert text.startswith("day,provider,model,") and text.count("\n") == 1


def test_a_wrong_window_names_the_field(ada: Actor) -> None:
    response = ada.get(f"{PATH}?from=soon&format=csv")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "from")


# --- Prices -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def known(catalog: None) -> AIModel:
    """A model of OpenAI's with the library's price."""
    provider = Provider.objects.create(slug="openai", kind="openai")
    model = AIModel.objects.create(slug="gpt-4o-mini", provider=provider)
    call_command("sync_models", verbosity=0)
    return model


def found() -> dict[str, str]:
    return {finding.model: finding.state for finding in drift.findings()}


def test_a_price_as_in_the_library_is_fine(known: AIModel) -> None:
    assert found() == {}


def test_a_price_that_changed_upstream_is_mended_by_the_command_it_names(known: AIModel, settings: Any) -> None:
    known.prices.update(input_cost=140_000)
    (finding,) = drift.findings()
    assert (finding.model, finding.state, finding.mend) == ("gpt-4o-mini", drift.CHANGED, "manage.py sync_models")
    assert "input 0.14 instead of 0.15" in finding.text
    call_command(finding.mend.split()[1], verbosity=0)
    assert found() == {}
    settings.MARKUP = 2
    (finding,) = drift.findings()
    assert finding.state == drift.CHANGED and "MARKUP" in finding.text


def test_an_operators_cost_is_named_as_such_and_is_no_problem(known: AIModel) -> None:
    known.prices.update(source=Price.OPERATOR, output_cost=1)
    (finding,) = drift.findings()
    assert (finding.state, finding.is_problem) == (drift.OVERRIDDEN, False)
    assert "output 0.000001 instead of 0.6" in finding.text


def test_an_operators_price_for_users_is_no_finding(known: AIModel) -> None:
    known.prices.update(source=Price.OPERATOR, input_price=999)
    assert found() == {}


def test_missing_removed_and_free_are_told_apart(known: AIModel, catalog: None) -> None:
    known.prices.all().delete()
    lab = Provider.objects.create(slug="lab", kind="openai_compatible", base_url="http://lab/v1")
    AIModel.objects.create(slug="nobody-knows", provider=lab)
    Price.objects.create(model=AIModel.objects.create(slug="own", provider=lab), input_price=1)
    findings = {finding.model: finding for finding in drift.findings(["gone"])}
    assert {name: finding.state for name, finding in findings.items()} == {
        "gone": drift.REMOVED, "gpt-4o-mini": drift.MISSING, "nobody-knows": drift.MISSING, "own": drift.FREE,
    }  # fmt: skip
    assert findings["gpt-4o-mini"].mend == drift.SYNC
    assert not findings["own"].is_problem


# --- The page ---------------------------------------------------------------------------------------------------------


def test_every_link_of_the_page_leads_to_its_rows(
    console: Client, alice: Actor, usage_record: Make, known: AIModel
) -> None:
    known.prices.all().delete()
    usage_record(alice, model="gpt-4o-mini", provider="openai", cost_nanousd=10**10)
    usage_record(alice, created_at=timezone.now() - timedelta(days=3))
    page = console.get(PAGE).content.decode()
    assert "manage.py sync_models" in page and "-$10.00" in page
    links = {link.replace("&amp;", "&") for link in re.findall(r'href="(/admin/usage/[^"]+\?[^"]+)"', page)}
    assert len(links) >= 6
    for link in links:
        assert console.get(link).status_code == 200, link
    day = next(link for link in links if "gpt-4o-mini" in link)
    assert [row.model for row in console.get(day).context["cl"].result_list] == ["gpt-4o-mini"]


def test_the_page_gives_csv_of_its_range(console: Client, alice: Actor, usage_record: Make, catalog: None) -> None:
    usage_record(alice)
    usage_record(alice, created_at=timezone.now() - timedelta(days=20))
    page = console.get(f"{PAGE}?range=7d")
    link = re.search(r'class="dash-range" href="(\?[^"]*format=csv[^"]*)"', page.content.decode())
    assert link
    response: Any = console.get(PAGE + link[1].replace("&amp;", "&"))
    text = b"".join(response.streaming_content).decode()
    assert len(text.splitlines()) == 2


def test_the_page_is_for_administrators(alice: Actor) -> None:
    client = Client()
    client.force_login(alice.user)
    assert client.get(PAGE).status_code == 302


def test_the_number_of_queries_does_not_grow(console: Client, alice: Actor, usage_record: Make, catalog: None) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert console.get(PAGE).status_code == 200
        return len(queries)

    usage_record(alice, created_at=timezone.now() - timedelta(days=2))
    roll_up()
    asked()  # the counts of the sidebar are kept for a while
    few = asked()
    for number in range(20):
        model = AIModel.objects.create(slug=f"m{number}", provider=Provider.objects.get(slug="demo"))
        usage_record(alice, model=model.slug, created_at=timezone.now() - timedelta(days=number))
    assert asked() <= few <= 17  # the catalog in memory was read among them
