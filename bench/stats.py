"""What a handful of repeated timings says: their mean, spread and interval, with nothing but the standard library.

The unit of statistics is the repetition (the case again, fresh buffers, later), not the sample: samples of one
repetition agree far better with each other than repetitions agree with repetitions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

# Two-sided 95 % quantiles of Student's t by degrees of freedom (Abramowitz & Stegun, table 26.10).
_T95 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
    2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip

MIN_FOR_INTERVAL = 5


@dataclass(frozen=True)
class Estimate:
    """A value with what is known of its spread: a 95 % interval from n >= 5 repetitions, else their range."""

    value: float
    low: float
    high: float
    n: int

    @property
    def kind(self) -> str:
        return "95 % interval" if self.n >= MIN_FOR_INTERVAL else f"range of {self.n}"

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def t95(degrees: int) -> float:
    """Student's t, two-sided 95 %. Beyond the table, the Cornish-Fisher expansion (error below 1e-4)."""
    if degrees < 1:
        raise ValueError("an interval needs at least two values")
    if degrees <= len(_T95):
        return _T95[degrees - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def estimate(values: Sequence[float]) -> Estimate:
    """Geometric mean and interval of positive values: t over their logarithms from five on, else the range.

    Raises ValueError for no values or for one that is not positive and finite.
    """
    if not values:
        raise ValueError("no values to estimate from")
    if any(not (v > 0 and math.isfinite(v)) for v in values):
        raise ValueError("a rate or a time must be positive and finite")
    logs = [math.log(v) for v in values]
    centre = fmean(logs)
    # identical values must come back to the last digit: exp(log(x)) does not
    value = values[0] if min(values) == max(values) else math.exp(centre)
    if len(values) < MIN_FOR_INTERVAL:
        return Estimate(value, min(values), max(values), len(values))
    half = t95(len(values) - 1) * stdev(logs, centre) / math.sqrt(len(values))
    return Estimate(value, value * math.exp(-half), value * math.exp(half), len(values))


def quantile(values: Sequence[float], q: float) -> float:
    """Linear interpolation between order statistics (Hyndman & Fan, type 7)."""
    ordered = sorted(values)
    position = q * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def mad(values: Sequence[float]) -> float:
    """Median absolute deviation, scaled by 1.4826 to estimate a normal standard deviation."""
    centre = median(values)
    return 1.4826 * median(abs(v - centre) for v in values)


def median_half_width(values: Sequence[float]) -> float:
    """Half of the median's 95 % interval as a share of the median, from order statistics (binomial, n >= 6).

    Infinite below six values: no pair of order statistics covers the median with 95 % there.
    """
    n = len(values)
    if n < 6:
        return math.inf
    ordered = sorted(values)
    # normal approximation of the binomial ranks; for n = 6 it gives the whole range, as the exact table does
    reach = 0.98 * math.sqrt(n)
    low = max(0, math.floor(n / 2 - reach))
    high = min(n - 1, math.ceil(n / 2 + reach) - 1)
    return (ordered[high] - ordered[low]) / 2 / median(ordered)
