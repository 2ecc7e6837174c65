"""What a figure of a history shows: ten thousand Runs as a few hundred points that hide nothing (neighbours with their
median and whole reach), how far its axis reaches, and where the environment changed.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from bench.analysis.change_points import ChangePoint
from bench.analysis.run_entry import Change
from bench.analysis.series import Segment, Series, SeriesPoint

# Markers in a figure, over all its lines; beyond, a line's points are drawn in groups.
MOST = 700
# Invalid points in a figure: the newest.
_MOST_INVALID = 200
# Of the points' own range: how far an interval may widen the axis, and the margin. Of the value: the least axis.
_WIDENS, _MARGIN, _LEAST = 0.25, 0.08, 0.002


class PointGroup(NamedTuple):
    """Neighbouring usable Runs of one segment, as one point."""

    points: tuple[SeriesPoint, ...]
    at: float
    value: float
    low: float
    high: float
    validity: str


def _group(points: Sequence[SeriesPoint]) -> PointGroup:
    chosen = [point for point in points if point.valid] or points
    low, high = min(point.value.low for point in points), max(point.value.high for point in points)
    value = median(point.value.value for point in chosen)
    return PointGroup(tuple(points), points[len(points) // 2].at, value, low, high, chosen[0].value.validity)


def stretches(each: Series, step: int) -> Iterator[list[PointGroup]]:
    """What may be joined, `step` Runs to a group: usable points, broken where a probe changed and, of single Runs,
    where one was invalid.
    """
    stretch: list[PointGroup] = []
    for segment in each.segments:
        if not segment.joined and stretch:
            yield stretch
            stretch = []
        part: list[SeriesPoint] = []
        for point in segment.points:
            if point.value.validity != "invalid":
                part.append(point)
            elif step == 1:
                stretch += [_group([one]) for one in part]
                if stretch:
                    yield stretch
                stretch, part = [], []
        stretch += [_group(part[i : i + step]) for i in range(0, len(part), step)]
    if stretch:
        yield stretch


def joined(each: Series, lines: Sequence[Series]) -> int:
    """How many Runs a drawn point of a line stands for."""
    return math.ceil(len(each.points) / max(40, MOST // len(lines)))


class Crossed(NamedTuple):
    """An invalid point: where it is drawn, and beyond which edge of the axis its value lies: "up", "down" or ""."""

    point: SeriesPoint
    device: str
    place: float
    beyond: str


def crossed(lines: Sequence[Series], low: float, high: float) -> list[Crossed]:
    """In order of time; what lies beyond the axis is drawn at its edge."""
    invalid = [(point, each.device) for each in lines for point in each.points if point.value.validity == "invalid"]
    inset, found = 0.02 * (high - low), []
    for point, device in sorted(invalid, key=lambda each: each[0].at)[-_MOST_INVALID:]:
        value = point.value.value
        beyond = "down" if value < low else "up" if value > high else ""
        found.append(Crossed(point, device, min(max(value, low + inset), high - inset), beyond))
    return found


def period(lines: Sequence[Series]) -> tuple[float, float]:
    """Of the time axis, with room at both ends."""
    first, last = min(each.points[0].at for each in lines), max(each.newest.at for each in lines)
    # a lone Run has no range of its own
    room = 0.03 * (last - first) or 1800.0
    return first - room, last + room


def reach(lines: Sequence[Series]) -> tuple[float, float]:
    """Of the value axis: every usable point within, and most of it theirs; an interval beyond is cut at the edge."""
    values = [point.value for each in lines for point in each.points]
    seen = [value for value in values if value.validity != "invalid"] or values
    low, high = min(value.value for value in seen), max(value.value for value in seen)
    # Runs that agree to the last digits would make noise fill the figure
    span = max(high - low, _LEAST * high)
    # an undisturbed interval says something; a suspect one may be as wide as the value
    ends = [end for value in seen if value.validity == "valid" for end in (value.low, value.high)]
    least = max(min([low, *ends]), low - _WIDENS * span)
    most = min(max([high, *ends]), high + _WIDENS * span)
    pad = max(_MARGIN * span, (span - (most - least)) / 2)
    return least - pad, most + pad


@dataclass(frozen=True)
class ChangeLine:
    """A change of the environment at one time: on which devices, whether all of them go on, and the value after it."""

    at: float
    changes: tuple[Change, ...]
    devices: tuple[str, ...]
    joined: bool
    after: float


def change_lines(lines: Sequence[Series]) -> list[ChangeLine]:
    """In order of time."""
    places: dict[tuple[float, tuple[Change, ...]], list[tuple[Segment, str]]] = defaultdict(list)
    for each in lines:
        for segment in each.segments[1:]:
            places[segment.points[0].at, segment.changes].append((segment, each.device))
    found = []
    for (at, changes), those in sorted(places.items(), key=lambda each: each[0][0]):
        whole, after = all(segment.joined for segment, _ in those), median(s.points[0].value.value for s, _ in those)
        found.append(ChangeLine(at, changes, tuple(sorted({device for _, device in those})), whole, after))
    return found


def ticks(low: float, high: float) -> tuple[list[float], int]:
    """About five round values, and as many again beyond either end, for who pans; how many digits tell them apart."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    values = [k * step for k in range(math.ceil((2 * low - high) / step), math.floor((2 * high - low) / step) + 1)]
    digits = max(2, 1 + math.floor(math.log10(high)) - math.floor(math.log10(step) + 1e-9))
    return [value for value in values if value > 0], digits


def halfway(mark: ChangePoint) -> float:
    """Between the two values of its step."""
    values = {point.at: point.value.value for point in reversed(mark.series.points)}
    return (values[mark.since] + values[mark.at]) / 2
