"""What a value is compared with, and the one comparison: own history, a blessed baseline, siblings, the datasheet.

Own history: median - max(floor, K x 1.4826 x MAD) over the last valid Runs in an unchanged environment. The floor is
there because a MAD over a dozen Runs is often too small by half; a median, because one bad hour must not move it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.analysis.gate.metrics import Metric, Tolerance
from bench.stats import mad

# Deviations. Three would do for Runs that scatter independently; where most of the scatter is common to a Run and its
# re-measurement, a dozen metrics need a little more, and lose as little power by it (python -m tests.perf.gate).
K = 3.4
# Past Runs that a band of its own needs; with fewer the baseline's tolerance holds. The window is the last of them.
ENOUGH, WINDOW = 10, 20
# What no machine can be: a value above its datasheet by more is an error of ours. And what is absurd below it.
ABOVE_THEORY, BELOW_THEORY = 1.02, 0.5
# Siblings say what is usual from three others on; two can only disagree.
SIBLINGS = 3


@dataclass(frozen=True)
class Reference:
    """A speed that was to be expected, with the band around it (work or launches per second), and what it rests on.

    kind: "history", "baseline", "product", "siblings" or "theory". n: of Runs or devices. source: in words.
    """

    kind: str
    centre: float
    low: float
    high: float
    n: int
    source: str
    clock_hz: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A speed beside a reference. ratio: above 1 is faster, for a time too. place: "below", "within" or "above"."""

    reference: Reference
    ratio: float
    place: str


def compare(speed: float, reference: Reference) -> Comparison:
    """Theory, history, baseline and siblings alike."""
    place = "below" if speed < reference.low else "above" if speed > reference.high else "within"
    return Comparison(reference, speed / reference.centre, place)


def history(
    metric: Metric, tolerance: Tolerance, past: Sequence[float], source: str, clock_hz: float | None = None
) -> Reference | None:
    """The band of the last valid Runs; None with too few of them."""
    window = past[-WINDOW:]
    if len(window) < ENOUGH:
        return None
    centre = median(window)
    scatter = K * mad(window) / centre
    low, high = _band(metric, centre, max(tolerance.floor, scatter), tolerance.least)
    return Reference("history", centre, low, high, len(window), source, clock_hz)


def baseline(
    metric: Metric, tolerance: Tolerance, speed: float, source: str, clock_hz: float | None = None, *, own: bool = True
) -> Reference:
    """A blessed Run of the same device, or with twice the floor of the same product."""
    low, high = _band(metric, speed, tolerance.floor * (1 if own else 2), tolerance.least)
    return Reference("baseline" if own else "product", speed, low, high, 1, source, clock_hz)


def pinned(metric: Metric, tolerance: Tolerance, reference: Reference) -> Reference:
    """A baseline's outer band, of twice its floor. A history that drifts slowly never leaves its own band, this one
    stands still; and what lies outside of it never becomes the history that excuses it.
    """
    low, high = _band(metric, reference.centre, 2 * tolerance.floor, tolerance.least)
    return Reference(reference.kind, reference.centre, low, high, 1, reference.source, reference.clock_hz)


def siblings(metric: Metric, share: float, others: Sequence[float], least: float = 0.0) -> Reference | None:
    """The median of the other devices of the node, `share` below it or beyond what they scatter among themselves."""
    if len(others) < SIBLINGS:
        return None
    centre = median(others)
    low, high = _band(metric, centre, max(share, K * mad(others) / centre), least)
    return Reference("siblings", centre, low, high, len(others), f"the median of its {len(others)} siblings")


def theory(speed: float) -> Reference:
    """The datasheet: absolute sanity, nothing finer."""
    return Reference("theory", speed, BELOW_THEORY * speed, ABOVE_THEORY * speed, 0, "the datasheet")


def _band(metric: Metric, centre: float, share: float, least: float) -> tuple[float, float]:
    """(low, high) speeds `share` to either side, counted in the metric's own unit; at least `least` seconds apart."""
    if metric.better == "higher":
        return centre * (1 - share), centre * (1 + share)
    share = max(share, least * centre)
    return centre / (1 + share), centre / (1 - share) if share < 1 else float("inf")
