"""What usage costs: worked tables, tiers, dated prices, and the price library."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from genai_prices import Usage as LibraryUsage
from genai_prices import calc_price

from aichat.catalog import routing, snapshot, sync
from aichat.catalog.models import AIModel, Price, Provider
from aichat.catalog.pricing import Rates, Tier, TokenPrices
from aichat.providers.base import Usage
from tests.conftest import Actor

# 0.15, 0.075 and 0.60 USD a million tokens, at 1000 credits a dollar: microcredits a million tokens.
MINI = TokenPrices(input=150_000_000, cached_input=75_000_000, output=600_000_000)
LONG = TokenPrices(input=300_000_000, cached_input=150_000_000, output=900_000_000)
CHEAP = TokenPrices(input=1, cached_input=1, output=1)


@pytest.mark.parametrize(
    ("usage", "charge"),
    [
        (Usage(0, 0), 0),
        (Usage(1, 0), 150),
        (Usage(0, 1), 600),
        (Usage(1000, 500), 150_000 + 300_000),
        (Usage(1000, 500, cached_input_tokens=400), 600 * 150 + 400 * 75 + 300_000),
        (Usage(1000, 0, cached_input_tokens=1000), 75_000),
        (Usage(1000, 0, cached_input_tokens=5000), 75_000),  # no more can be cached than there was
        (Usage(0, 500, reasoning_tokens=400), 300_000),  # reasoning is part of the output
        (Usage(1_000_000, 1_000_000), 750_000_000),
    ],
)
def test_tokens_cost_their_price(usage: Usage, charge: int) -> None:
    assert Rates(price=MINI, cost=TokenPrices()).charge(usage) == charge


@pytest.mark.parametrize(
    ("usage", "charge"),
    [(Usage(0, 0), 0), (Usage(1, 0), 1), (Usage(1, 1), 1), (Usage(999_999, 1), 1), (Usage(1_000_000, 1), 2)],
)
def test_the_sum_is_rounded_up_once(usage: Usage, charge: int) -> None:
    assert Rates(price=CHEAP, cost=TokenPrices()).charge(usage) == charge


def test_flat_prices_are_added() -> None:
    rates = Rates(price=CHEAP, cost=TokenPrices(), request_price=1_000_000, image_price=5_000_000, image_cost=39_000)
    assert rates.charge(Usage()) == 1_000_000
    assert rates.charge(Usage(images=3, input_tokens=1)) == 16_000_001
    assert rates.cost_nanousd(Usage(images=2)) == 78_000_000


@pytest.mark.parametrize(("tokens", "price"), [(200_000, 150), (200_001, 300), (500_000, 300), (500_001, 600)])
def test_a_long_input_is_dearer_as_a_whole(tokens: int, price: int) -> None:
    dearest = TokenPrices(input=600_000_000, cached_input=0, output=0)
    tiers = (Tier(500_000, dearest, dearest), Tier(200_000, LONG, LONG))
    rates = Rates(price=MINI, cost=MINI, tiers=tiers)
    assert rates.charge(Usage(tokens, 0)) == tokens * price
    assert rates.cost_nanousd(Usage(tokens, 0)) == tokens * price * 1000


@pytest.mark.parametrize("slug", ["gpt-4o-mini", "gemini-3.1-pro-preview", "gpt-6-luna", "gemini-3.8-flash"])
@pytest.mark.parametrize(("given", "cached", "written"), [(1000, 0, 500), (1000, 300, 1), (300_000, 100_000, 20_000)])
@pytest.mark.django_db
def test_our_cost_is_the_price_librarys(settings: Any, slug: str, given: int, cached: int, written: int) -> None:
    settings.OPENAI_API_KEY = settings.GEMINI_API_KEY = "test-key"
    sync.sync_models()
    model = snapshot.current()[slug]
    ours = model.rates.cost_nanousd(Usage(given, written, cached_input_tokens=cached)) if model.rates else None
    usage = LibraryUsage(input_tokens=given, cache_read_tokens=cached, output_tokens=written)
    theirs = calc_price(usage, slug, provider_id={"openai": "openai", "gemini": "google"}[model.provider.slug])
    assert ours == pytest.approx(float(theirs.total_price * 10**9), abs=1000)


# --- Dates ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(db: None) -> AIModel:
    provider = Provider.objects.create(slug="house", kind="demo")
    return AIModel.objects.create(slug="house-1", provider=provider)


def price(model: AIModel, days: float, input_price: int, source: str = Price.OPERATOR) -> Price:
    moment = timezone.now() + timedelta(days=days)
    return Price.objects.create(model=model, effective_at=moment, input_price=input_price, source=source)


def in_force(slug: str = "house-1") -> int | None:
    snapshot.forget()
    rates = snapshot.current()[slug].rates
    return rates.price.input if rates else None


def test_the_latest_price_that_has_begun_is_in_force(model: AIModel) -> None:
    price(model, -20, 1)
    price(model, +10, 3)
    price(model, -10, 2)
    assert in_force() == 2


def test_a_future_price_takes_over_on_its_day(model: AIModel, monkeypatch: pytest.MonkeyPatch) -> None:
    price(model, -1, 1)
    price(model, +1, 2)
    assert in_force() == 1
    tomorrow = timezone.now() + timedelta(days=2)
    monkeypatch.setattr("django.utils.timezone.now", lambda: tomorrow)
    monkeypatch.setattr("aichat.core.database.clock.shared_now", lambda: tomorrow)
    assert in_force() == 2


def test_a_model_without_a_price_can_not_be_called(model: AIModel, alice: Actor, inline_database: None) -> None:
    price(model, +1, 1)
    assert in_force() is None
    response = alice.post("/api/v1/chat", {"message": "Hi", "model": "house-1"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
    assert "house-1" not in {row["id"] for row in alice.get("/v1/models").json()["data"]}
    assert alice.get("/v1/models/house-1").status_code == 404


def test_the_price_in_force_is_kept_on_the_usage_record(catalog: None, alice: Actor, inline_database: None) -> None:
    from aichat.usage.models import UsageRecord

    alice.post("/api/v1/chat", {"message": "Hi"})
    assert UsageRecord.objects.get().prices["request_price"] == 1_000_000


@pytest.mark.parametrize("field", ["input_price", "output_price", "request_price", "image_price", "input_cost"])
def test_a_negative_price_is_refused(model: AIModel, field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Price(model=model, **{field: -1}).full_clean()
    assert field in caught.value.message_dict


def test_a_negative_price_of_a_tier_is_refused(model: AIModel) -> None:
    free = {"input": 0, "cached_input": 0, "output": -5}
    row = Price(model=model, tiers=[{"above_input_tokens": 10, "price": free, "cost": free}])
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    assert "tiers" in caught.value.message_dict


@pytest.mark.parametrize(
    "tiers", [[{"above_input_tokens": 1}], ["x"], [{"above_input_tokens": 1, "price": 5, "cost": 5}]]
)
def test_a_price_nobody_can_read_closes_its_model_and_no_other(catalog: None, model: AIModel, tiers: Any) -> None:
    price(model, -2, 1)
    Price.objects.create(model=model, tiers=tiers)
    assert in_force() is None
    assert in_force("demo") == 0


# --- The price library ------------------------------------------------------------------------------------------------


@pytest.fixture
def keys(settings: Any, db: None) -> None:
    settings.OPENAI_API_KEY = settings.GEMINI_API_KEY = "test-key"


def rows() -> list[Any]:
    return [list(table.objects.order_by("pk").values()) for table in (Provider, AIModel, Price)]


def test_syncing_again_changes_nothing(keys: None) -> None:
    assert sync.sync_models()
    before = rows()
    assert sync.sync_models() == []
    assert rows() == before


def test_every_default_model_has_a_price(keys: None) -> None:
    sync.sync_models()
    assert [slug for slug, model in snapshot.current().items() if not model.is_callable] == []


def test_the_users_price_is_the_cost_times_credits_and_markup(keys: None, settings: Any) -> None:
    settings.CREDITS_PER_USD, settings.MARKUP = Decimal(100), Decimal("1.5")
    sync.sync_models()
    row = Price.objects.get(model__slug="gpt-4o-mini")
    assert (row.input_cost, row.output_cost) == (150_000, 600_000)
    assert (row.input_price, row.output_price) == (22_500_000, 90_000_000)


def test_an_operators_price_is_kept_by_sync_and_by_what_the_library_announced(keys: None) -> None:
    sync.sync_models()
    model = AIModel.objects.get(slug="gpt-4o-mini")
    price(model, +5, 777, source=Price.LIBRARY)
    price(model, -1, 42)
    sync.sync_models()
    assert in_force("gpt-4o-mini") == 42
    Price.objects.filter(source=Price.LIBRARY, input_price=777).update(effective_at=timezone.now())
    assert in_force("gpt-4o-mini") == 42


def test_a_library_price_that_changed_begins_now_and_keeps_the_old_one(keys: None) -> None:
    sync.sync_models()
    Price.objects.filter(model=AIModel.objects.get(slug="gpt-4o-mini")).update(input_cost=1, input_price=1)
    sync.sync_models()
    assert [row.input_cost for row in Price.objects.filter(model__slug="gpt-4o-mini")] == [150_000, 1]
    assert in_force("gpt-4o-mini") == 150_000_000


def test_a_disabled_model_stays_disabled(keys: None) -> None:
    sync.sync_models()
    AIModel.objects.filter(slug="gpt-4o-mini").update(enabled=False)
    sync.sync_models()
    assert not AIModel.objects.get(slug="gpt-4o-mini").enabled
    snapshot.forget()
    assert "gpt-4o-mini" not in snapshot.current()


# --- Routes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gemini", "openai", "route"),
    [
        ("", "", ["demo"]),
        ("key", "", ["gemini-3.8-flash"]),
        ("", "key", ["gpt-6-luna"]),
        ("key", "key", ["gemini-3.8-flash", "gpt-6-luna"]),
    ],
)
@pytest.mark.django_db
def test_auto_is_gemini_then_openai_and_the_demo_only_without_a_key(
    settings: Any, gemini: str, openai: str, route: list[str]
) -> None:
    settings.GEMINI_API_KEY, settings.OPENAI_API_KEY = gemini, openai
    sync.sync_models()
    assert [model.slug for model in routing.candidates(snapshot.current(), None, "auto")] == route


def test_a_provider_whose_key_was_taken_away_is_left_out(keys: None, settings: Any) -> None:
    sync.sync_models()
    settings.GEMINI_API_KEY = ""
    snapshot.forget()
    assert [model.slug for model in routing.candidates(snapshot.current(), None, "auto")] == ["gpt-6-luna"]
    with pytest.raises(routing.ModelNotFound):
        routing.candidates(snapshot.current(), None, "gemini-3.8-flash")
