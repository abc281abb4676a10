"""The dashboard: figures of a range, links to what is behind them, and a bounded number of queries."""

import re
from collections.abc import Callable
from datetime import timedelta
from time import time
from typing import Any

import httpx
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from aichat.catalog.models import AIModel, Provider
from aichat.core.admin.charts import Chart, Series, ticks
from aichat.core.money import CREDIT
from aichat.payments.models import Payment
from aichat.usage.models import UsageRecord
from aichat.usage.rollup import roll_up
from tests.conftest import Actor
from tests.engines import Valkey
from tests.generation.test_faults import ask

Make = Callable[..., UsageRecord]


def cards(console: Client, query: str = "") -> dict[str, str]:
    return {card.name: card.value for card in console.get(f"/admin/?{query}").context["cards"]}


def test_an_empty_installation_says_what_to_do_first(console: Client, catalog: None) -> None:
    page = console.get("/admin/").content.decode()
    assert "What to do first" in page and "Send the first chat" in page
    assert "<svg" not in page


def test_each_kind_has_a_row_with_the_quantity_it_is_priced_by(
    console: Client, alice: Actor, usage_record: Make
) -> None:
    usage_record(alice, charged=CREDIT)
    usage_record(alice, kind="transcription", audio_ms=90_000, input_tokens=0, output_tokens=0, charged=2 * CREDIT)
    table = next(table for table in console.get("/admin/").context["tables"] if table["title"] == "By kind")
    assert [(name, values[1]) for name, _, values in table["rows"]] == [
        ("transcription", "1.5 minutes"),
        ("chat", "30 tokens"),
    ]
    assert all(console.get(url).status_code == 200 for _, url, _ in table["rows"])


def test_figures_are_of_the_range_and_compared_with_the_one_before(
    console: Client, alice: Actor, usage_record: Make
) -> None:
    now = timezone.now()
    usage_record(alice, charged=2 * CREDIT)
    usage_record(alice, created_at=now - timedelta(hours=2), status="timeout", charged=0, cost_nanousd=0)
    usage_record(alice, created_at=now - timedelta(hours=30))
    usage_record(alice, created_at=now - timedelta(days=20))
    roll_up()
    assert cards(console, "range=24h")["Requests"] == "2"
    assert cards(console, "range=24h")["Error rate"] == "50.0 %"
    assert cards(console, "range=7d")["Requests"] == "3"
    assert cards(console, "range=30d")["Requests"] == "4"
    day = (now - timedelta(days=20)).date()
    assert cards(console, f"range=custom&from={day}&to={day}")["Requests"] == "1"
    requests = console.get("/admin/?range=24h").context["cards"][0]
    assert (requests.change, requests.is_good) == ("+100 %", True)


def test_the_cards_say_what_the_prompt_cache_saved(console: Client, alice: Actor, usage_record: Make) -> None:
    usage_record(alice, charged=2 * CREDIT)
    usage_record(alice, charged=0, cost_nanousd=0, cached=True, saved=2 * CREDIT, saved_nanousd=1_500_000_000)
    shown = cards(console, "range=24h")
    assert (shown["Cache hits"], shown["Cache hit rate"]) == ("1", "50.0 %")
    assert (shown["Credits saved by the cache"], shown["Provider cost saved"]) == ("2", "$1.50")


def test_each_month_has_its_money_by_currency_and_its_margin_and_what_is_owed_is_said(
    console: Client, alice: Actor, usage_record: Make
) -> None:
    usage_record(alice, charged=2000 * CREDIT, cost_nanousd=500_000_000)
    usage_record(alice, charged=CREDIT, created_at=timezone.now() - timedelta(days=62))
    roll_up()
    owner = {"source": "shop", "organization": alice.organization, "is_paid": True, "credits": 100 * CREDIT}
    for name, currency, facts in (
        ("a", "EUR", {"amount": 9_990_000}),
        ("b", "USD", {"amount": 5_000_000}),
        ("c", "EUR", {"amount": 8_000_000, "refund_told": 25 * CREDIT, "taken_back": 5 * CREDIT, "owed": 20 * CREDIT}),
        ("d", "EUR", {"amount": 1_000_000, "is_paid": False}),
    ):
        Payment.objects.create(external_id=name, currency=currency, **{**owner, **facts})
    page = console.get("/admin/?range=24h")
    (_, url, values), *before = next(t for t in page.context["tables"] if t["title"] == "By month")["rows"]
    assert values == ["17.99 EUR + 5 USD", "2 EUR", "2,000", "$2.00", "$0.5000", "$1.50"]
    assert [row[2][2] for row in before].count("1") == 1
    assert console.get(url).status_code == 200
    owed = next(warning for warning in page.context["warnings"] if "owed" in warning["text"])
    assert owed["text"].startswith("20 credits") and console.get(owed["url"]).status_code == 200


