"""What pairs of timings say of a ratio: its median and an interval that no single stall can move.

Order statistics of the pairs' ratios (exact binomial, at least 99 %): nothing is assumed of the noise but that pairs
are alike. A trial fails where the whole interval lies beyond what is allowed, so that a noisy machine widens the
interval and is told from a wrong instrument; a median or a mean with a fixed limit once failed one run in thirty.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, inf
from statistics import median

from bench.measure.verify.assumption import Outcome, absent, failed, passed

CONFIDENCE = 0.99
# Ratios whose interval is wider than this say too little to pass or to fail.
WIDEST = 0.25
# And those of such an interval are known well, on whichever side of a limit their middle lies.
NARROW = 0.05


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
    """The largest r (from 0) for which [x_r, x_(n-1-r)] of n sorted values covers their median with CONFIDENCE; 0
    where even their range does not.
    """
    tail, r = 0.0, 0
    while 2 * (tail := tail + comb(n, r) / 2**n) <= 1 - CONFIDENCE:
        r += 1
    return max(r - 1, 0)


def interval(values: Sequence[float]) -> Interval:
    """Raises ValueError for none."""
    if not values:
        raise ValueError("no values to state an interval of")
    ordered, r = sorted(values), rank(len(values))
    return Interval(median(ordered), ordered[r], ordered[-1 - r], len(ordered))


def judged(
    found: Interval,
    least: float = -inf,
    most: float = inf,
    reason: str = "",
    text: Callable[[Interval], str] = lambda found: found.text,
    widest: float = WIDEST,
) -> Outcome:
    """A pass within [least, most], a failure where the whole interval is beyond, else what the spread allows to say.

    reason: what a failure means.
    """
    if found.high < least or found.low > most:
        return failed(text(found), reason)
    inside = least <= found.low and found.high <= most
    # an interval that is not narrow and whose middle lies beyond shows nothing by reaching what is allowed
    beyond = found.width > NARROW and not least <= found.value <= most
    if not inside and (found.width > widest or beyond):
        return absent(f"too noisy: pairs differ by {_percent(found.width)}", text(found))
    return passed(text(found))


def _percent(width: float) -> str:
    return f"{100 * width:.0f} %" if width < 1 else "a factor of two"
