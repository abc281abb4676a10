"""The formulas against worked examples of their authors and of tables."""

from random import Random

import pytest

from admin_dashboard.experiments.statistics import (
    Sample,
    chi_square_tail,
    effective_size,
    newcombe,
    sample_ratio,
    t_quantile,
    welch,
    wilson,
)


def sample(*units: tuple[int, float]) -> Sample:
    found = Sample()
    for n, y in units:
        found.add(n, y)
    return found


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998) 857–872, table I, method 3
    [
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_those_of_the_published_table(share: float, n: int, low: float, high: float) -> None:
    assert wilson(share, n, 0.95) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("a", "m", "b", "n", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998) 873–890, table II, method 10
    [
        (56, 70, 48, 80, 0.0524, 0.3339),
        (9, 10, 3, 10, 0.1705, 0.8090),
        (10, 10, 0, 20, 0.6791, 1.0),
        (0, 10, 0, 20, -0.1611, 0.2775),
    ],
)
def test_newcombe_intervals_are_those_of_the_published_table(
    a: int, m: int, b: int, n: int, low: float, high: float
) -> None:
    assert newcombe(a / m, m, b / n, n, 0.95) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("p", "freedom", "quantile"),
    [
        (0.975, 3, 3.182),
        (0.975, 5, 2.571),
        (0.975, 10, 2.228),
        (0.975, 30, 2.042),
        (0.995, 10, 3.169),
        (0.975, 1e9, 1.960),
    ],
)
def test_t_quantiles_are_those_of_the_tables(p: float, freedom: float, quantile: float) -> None:
    assert t_quantile(p, freedom) == pytest.approx(quantile, rel=0.01)


@pytest.mark.parametrize(
    ("x", "freedom", "tail"),
    [(3.841, 1, 0.05), (5.991, 2, 0.05), (7.815, 3, 0.05), (9.488, 4, 0.05), (10.828, 1, 0.001)],
)
def test_chi_square_tails_are_those_of_the_tables(x: float, freedom: int, tail: float) -> None:
    assert chi_square_tail(x, freedom) == pytest.approx(tail, rel=0.002)


def test_welchs_interval_of_a_worked_example() -> None:
    """The lengths of teeth of R's ToothGrowth at dose 0.5: t.test(len ~ supp) gives 1.719 to 8.781."""
    orange = [15.2, 21.5, 17.6, 9.7, 14.5, 10.0, 8.2, 9.4, 16.5, 9.7]
    ascorbic = [4.2, 11.5, 7.3, 5.8, 6.4, 10.0, 11.2, 11.2, 5.2, 7.0]
    found = welch(sample(*((1, y) for y in orange)), sample(*((1, y) for y in ascorbic)), 0.95)
    assert found == pytest.approx((1.719, 8.781), abs=0.005)


def test_requests_of_one_user_do_not_count_as_many_opinions() -> None:
    """Ten users, each with 100 requests that all fail or all succeed, are ten draws and not a thousand."""
    alike = sample(*((100, 100 if number < 5 else 0) for number in range(10)))
    assert effective_size(alike) == pytest.approx(9, abs=0.1)
    mixed = sample(*((100, 50) for _ in range(10)))
    assert effective_size(mixed) == 1000


def test_one_unit_has_no_interval() -> None:
    assert welch(sample((5, 10.0)), sample((1, 2.0), (1, 3.0)), 0.95) is None
    assert sample((0, 0.0)).mean is None


def test_a_split_that_chance_allows_and_one_that_it_does_not() -> None:
    assert sample_ratio([5040, 4960], [50, 50]) == pytest.approx(0.4237, abs=1e-3)
    broken = sample_ratio([5300, 4700], [50, 50])
    assert broken is not None and broken < 1e-8
    assert sample_ratio([80, 20, 0], [80, 20, 0]) == 1.0
    assert sample_ratio([0, 0], [50, 50]) is None


def test_equal_variants_are_found_different_about_once_in_twenty() -> None:
    """A/A with users who differ: the level holds only because the variance is between users."""
    random, alarms, rounds = Random(7), 0, 300
    for _ in range(rounds):
        sides = (Sample(), Sample())
        for number in range(200):
            requests = 1 + int(random.expovariate(0.2))
            rate = random.betavariate(1, 9)
            sides[number % 2].add(requests, sum(random.random() < rate for _ in range(requests)))
        first, second = sides
        interval = newcombe(
            first.y / first.n, effective_size(first, second), second.y / second.n, effective_size(second, first), 0.95
        )
        alarms += interval.excludes_zero
    assert 0.02 <= alarms / rounds <= 0.085  # three standard deviations around 5 %
