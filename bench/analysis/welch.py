"""Two groups of repetitions beside one another: Welch's t over their logarithms, honest where there are few.

Repetitions of different Runs share no moment and cannot be paired, nor need they scatter alike. scipy.stats.ttest_ind
is this test for five repetitions a side and more; it cannot take a scatter from elsewhere, nor widen what few allow.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from scipy.special import stdtr, stdtrit

from bench.stats import MIN_FOR_INTERVAL, Estimate, t95

LEVEL = 0.05
# No repetition is known better than this, whatever two of them say; it also keeps rounding from being significant.
_RESOLUTION = 1e-6
# Two repetitions that agree on nothing reach further than a float: their interval ends at the exponential of this.
_ENDLESS = 300.0


@dataclass(frozen=True)
class LogSample:
    """Repetitions as logarithms: their centre and extremes, and the variance of one with its degrees of freedom.
    variance: None where a single repetition tells nothing. borrowed: it comes from other cases of the same Run.
    """

    centre: float
    low: float
    high: float
    n: int
    variance: float | None
    degrees: float
    borrowed: bool = False


def log_sample(values: Iterable[float], borrowed: tuple[float, float] | None = None) -> LogSample:
    """Of rates, one per repetition; borrowed: (variance, degrees of freedom) to use for a single one."""
    logs = [math.log(value) for value in values]
    known = (variance(logs), len(logs) - 1) if len(logs) > 1 else borrowed or (None, 0)
    return LogSample(fmean(logs), min(logs), max(logs), len(logs), *known, borrowed=len(logs) == 1 and bool(borrowed))


def recovered(value: Estimate) -> LogSample:
    """From an estimate whose repetitions are gone; of a range, the largest variance that it allows (Popoviciu)."""
    low, high, n = math.log(value.low), math.log(value.high), value.n
    if n >= MIN_FOR_INTERVAL:
        found = n * ((high - low) / 2 / t95(n - 1)) ** 2
    else:
        found = (high - low) ** 2 / 4 * n / (n - 1) if n > 1 else None
    return LogSample(math.log(value.value), low, high, n, found, n - 1)


@dataclass(frozen=True)
class WelchTest:
    """Two samples, the second over the first."""

    reference: LogSample
    other: LogSample

    @property
    def few(self) -> bool:
        """Whether a side has too few repetitions for an interval of its own."""
        return min(self.reference.n, self.other.n) < MIN_FOR_INTERVAL and not self.borrowed

    @property
    def borrowed(self) -> bool:
        return self.reference.borrowed or self.other.borrowed

    @property
    def _parts(self) -> list[tuple[float, float]]:
        return [((side.variance or 0.0) / side.n, side.degrees) for side in (self.reference, self.other)]

    @property
    def _error(self) -> float:
        return math.sqrt(sum(part for part, _ in self._parts) + _RESOLUTION**2)

    @property
    def _degrees(self) -> float:
        """Welch and Satterthwaite's."""
        below = sum(part**2 / degrees for part, degrees in self._parts)
        whole = sum(part for part, _ in self._parts)
        return whole**2 / below if below > _RESOLUTION**4 else sum(degrees for _, degrees in self._parts)

    @property
    def centre(self) -> float:
        return self.other.centre - self.reference.centre

    @property
    def _range(self) -> tuple[float, float]:
        return self.other.low - self.reference.high, self.other.high - self.reference.low

    @property
    def p(self) -> float:
        """Two-sided; 1 where there are few repetitions whose ranges overlap."""
        if self.few and self._range[0] <= 0 <= self._range[1]:
            return 1.0
        return min(1.0, 2 * float(stdtr(self._degrees, -abs(self.centre) / self._error)))

    def interval(self, level: float) -> tuple[float, float]:
        """Of the ratio, with confidence 1 - level; of few repetitions at least the range that they allow."""
        half = float(stdtrit(self._degrees, 1 - level / 2)) * self._error
        low, high = self.centre - half, self.centre + half
        if self.few:
            low, high = min(low, self._range[0]), max(high, self._range[1])
        return math.exp(max(low, -_ENDLESS)), math.exp(min(high, _ENDLESS))


def discoveries(ps: Sequence[float]) -> float:
    """The level at which Benjamini and Hochberg's rule judges each of a family at once."""
    if not ps:
        return LEVEL
    # half a second to import, for who compares only
    from scipy.stats import false_discovery_control

    alarms = int((false_discovery_control(ps) <= LEVEL).sum())
    return LEVEL * max(1, alarms) / len(ps)
