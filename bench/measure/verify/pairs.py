"""What timings in pairs say of a ratio: its median and an interval that no single stall can move.

Both halves of a pair are taken next to each other and the order of the halves alternates, so that a machine that
drifts drifts through both. Of the pairs' ratios count order statistics (exact binomial, at least 99 %): nothing is
assumed of the noise but that pairs are alike. A trial fails where the whole interval lies beyond what is allowed, so
that a noisy machine widens the interval and is told from a wrong instrument; a median or a mean with a fixed limit
once failed one run in thirty.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, inf
from statistics import median

from bench.measure.verify import Outcome, absent, failed, passed

CONFIDENCE = 0.99
# Ratios whose interval is wider than this say too little to pass or to fail.
WIDEST = 0.25
# And those of such an interval are known well, on whichever side of a limit their middle lies.
NARROW = 0.05


def ratios(rounds: int, one: Callable[[], float], other: Callable[[], float]) -> list[float]:
    """one() / other() of each round, the two taking turns to be first."""
    quotients = []
    for number in range(rounds):
        if number % 2:
            second = other()
            first = one()
        else:
            first = one()
            second = other()
        quotients.append(first / second)
    return quotients


@dataclass(frozen=True)
class Interval:
    """A median with the order statistics around it; n: how many values."""

    value: float
    low: float
    high: float
    n: int

    @property
    def width(self) -> float:
        """Of the interval, as a share of the value."""
        return (self.high - self.low) / self.value if self.value > 0 else inf

    @property
    def text(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f}, n={self.n})"


@cache
def rank(n: int) -> int:
    """The largest r for which [x_r, x_(n-1-r)] of n sorted values covers their median with CONFIDENCE, else 0."""
    tail, r = 0.0, 0
    while 2 * (tail := tail + comb(n, r) / 2**n) <= 1 - CONFIDENCE:
        r += 1
    return max(r - 1, 0)


def interval(values: Sequence[float]) -> Interval:
    """Raises StatisticsError for none."""
    ordered, r = sorted(values), rank(len(values))
    return Interval(median(ordered), ordered[r], ordered[-1 - r], len(ordered))


def judged(seen: Interval, least: float = -inf, most: float = inf, reason: str = "", widest: float = WIDEST) -> Outcome:
    """A pass within [least, most], a failure for that reason where the whole interval is beyond, else by the spread."""
    if seen.high < least or seen.low > most:
        return failed(seen.text, reason)
    inside = least <= seen.low and seen.high <= most
    # an interval that is not narrow and whose middle lies beyond shows nothing by reaching what is allowed
    beyond = seen.width > NARROW and not least <= seen.value <= most
    if not inside and (seen.width > widest or beyond):
        spread = f"{100 * seen.width:.0f} %" if seen.width < 1 else "a factor of two"
        return absent(f"too noisy: pairs differ by {spread}", seen.text)
    return passed(seen.text)


def alike(values: Sequence[float], tolerance: float, reason: str) -> Outcome:
    """A pass where these ratios are 1, within the tolerance."""
    return judged(interval(values), 1 - tolerance, 1 + tolerance, reason)
