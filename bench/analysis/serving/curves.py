"""Measured curves that the planner reads: seconds over size, kept as utilisation where tiles make the time jump.

A utilisation is roof time over measured time, so it holds whatever a launch costs beyond its work: no start-up is added
to it again. Between two measured points it is interpolated over the logarithm of the size, outside it stays constant.
Two-dimensional curves interpolate along both axes.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# A point that beats its roof by more is a warm cache or a wrong count, and is not used.
BEATS = 1.03


@dataclass(frozen=True)
class Curve:
    """y over log x, constant beyond its ends. held: y is a utilisation of work that grows with x, and below the first x
    it is the time that stays: what a launch costs to start does not shrink with its work.
    """

    xs: tuple[float, ...]
    ys: tuple[float, ...]
    held: bool = False

    def __call__(self, x: float) -> float:
        at = math.log(x)
        if at <= self.xs[0]:
            return self.ys[0] * (math.exp(at - self.xs[0]) if self.held else 1.0)
        if at >= self.xs[-1]:
            return self.ys[-1]
        above = bisect_right(self.xs, at)
        x0, x1, y0, y1 = self.xs[above - 1], self.xs[above], self.ys[above - 1], self.ys[above]
        return y0 + (y1 - y0) * (at - x0) / (x1 - x0)


def curve(points: Iterable[tuple[float, float]], held: bool = False) -> Curve:
    """Through (x, y) in any order; the mean of equal x."""
    grouped = defaultdict(list)
    for x, y in points:
        grouped[x].append(y)
    found = sorted((math.log(x), sum(ys) / len(ys)) for x, ys in grouped.items())
    return Curve(tuple(x for x, _ in found), tuple(y for _, y in found), held)


@dataclass(frozen=True)
class Surface:
    """Held curves over y at several x, interpolated between the two nearest in log x. Work grows with x times y: below
    the first x it is as efficient as there with as much work.
    """

    xs: tuple[float, ...]
    curves: tuple[Curve, ...]

    def __call__(self, x: float, y: float) -> float:
        at = math.log(x)
        if at <= self.xs[0]:
            return self.curves[0](y * math.exp(at - self.xs[0]))
        if at >= self.xs[-1]:
            return self.curves[-1](y)
        above = bisect_right(self.xs, at)
        share = (at - self.xs[above - 1]) / (self.xs[above] - self.xs[above - 1])
        return (1 - share) * self.curves[above - 1](y) + share * self.curves[above](y)


def surface(points: Iterable[tuple[float, float, float]]) -> Surface:
    """Through (x, y, z)."""
    grouped = defaultdict(list)
    for x, y, z in points:
        grouped[x].append((y, z))
    rows = sorted(grouped.items())
    return Surface(tuple(math.log(x) for x, _ in rows), tuple(curve(row, held=True) for _, row in rows))


@dataclass(frozen=True)
class Messages:
    """Seconds of a collective over its bytes, among `ranks`: log-log between sizes, constant time below the smallest,
    constant bus bandwidth above the largest. mode: how it was launched.
    """

    ranks: int
    times: Curve
    largest: float
    mode: str = "graph"
    algorithm: str = ""

    @property
    def xs(self) -> tuple[float, ...]:
        return self.times.xs

    def __call__(self, size: float) -> float:
        return math.exp(self.times(max(size, 1.0))) * max(1.0, size / self.largest)


def messages(ranks: int, points: Iterable[tuple[float, float]], mode: str = "graph", algorithm: str = "") -> Messages:
    """Through (bytes, seconds)."""
    points = list(points)
    times = curve((size, math.log(seconds)) for size, seconds in points)
    return Messages(ranks, times, float(max(size for size, _ in points)), mode, algorithm)


@dataclass(frozen=True)
class Family:
    """Curves of one kind of kernel by shape; the nearest measured shape stands in for one that was not measured.

    by: shape (numbers, compared by the distance of their logarithms) -> curve of utilisation.
    """

    by: Mapping[tuple[float, ...], Any] = field(hash=False)

    def __post_init__(self):
        object.__setattr__(self, "_near", {})

    def nearest(self, shape: tuple[float, ...]) -> tuple[Any, tuple[float, ...]]:
        """(curve, the shape it was measured at)."""
        if shape not in self._near:
            self._near[shape] = min(self.by, key=lambda known: _distance(known, shape))
        return self.by[self._near[shape]], self._near[shape]


def family(points: Iterable[tuple[tuple[float, ...], tuple]], make: Callable[[list], Any]) -> Family:
    """From (shape, point), at least one: each shape's points made into a curve."""
    grouped = defaultdict(list)
    for shape, point in points:
        grouped[shape].append(point)
    return Family({shape: make(group) for shape, group in grouped.items()})


def reaching(found: Family) -> Family:
    """The same curves, each continued by those of the nearest shapes where they were measured further.

    A shape of which only a few small sizes were measured would else keep the utilisation of the last one for ever.
    """
    by = {}
    for shape, line in found.by.items():
        for other in sorted(found.by, key=lambda known: _distance(known, shape))[1:]:
            line = _continued(line, found.by[other])
        by[shape] = line
    return Family(by)


def _continued(line: Curve, other: Curve) -> Curve:
    points = list(zip(other.xs, other.ys, strict=True))
    before = [point for point in points if point[0] < line.xs[0]]
    after = [point for point in points if point[0] > line.xs[-1]]
    joined = [*before, *zip(line.xs, line.ys, strict=True), *after]
    return Curve(tuple(x for x, _ in joined), tuple(y for _, y in joined))


def length(queries: float, keys: float) -> float:
    """Tokens of the causal prompt without a prefix that has as many (query, key) pairs as so many last queries."""
    pairs = queries * max(0.0, keys - queries) + queries * (queries + 1) / 2
    return (math.sqrt(1 + 8 * pairs) - 1) / 2


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum(abs(math.log(a / b)) for a, b in zip(one, other, strict=True))
