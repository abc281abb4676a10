"""The few formulas behind an experiment's results, each with its source. SciPy would be 100 MB for these.

A variant is drawn for a unit (a user or a conversation), and the requests of one unit are alike. Counting them as if
they were independent would find differences where there are none; so every variance here is between units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, exp, gamma, sqrt
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(slots=True)
class Sample:
    """Sums of a measure over units: each unit adds the number of its measurements (`n`) and their sum (`y`)."""

    units: int = 0
    n: int = 0
    y: float = 0
    nn: float = 0
    yy: float = 0
    ny: float = 0

    def add(self, n: int, y: float) -> None:
        """Add one unit's measurements; a unit that was never measured changes nothing."""
        if n:
            self.units += 1
            self.n += n
            self.y += y
            self.nn += n * n
            self.yy += y * y
            self.ny += n * y

    @property
    def mean(self) -> float | None:
        return self.y / self.n if self.n else None

    @property
    def variance(self) -> float:
        """Return the variance of the mean: the linearised variance of a ratio of sums over units.

        Cochran, Sampling Techniques (3rd ed. 1977), formula 6.13. With one measure a unit it is the familiar s²/n.
        """
        if self.units < 2:
            return float("inf")
        mean = self.y / self.n
        spread = max(0.0, self.yy - 2 * mean * self.ny + mean * mean * self.nn)
        return spread * self.units / (self.units - 1) / self.n**2


def welch(sample: Sample, control: Sample, confidence: float) -> Interval | None:
    """Return an interval for the difference of two means of unequal variance; None with fewer than two units on a side.

    Welch, Biometrika 34 (1947), with the degrees of freedom of Satterthwaite, Biometrics Bulletin 2 (1946).
    """
    if sample.units < 2 or control.units < 2:
        return None
    difference = sample.y / sample.n - control.y / control.n
    a, b = sample.variance, control.variance
    if a + b == 0:
        return Interval(difference, difference)
    freedom = (a + b) ** 2 / (a**2 / (sample.units - 1) + b**2 / (control.units - 1))
    margin = t_quantile((1 + confidence) / 2, freedom) * sqrt(a + b)
    return Interval(difference - margin, difference + margin)


def wilson(share: float, n: float, confidence: float) -> Interval:
    """Return an interval for a share seen in `n` draws. Wilson, Journal of the American Statistical Association 22 (1927)."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = share + z * z / (2 * n)
    margin = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return Interval(max(0.0, (middle - margin) / scale), min(1.0, (middle + margin) / scale))


def newcombe(share: float, n: float, control_share: float, control_n: float, confidence: float) -> Interval:
    """Return an interval for the difference of two shares. Newcombe, Statistics in Medicine 17 (1998) 873–890, method 10."""
    own, other = wilson(share, n, confidence), wilson(control_share, control_n, confidence)
    difference = share - control_share
    return Interval(
        difference - sqrt((share - own.low) ** 2 + (other.high - control_share) ** 2),
        difference + sqrt((own.high - share) ** 2 + (control_share - other.low) ** 2),
    )


def effective_size(sample: Sample, other: Sample | None = None) -> float:
    """Return the number of independent draws a share of `sample` is worth: its measurements, divided by the design effect.

    Rao & Scott, Biometrics 48 (1992) 577–585. Where all units agree the effect can't be seen, and the other sample's is
    taken. The result never exceeds the number of measurements.
    """
    effect = design_effect(sample) or (design_effect(other) if other else None) or 1.0
    return sample.n / max(1.0, effect)


def design_effect(sample: Sample) -> float | None:
    if sample.units < 2 or not 0 < sample.y < sample.n:
        return None
    share = sample.y / sample.n
    return sample.variance / (share * (1 - share) / sample.n)


def t_quantile(p: float, freedom: float) -> float:
    """Return the quantile of Student's t distribution. It is within 1 % from 3 degrees of freedom on.

    Abramowitz & Stegun, Handbook of Mathematical Functions (1964), 26.7.5.
    """
    x = NormalDist().inv_cdf(p)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92160,
    )
    return x + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def chi_square_tail(x: float, freedom: int) -> float:
    """Return the probability of a chi-square of at least `x`. Abramowitz & Stegun 26.4.4 and 26.4.5, by recurrence."""
    tail = erfc(sqrt(x / 2)) if freedom % 2 else exp(-x / 2)
    for step in range(1 if freedom % 2 else 2, freedom, 2):
        tail += (x / 2) ** (step / 2) * exp(-x / 2) / gamma(step / 2 + 1)
    return tail


def sample_ratio(observed: Sequence[int], weights: Sequence[int]) -> float | None:
    """Return the probability that units drawn by these weights split at least this unevenly; None without enough units.

    A tiny probability means that variants lose units, and no other figure can be trusted: Fabijan et al., Diagnosing Sample
    Ratio Mismatch in Online Controlled Experiments (KDD 2019).
    """
    drawn = [(count, weight) for count, weight in zip(observed, weights, strict=True) if weight]
    total, whole = sum(count for count, _ in drawn), sum(weight for _, weight in drawn)
    if len(drawn) < 2 or not total:
        return None
    expected = [total * weight / whole for _, weight in drawn]
    statistic = sum((count - mean) ** 2 / mean for (count, _), mean in zip(drawn, expected, strict=True))
    return chi_square_tail(statistic, len(drawn) - 1)
