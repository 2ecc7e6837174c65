"""A headline number of one device over time: its Runs in segments of one environment, what is visible in them and what
moved, across a change of the environment or where nothing changed.

Only valid values enter medians, bands, shifts and moves. The unit is the Run. What would make a move wrong: Runs that
do not scatter independently (intervals are widened by the neighbours' correlation, a crude remedy), a drift that passes
for a step (both sides share a slope where there are Runs enough), several things that changed at once (which of them
did it no data can tell), and many questions asked of the same Runs (each interval holds against all of them together,
Bonferroni).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from statistics import median

import numpy as np
from scipy.special import stdtrit

from bench.analysis.run_entry import Change, DeviceEntry, RunEntry
from bench.stats import Estimate, mad

# A level that moved by less is not worth a sentence, however sure.
WORTH = 0.005
# Valid Runs on each side of a change; with fewer nothing is said. From ENOUGH on the two sides share a slope.
FEW, ENOUGH, WINDOW = 3, 8, 50
# Valid Runs in a segment before it is searched for a drift or a step of its own.
SEARCHED = 10


@dataclass(frozen=True)
class Headline:
    """One headline number of one device in one Run, in SI base units.

    key: of a roof, or "ridge KEY" over DRAM. basis: probes and versions that it rests on; only equal ones are joined.
    An invalid value has n = 0 and no interval: it says what was seen, and nothing about the machine.
    """

    key: str
    regime: str
    value: float
    low: float
    high: float
    n: int
    validity: str
    basis: tuple[str, ...]
    doubt: str = ""

    @property
    def estimate(self) -> Estimate:
        return Estimate(self.value, self.low, self.high, self.n)


Headlines = tuple[Headline, ...]


@dataclass(frozen=True)
class SeriesPoint:
    """One value in time, with the Run and the device that it is of."""

    file: str
    run: RunEntry[Headlines]
    device: DeviceEntry[Headlines]
    value: Headline

    @property
    def at(self) -> float:
        return self.run.at

    @property
    def valid(self) -> bool:
        return self.value.validity == "valid"


@dataclass(frozen=True)
class Segment:
    """Runs in an unchanged environment. changes: what began it. joined: whether it may be compared with the one before.

    median, deviation (twice the scaled MAD, as a share of the median) and n are of the valid values; median is None
    without one, deviation below three.
    """

    points: tuple[SeriesPoint, ...]
    changes: tuple[Change, ...]
    joined: bool

    @cached_property
    def valid(self) -> tuple[SeriesPoint, ...]:
        return tuple(point for point in self.points if point.valid)

    @property
    def n(self) -> int:
        return len(self.valid)

    @cached_property
    def median(self) -> float | None:
        return median(_values(self.valid)) if self.valid else None

    @cached_property
    def deviation(self) -> float | None:
        return 2 * mad(_values(self.valid)) / self.median if self.n >= FEW else None


def _values(points: Sequence[SeriesPoint]) -> list[float]:
    return [point.value.value for point in points]


@dataclass(frozen=True)
class Series:
    """One headline number of one device under one budget, in order of time.

    known: whether its Runs say which device they measured; redacted ones do not, and may be of many machines.
    """

    key: str
    regime: str
    budget: str
    device: str
    known: bool
    segments: tuple[Segment, ...]

    @cached_property
    def points(self) -> tuple[SeriesPoint, ...]:
        return tuple(point for segment in self.segments for point in segment.points)

    @property
    def newest(self) -> SeriesPoint:
        return self.points[-1]

    @property
    def number(self) -> tuple[str, str, str]:
        """What is one number to a reader, under whatever budget it was measured."""
        return self.key, self.regime, self.device

    @property
    def is_ridge(self) -> bool:
        return self.key.startswith("ridge ")

    @cached_property
    def outlier(self) -> float | None:
        """How far the newest value, if valid, lies outside its segment's band, as a share of the median; else None."""
        last = self.segments[-1]
        if last.n < ENOUGH or not self.newest.valid:
            return None
        ratio = self.newest.value.value / last.median
        return ratio - 1 if abs(ratio - 1) > max(2 * last.deviation, WORTH) else None

    @cached_property
    def shift(self) -> "Shift | None":
        """What is seen while nothing can be judged: the newest Run, or the newest few, beside those before; None where
        the newest segment is long enough to be searched.

        Of the ways to part them the one that moved most of those whose sides do not overlap, else the newest alone.
        """
        if not self.known or self.segments[-1].n >= SEARCHED:
            return None
        points, starts = self._comparable
        older = max(0, len(points) - SEARCHED + 1)
        points, n = points[older:], len(points) - older
        # one Run before all others would part them by chance as often as the newest does, and is less of a question
        places = {*(at - older for at in starts), *range(2, n - 1), n - 1}
        shifts = [_shift(self, points, at) for at in sorted(places) if at > 0]
        apart = [shift for shift in shifts if shift.apart]
        return max(apart, key=lambda shift: abs(math.log(shift.ratio)), default=shifts[-1] if shifts else None)

    @property
    def _comparable(self) -> tuple[list[SeriesPoint], list[int]]:
        """The newest valid points that no other probe version parts, and where among them the environment changed."""
        last = max((at for at, segment in enumerate(self.segments) if not segment.joined), default=0)
        parts = self.segments[last:]
        points = [point for segment in parts for point in segment.valid]
        return points, [at for at in accumulate(segment.n for segment in parts) if 0 < at < len(points)]


