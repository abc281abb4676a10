"""The parts of the latency benchmark that decide what it says: arrivals, percentile differences, the page."""

import itertools

from tests.benchmarks import report
from tests.benchmarks.latency import DIRECT, added
from tests.benchmarks.open_loop import Arrivals


def test_arrivals_have_the_rate_and_are_the_same_for_every_system() -> None:
    arrivals = Arrivals(rate=200, seconds=50, warm_up=0, seed=1)
    moments = arrivals.moments()
    assert moments == sorted(moments) == arrivals.moments()
    assert 9_500 < len(moments) < 10_500
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert sum(gap > 1 / 200 for gap in gaps) / len(gaps) < 0.4  # exponential, not even: that would be about a half


def test_what_a_system_adds_is_its_percentile_less_the_providers() -> None:
    def seen(milliseconds: float) -> dict[str, dict[str, float]]:
        return {"latency": {"p50": milliseconds}}

    assert added({"ours": [seen(60), seen(64)], DIRECT: [seen(50), seen(52)]}, "ours", "latency", "p50") == 11


def test_a_part_of_the_page_is_replaced_and_the_rest_kept() -> None:
    page = report.with_part("# Benchmarks\n\nThe rest.\n", "latency", ["first"])
    page = report.with_part(page, "latency", ["second", "time"])
    assert report.part_of(page, "latency") == ["second", "time"]
    assert page.count("latency: written by") == 1 and "The rest." in page and "first" not in page