def test_a_wrong_range_says_so_and_shows_the_week(console: Client, alice: Actor, usage_record: Make) -> None:
    usage_record(alice)
    page = console.get("/admin/?range=custom&from=nonsense&to=")
    assert "Write a day such as" in page.content.decode()
    assert page.context["cards"][0].value == "1"


def test_every_link_leads_to_rows(console: Client, alice: Actor, usage_record: Make, catalog: None) -> None:
    usage_record(alice, experiment="tone", variant="kind", shortfall=CREDIT, cost_nanousd=10**10)
    page = console.get("/admin/").content.decode()
    links = {link.replace("&amp;", "&") for link in re.findall(r'href="(/admin/[^"]+\?[^"]+)"', page)}
    assert len(links) >= 6
    for link in links:
        response = console.get(link)
        assert response.status_code == 200, link  # a filter the list does not know would be a redirect


def test_losing_money_and_missing_prices_are_warned_of(
    console: Client, alice: Actor, usage_record: Make, catalog: None
) -> None:
    usage_record(alice, cost_nanousd=10**10)
    AIModel.objects.create(slug="priceless", provider=AIModel.objects.get(slug="demo").provider)
    texts = " ".join(warning["text"] for warning in console.get("/admin/").context["warnings"])
    assert "demo loses money" in texts and "priceless has no price" in texts


def test_health_shows_the_breakers_first_and_says_who_knows(
    console: Client, alice: Actor, usage_record: Make, catalog: None, settings: Any
) -> None:
    usage_record(alice, final=False, status="timeout")
    usage_record(alice, latency_ms=250)
    health = console.get("/admin/").context["health"]
    (row,) = health["rows"]
    assert (row["model"], row["state"], row["values"][0], row["values"][2]) == ("demo", "in use", "1", "1")
    assert health["idle"] == AIModel.objects.count() - 1 and "Without REDIS_URL" in health["note"]
    cache.set("breaker:open:demo:demo-image", time() + 30)
    rows = console.get("/admin/").context["health"]["rows"]
    assert [(row["model"], row["state"]) for row in rows] == [("demo-image", "left alone"), ("demo", "in use")]


def test_health_over_redis_is_shared_and_not_claimed_when_redis_is_gone(
    console: Client, alice: Actor, usage_record: Make, catalog: None, valkey: Valkey
) -> None:
    usage_record(alice)
    assert "shared by all processes" in console.get("/admin/").context["health"]["note"]
    valkey.stop()
    health = console.get("/admin/").context["health"]
    assert "not known" in health["note"] and health["rows"][0]["state"] == "not known"


def test_the_day_by_hours_has_its_latency(console: Client, alice: Actor, usage_record: Make) -> None:
    usage_record(alice, latency_ms=100)
    usage_record(alice, latency_ms=60_000, status="timeout")
    chart = next(each.chart for each in console.get("/admin/?range=24h").context["charts"] if "Latency" in each.chart)
    assert re.search(r"p95: (9\d|10\d)", chart) and chart.count("<circle") == 2


def test_the_error_rate_leads_to_the_requests_that_failed(console: Client, alice: Actor, usage_record: Make) -> None:
    usage_record(alice, request_id="fine")
    usage_record(alice, request_id="late", status="timeout")
    usage_record(alice, request_id="saved", status="timeout", final=False)
    card = next(card for card in console.get("/admin/").context["cards"] if card.name == "Error rate")
    assert [row.request_id for row in console.get(card.url).context["cl"].result_list] == ["late"]


