"""Computes what usage costs: the user in microcredits, us in nano-USD. All are integers, rounded up once, at the end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from aichat.core.database.statements import Encoded
from aichat.providers.base import Usage
from aichat.providers.usage import LARGEST_COUNT

PER_MILLION = 1_000_000
MS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """The prices of a million tokens: for the user in microcredits, as a provider's cost in microdollars.

    `cache_write` is for tokens the provider stores in its prompt cache (None: as any other input), `cache_write_1h` for
    those that it keeps there for an hour (None: as other writes).
    """

    input: int = 0
    cached_input: int = 0
    output: int = 0
    cache_write: int | None = None
    cache_write_1h: int | None = None

    def __post_init__(self) -> None:
        if min(self.input, self.cached_input, self.output) < 0:
            raise ValueError("A price is 0 or more.")

    def millionths(self, usage: Usage) -> int:
        """What the tokens cost, in millionths of the price's unit, so that nothing is rounded yet."""
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        for_an_hour = min(usage.cache_write_1h_tokens, written)
        write = self.input if self.cache_write is None else self.cache_write
        return (
            (usage.input_tokens - cached - written) * self.input
            + cached * self.cached_input
            + (written - for_an_hour) * write
            + for_an_hour * (write if self.cache_write_1h is None else self.cache_write_1h)
            + usage.output_tokens * self.output
        )


@dataclass(frozen=True, slots=True)
class Tier:
    """Prices that hold for the whole request once its input is longer than `above_input_tokens`."""

    above_input_tokens: int
    price: TokenPrices
    cost: TokenPrices


@dataclass(frozen=True, slots=True)
class Rates:
    """The prices in force for one model: the user's in microcredits, the provider's (costs) in microdollars.

    Besides those of tokens there are prices of a request, an image, a million characters of text to speak, and a minute of
    audio to transcribe.
    """

    price: TokenPrices
    cost: TokenPrices
    request_price: int = 0
    image_price: int = 0
    image_cost: int = 0
    tiers: tuple[Tier, ...] = ()
    character_price: int = 0
    character_cost: int = 0
    minute_price: int = 0
    minute_cost: int = 0

    def charge(self, usage: Usage) -> int:
        """What the user pays, in microcredits."""
        price = self._tier(usage)[0] if self.tiers else self.price
        tokens = price.millionths(usage)
        measured = _rounded_up(tokens, usage, self.character_price, self.minute_price, PER_MILLION)
        return measured + self.request_price + usage.images * self.image_price

    def most(self, usage: Usage) -> int:
        """The most the user pays for so many tokens, however many of them the provider's cache stores; in microcredits."""
        price = self._tier(usage)[0] if self.tiers else self.price
        if price.cache_write is None and price.cache_write_1h is None:
            return self.charge(usage)  # tokens that are written to the cache cost as much as others
        return max(map(self.charge, _placements(usage)))

    def longest_output(self, input_tokens: int, microcredits: int) -> int:
        """The most output tokens that `microcredits` pay for besides the input; -1 when they don't pay the input.

        For an output without a price it is LARGEST_COUNT.
        """
        usage = Usage(input_tokens=input_tokens)
        price = self._tier(usage)[0] if self.tiers else self.price
        left = (microcredits - self.request_price) * PER_MILLION - max(map(price.millionths, _placements(usage)))
        if left < 0:
            return -1
        return left // price.output if price.output else LARGEST_COUNT

    def cost_nanousd(self, usage: Usage) -> int:
        """Return what the provider bills us for the usage, in nano-USD (10⁻⁹ US dollars)."""
        cost = self._tier(usage)[1] if self.tiers else self.cost
        tokens = cost.millionths(usage)
        measured = _rounded_up(tokens, usage, self.character_cost, self.minute_cost, PER_MILLION // 1000)
        return measured + usage.images * self.image_cost * 1000

    def _tier(self, usage: Usage) -> tuple[TokenPrices, TokenPrices]:
        """The prices and costs for a request with this usage, of a model whose prices have tiers."""
        reached = [tier for tier in self.tiers if usage.input_tokens > tier.above_input_tokens]
        if not reached:
            return self.price, self.cost
        highest = max(reached, key=lambda tier: tier.above_input_tokens)
        return highest.price, highest.cost

    @lru_cache(maxsize=256)  # noqa: B019  # equal rates share one, and there are few
    def snapshot(self) -> Encoded:
        """The prices as JSON for the usage record, readable years later. `statements.insert_rows` writes it."""
        return Encoded(asdict(self))


def tier_from(row: Mapping[str, Any]) -> Tier:
    return Tier(row["above_input_tokens"], TokenPrices(**row["price"]), TokenPrices(**row["cost"]))


def _placements(usage: Usage) -> tuple[Usage, Usage, Usage]:
    """The usage with its input as it is, with all of it written to the provider's cache, and kept there for an hour."""
    written = replace(usage, cache_write_tokens=usage.input_tokens)
    return usage, written, replace(written, cache_write_1h_tokens=usage.input_tokens)


def _rounded_up(tokens: int, usage: Usage, per_million_characters: int, per_minute: int, by: int) -> int:
    """The sum of tokens (in millionths), characters and audio, divided by `by`; rounded up once, at the end."""
    millionths = tokens + usage.characters * per_million_characters
    return -(-(millionths * MS_PER_MINUTE + usage.audio_ms * per_minute * PER_MILLION) // (by * MS_PER_MINUTE))
