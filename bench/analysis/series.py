"""A headline number of one device over time: its Runs in segments of one environment, and what is visible in them.

Only valid values enter medians, bands and shifts. How far a level moved, with its interval, is bench.analysis.moves'.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from statistics import median

from bench.analysis.entries import DeviceEntry, RunEntry, Value
from bench.stats import mad

# A level that moved by less is not worth a sentence, however sure.
WORTH = 0.005
# Valid Runs on each side of a change; with fewer nothing is said. From ENOUGH on the two sides share a slope.
FEW, ENOUGH, WINDOW = 3, 8, 50
# Valid Runs in a segment before it is searched for a drift or a step of its own.
SEARCHED = 10


@dataclass(frozen=True)
class Point:
    """One value in time, with the Run and the device that it is of."""

    file: str
    run: RunEntry
    device: DeviceEntry
    value: Value

    @property
    def at(self) -> float:
        return self.run.at

    @property
    def valid(self) -> bool:
        return self.value.validity == "valid"


@dataclass(frozen=True)
class Change:
    """Something of the environment that is not what it was in the Run before; "unknown" where a Run did not say."""

    factor: str
    before: str
    after: str


@dataclass(frozen=True)
class Segment:
    """Runs in an unchanged environment. changes: what began it. joined: whether it may be compared with the one before.

    median, deviation (twice the scaled MAD, as a share of the median) and n are of the valid values; median is None
    without one, deviation below three.
    """

    points: tuple[Point, ...]
    changes: tuple[Change, ...]
    joined: bool

    @cached_property
    def valid(self) -> tuple[Point, ...]:
        return tuple(point for point in self.points if point.valid)

    @property
    def n(self) -> int:
        return len(self.valid)

    @cached_property
    def median(self) -> float | None:
        return median(point.value.value for point in self.valid) if self.valid else None

    @cached_property
    def deviation(self) -> float | None:
        return 2 * mad([point.value.value for point in self.valid]) / self.median if self.n >= FEW else None


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
    def points(self) -> tuple[Point, ...]:
        return tuple(point for segment in self.segments for point in segment.points)

    @property
    def newest(self) -> Point:
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
        last, valid = self.segments[-1], self.segments[-1].valid
        if last.n < ENOUGH or not self.newest.valid:
            return None
        ratio = valid[-1].value.value / last.median
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
        found = [_shift(self, points, at) for at in sorted(places) if at > 0]
        apart = [each for each in found if each.apart]
        return max(apart, key=lambda each: abs(math.log(each.ratio)), default=found[-1] if found else None)

    @property
    def _comparable(self) -> tuple[list[Point], list[int]]:
        """The newest valid points that no other probe version parts, and where among them the environment changed."""
        parts: list[Segment] = []
        for segment in reversed(self.segments):
            parts.insert(0, segment)
            if not segment.joined:
                break
        points = [point for segment in parts for point in segment.valid]
        ends = accumulate(segment.n for segment in parts)
        return points, [at for at in ends if 0 < at < len(points)]


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


def _shift(series: Series, points: Sequence[Point], at: int) -> Shift:
    left, right = points[:at], points[at:]
    (low, high), (least, most) = (
        (min(point.value.low for point in side), max(point.value.high for point in side)) for side in (left, right)
    )
    middles = [median(point.value.value for point in side) for side in (left, right)]
    began = (segment for segment in series.segments[1:] if segment.valid and segment.valid[0] is right[0])
    changes = next((segment.changes for segment in began), ())
    apart = most < low or high < least
    return Shift(series, middles[1] / middles[0], len(right), len(left), low, high, apart, changes)