def test_the_number_of_queries_does_not_grow_with_use(console: Client, alice: Actor, usage_record: Make) -> None:
    def asked() -> list[int]:
        return [queries_of("24h"), queries_of("30d")]

    def queries_of(name: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert console.get(f"/admin/?range={name}").status_code == 200
        assert len(queries) <= 70  # with all that is kept for some seconds
        return sum("usage_" in query["sql"] for query in queries)  # others are kept for some seconds

    for days in (0.1, 0.9, 1.5, 2, 40):
        usage_record(alice, created_at=timezone.now() - timedelta(days=days))
    roll_up()
    few = asked()
    for number in range(40):
        usage_record(alice, model=f"m{number}", created_at=timezone.now() - timedelta(days=number, hours=1))
    roll_up()
    assert all(now <= then <= 35 for then, now in zip(few, asked(), strict=True))


def test_a_page_needs_no_other_host_and_adds_no_script_of_its_own(
    console: Client, alice: Actor, usage_record: Make
) -> None:
    usage_record(alice)
    page = console.get("/admin/").content.decode()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    content = page[page.index('class="dash-bar"') :]
    assert "style=" not in content[: content.index("</figure>")]


def test_a_request_is_found_by_its_id(console: Client, alice: Actor, usage_record: Make) -> None:
    usage_record(alice, request_id="find.me")
    page = console.get("/admin/requests/?id=find.me", follow=True).content.decode()
    assert "alice@example.com" in page and "Request find.me" in page
    assert "Nothing carries this request ID" in console.get("/admin/requests/lost/").content.decode()


def test_the_request_page_says_in_words_what_happened_and_gives_back(
    console: Client, catalog: None, alice: Actor, http: httpx.Client, usage_record: Make
) -> None:
    asked = ask(http, alice, "demo", "stream").body["request_id"]
    usage_record(alice, request_id=asked, status="auth_failure", final=False, attempt=1, charged=0)
    page = console.get(f"/admin/requests/{asked}/").content.decode()
    for words in ("It answered.", "It refused the key", "1 credit held", "Hold settled", "demo of demo", "first token"):
        assert words in page, words
    assert f"&quot;request_id&quot;:&quot;{asked}&quot;" in page
    refund = re.search(r'href="([^"]+refund/?)">Refund 1 credit', page)
    assert refund, page
    assert "Refund 1 credit" in console.get(refund[1]).content.decode()


def test_the_request_page_is_for_administrators(alice: Actor) -> None:
    client = Client()
    client.force_login(alice.user)
    assert client.get("/admin/requests/x/").status_code == 302


def test_a_provider_keeps_its_colour_whoever_else_is_used(
    console: Client, catalog: None, alice: Actor, usage_record: Make
) -> None:
    def colours() -> list[str]:
        page = console.get("/admin/").content.decode()
        return re.findall(r'plot-key-(\d)"></span>zed<', page)

    for slug in ("mid", "zed"):
        Provider.objects.create(slug=slug, kind="openai_compatible", base_url="https://api.example.com/v1")
    usage_record(alice, provider="zed")
    before = colours()
    usage_record(alice, provider="mid")
    assert before and colours() == before


def test_a_chart_has_axes_a_legend_and_escapes_names() -> None:
    chart = Chart("Use", ["Nov 1", "Nov 2"], [Series("<b>", [1, 3]), Series("two", [0, 2])]).bars()
    assert chart.count("<rect") == 3  # nothing is drawn for a zero
    assert "&lt;b&gt;" in chart and "<b>" not in chart
    assert '<th scope="row">Nov 2</th><td class="number">3</td><td class="number">2</td>' in chart  # for who can't see
    assert "Nov 2" in chart and 'class="plot-legend"' in chart
    assert ticks(5) == [0, 2, 4, 6]
    assert ticks(0) == [0, 1]


def test_long_names_of_a_chart_have_a_row_each() -> None:
    chart = Chart("Failures", ["provider_unavailable", "<b>"], [Series("requests", [4, 1])]).rows()
    heights = re.findall(r'<text x="0" y="(\d+)">', chart)
    assert len(set(heights)) == 2
    assert re.findall(r'width="([\d.]+)%" height="8"', chart) == ["100.000", "25.000"]
    assert "&lt;b&gt;" in chart and "<b>" not in chart
    assert '<th scope="row">provider_unavailable</th><td class="number">4</td>' in chart
