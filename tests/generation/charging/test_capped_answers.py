"""The length to which an answer is shortened when credits are few is the longest that they pay for."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from aichat.catalog.pricing import Rates, Tier, TokenPrices
from aichat.catalog.snapshot import ModelInfo, ProviderInfo
from aichat.generation.charging.bill import Bill
from aichat.providers.base import Endpoint, Usage

SHORTEST = 64
PROVIDER = ProviderInfo("p", "demo", Endpoint("", ""), is_configured=True)
MODEL = ModelInfo("m", "chat", PROVIDER, "m", 10**6, 100, (), None, None, 0)
AMOUNTS = st.integers(0, 3) | st.integers(0, 10**10)
PRICES = st.builds(TokenPrices, AMOUNTS, AMOUNTS, AMOUNTS, st.none() | AMOUNTS, st.none() | AMOUNTS)
TIERS = st.builds(Tier, st.integers(0, 5000), PRICES, PRICES)
RATES = st.builds(Rates, price=PRICES, cost=PRICES, request_price=AMOUNTS, tiers=st.lists(TIERS, max_size=2).map(tuple))
CANDIDATES = st.lists(st.tuples(RATES, st.integers(1, 8000), st.integers(0, 10_000)), min_size=1, max_size=3)


class Counted(Bill):
    """A bill that knows the input of its candidates, in tokens."""

    def __init__(self, inputs: dict[str, int], most_tokens: int) -> None:
        request: Any = SimpleNamespace(id=uuid4(), request_id="r", most_tokens=most_tokens)
        super().__init__(request)
        self.inputs = inputs

    def likely_input(self, model: ModelInfo) -> int:
        return self.inputs[model.slug]

    def price(self, candidates: list[ModelInfo]) -> int:
        """Microcredits of the longest answer of the dearest candidate."""
        return max(
            model.rates.most(Usage(self.inputs[model.slug], self.max_tokens(model)))
            for model in candidates
            if model.rates
        )

    def search(self, candidates: list[ModelInfo], affordable: int) -> bool:
        """Find by trying what `cap` computes."""
        if self.price(candidates) <= affordable:
            return True
        low, high = SHORTEST, max(self.max_tokens(model) for model in candidates)
        while low <= high:
            self.result.max_tokens_capped = (low + high) // 2
            if self.price(candidates) <= affordable:
                low = self.result.max_tokens_capped + 1
            else:
                high = self.result.max_tokens_capped - 1
        self.result.max_tokens_capped = high if high >= SHORTEST else None
        return self.result.max_tokens_capped is not None


@settings(max_examples=300, deadline=None)
@given(found=CANDIDATES, most_tokens=st.integers(1, 8000), share=st.floats(0, 1.2), nearby=st.integers(-2, 2))
def test_the_computed_length_is_the_one_that_a_search_finds(
    found: list[tuple[Rates, int, int]], most_tokens: int, share: float, nearby: int
) -> None:
    candidates = [
        replace(MODEL, slug=f"m{number}", rates=rates, max_output_tokens=most)
        for number, (rates, most, _) in enumerate(found)
    ]
    inputs = {model.slug: read for model, (_, _, read) in zip(candidates, found, strict=True)}
    computed, searched = Counted(inputs, most_tokens), Counted(inputs, most_tokens)
    affordable = max(0, int(searched.price(candidates) * share) + nearby)
    assert computed.cap(candidates, affordable) == searched.search(candidates, affordable)
    assert computed.result.max_tokens_capped == searched.result.max_tokens_capped
    if computed.result.max_tokens_capped:
        assert computed.price(candidates) <= affordable


@given(rates=RATES, read=st.integers(0, 10_000), affordable=AMOUNTS)
def test_one_token_more_than_the_longest_output_is_too_dear(rates: Rates, read: int, affordable: int) -> None:
    longest = rates.longest_output(read, affordable)
    if longest >= 0:
        assert rates.most(Usage(read, longest)) <= affordable
    if longest < 2**31 - 1:
        assert rates.most(Usage(read, longest + 1)) > affordable
