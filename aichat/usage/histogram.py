"""Latency histograms: counts in buckets each a tenth wider than the one before, so a percentile is right within 5 %."""

import math
from collections.abc import Mapping

RATIO = 1.1
Histogram = Mapping[int, int]  # requests by bucket


def bucket(milliseconds: int) -> int:
    """The bucket of a latency: the first whose upper end, RATIO ** bucket milliseconds, is not below it."""
    return 0 if milliseconds <= 1 else math.ceil(round(math.log(milliseconds) / math.log(RATIO), 9))


def percentile(histogram: Histogram, share: float) -> int | None:
    """Milliseconds within which `share` (0.95) of the requests ended; None without any."""
    total = sum(histogram.values())
    if not total:
        return None
    seen, wanted = 0, share * total
    for number in sorted(histogram):
        seen += histogram[number]
        if seen >= wanted:
            return round(RATIO ** (number - 0.5)) if number else 1
    raise AssertionError("unreachable")