@dataclass(frozen=True)
class Shift:
    """The newest valid Runs of a series beside the earlier ones. It is no move: so few may scatter as much.

    ratio: of their medians. newest, earlier: how many. apart: no interval of one side reaches into the other's.
    low, high: what the earlier Runs' intervals cover. changes: of the environment, where they are what parts the sides.
    """

    series: Series
    ratio: float
    newest: int
    earlier: int
    low: float
    high: float
    apart: bool
    changes: tuple[Change, ...]

    @property
    def visible(self) -> bool:
        """Worth a sentence: large enough, and more than the newest Runs' own intervals."""
        return self.apart and abs(self.ratio - 1) >= WORTH


def _shift(series: Series, points: Sequence[SeriesPoint], at: int) -> Shift:
    left, right = points[:at], points[at:]
    low, high = min(point.value.low for point in left), max(point.value.high for point in left)
    apart = max(point.value.high for point in right) < low or high < min(point.value.low for point in right)
    began = (segment for segment in series.segments[1:] if segment.valid and segment.valid[0] is right[0])
    changes = next((segment.changes for segment in began), ())
    ratio = median(_values(right)) / median(_values(left))
    return Shift(series, ratio, len(right), len(left), low, high, apart, changes)


@dataclass(frozen=True)
class Move:
    """A level of a series after over before, with its interval. kind: "change" (of the environment), "step" or "drift".

    since: the last Run before, until: the first after; a drift's ends. verdict: "moved", "still", or "unknown" where
    there are too few valid Runs on a side. The ratio of an unknown one is nan.
    """

    series: Series
    kind: str
    verdict: str
    since: float
    until: float
    changes: tuple[Change, ...]
    ratio: float
    low: float
    high: float
    before: int
    after: int


def moves(series: Series, questions: int) -> Iterator[Move]:
    """Every change of the environment that may be judged, every drift and step that was found."""
    for before, after in pairwise(series.segments):
        if after.joined:
            yield _across(series, before, after, questions)
    for segment in series.segments:
        if segment.n >= SEARCHED and (move := _within(series, segment, questions)).verdict == "moved":
            yield move


def _across(series: Series, before: Segment, after: Segment, questions: int) -> Move:
    """The step where the environment changed, by the Runs nearest to it."""
    left, right = before.valid[-WINDOW:], after.valid[:WINDOW]
    ends = before.points[-1].at, after.points[0].at
    counts = len(left), len(right)
    if min(counts) < FEW:
        return Move(series, "change", "unknown", *ends, after.changes, *[math.nan] * 3, *counts)
    logs = np.log(_values((*left, *right)))
    columns = [np.arange(len(logs)) >= len(left)]
    if min(counts) >= ENOUGH:
        columns.append(_times((*left, *right)))
    return _judged(series, "change", ends, after.changes, _effect(columns, logs, questions), counts)


def _within(series: Series, segment: Segment, questions: int) -> Move:
    """A drift or a step while nothing recorded changed, whichever explains the segment better."""
    points = segment.valid
    logs, n, x = np.log(_values(points)), len(points), _times(points)
    slope = np.column_stack([np.ones(n), x])
    around_drift = float(np.sum((logs - slope @ np.linalg.lstsq(slope, logs, rcond=None)[0]) ** 2))
    # sums of squares around two levels for every place of the step at once
    total, squares = np.cumsum(logs), float(np.sum(logs**2))
    k = np.arange(FEW, n - FEW + 1)
    around_steps = squares - total[k - 1] ** 2 / k - (total[-1] - total[k - 1]) ** 2 / (n - k)
    if around_drift <= float(around_steps.min()):
        ends = points[0].at, points[-1].at
        return _judged(series, "drift", ends, (), _effect([x], logs, questions), (n, n))
    at = int(k[np.argmin(around_steps)])
    # the place was searched for: as many more questions as there are places
    effect = _effect([np.arange(n) >= at], logs, questions * len(k))
    return _judged(series, "step", (points[at - 1].at, points[at].at), (), effect, (at, n - at))


def _times(points: Sequence[SeriesPoint]) -> np.ndarray:
    """From 0 to 1 over the points."""
    at = np.array([point.at for point in points])
    return (at - at[0]) / max(at[-1] - at[0], 1.0)


def _effect(columns: Sequence[np.ndarray], logs: np.ndarray, questions: int) -> tuple[float, float]:
    """The first column's coefficient by least squares beside a level, and half its interval's width at 5 % over all
    questions.
    """
    design = np.column_stack([np.ones(len(logs)), *columns]).astype(float)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        design = design[:, :2]
    if np.linalg.matrix_rank(design) < 2:
        return 0.0, math.inf
    fitted = np.linalg.lstsq(design, logs, rcond=None)[0]
    rest = logs - design @ fitted
    freedom = len(logs) - design.shape[1]
    scatter = float(rest @ rest)
    follow = max(0.0, float(rest[1:] @ rest[:-1]) / scatter) if scatter > 1e-24 else 0.0
    widened = (1 + follow) / (1 - min(follow, 0.98))
    error = np.sqrt(scatter / freedom * widened * np.linalg.inv(design.T @ design)[1, 1])
    return float(fitted[1]), float(stdtrit(max(freedom / widened, 1.0), 1 - 0.025 / questions) * error)


def _judged(series, kind, ends, changes, estimate: tuple[float, float], counts: tuple[int, int]) -> Move:
    effect, half = estimate
    with np.errstate(over="ignore"):
        ratio, low, high = (float(np.exp(value)) for value in (effect, effect - half, effect + half))
    moved = abs(ratio - 1) >= WORTH and not low <= 1 <= high
    return Move(series, kind, "moved" if moved else "still", *ends, changes, ratio, low, high, *counts)
