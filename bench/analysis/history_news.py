"""What a history has to tell: moves that are one event together, changes that moved nothing, where a number stands."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.analysis.changes import ChangePoint
from bench.analysis.entries import RunEntry
from bench.analysis.history import History
from bench.analysis.moves import Move
from bench.analysis.series import SEARCHED, Change, Series, Shift

_DAY = 86_400


@dataclass(frozen=True)
class Event:
    """One number that moved for one cause, on one device or on several, in the regime that moved most.

    largest: the move, or what is visible though not judged. ratio, low, high: its own, or the median and range.
    """

    largest: Move | Shift
    series: tuple[Series, ...]
    ratio: float
    low: float
    high: float


def moved(moves: Iterable[Move]) -> list[Move]:
    """The largest first, ridges last: they say no more than their roofs."""
    found = [move for move in moves if move.verdict == "moved"]
    return sorted(found, key=lambda move: (move.series.is_ridge, -abs(math.log(move.ratio))))


def events(moves: Iterable[Move], shifts: Iterable[Shift]) -> list[Event]:
    groups: dict[tuple, list[Move | Shift]] = defaultdict(list)
    for move in moved(moves):
        day = None if move.kind == "change" else move.until // _DAY
        groups[move.kind, move.changes, move.series.key, day, move.ratio < 1].append(move)
    for shift in shifts:
        groups[shift.newest, shift.changes, shift.series.key, shift.ratio < 1].append(shift)
    return [_event(group) for group in groups.values()]


def _event(group: Sequence[Move | Shift]) -> Event:
    first = group[0]
    alike = [each for each in group if each.series.regime == first.series.regime]
    series, ratios = tuple(each.series for each in alike), sorted(each.ratio for each in alike)
    if isinstance(first, Shift) or len({each.device for each in series}) == 1:
        return Event(first, series, first.ratio, first.low, first.high)
    return Event(first, series, median(ratios), ratios[0], ratios[-1])


def unmoved(moves: Iterable[Move]) -> tuple[list[tuple[Change, ...]], list[tuple[Change, ...]]]:
    """Changes of the environment with which nothing moved, and those of which too little is known."""
    verdicts: dict[tuple[Change, ...], set[str]] = defaultdict(set)
    for move in moves:
        verdicts[move.changes] |= {move.verdict} if move.changes else set()
    quiet = [changes for changes, seen in verdicts.items() if seen == {"still"}]
    return quiet, [changes for changes, seen in verdicts.items() if "unknown" in seen and "moved" not in seen]


def regimes(lines: Iterable[Series]) -> Mapping[str, list[Series]]:
    found: dict[str, list[Series]] = {}
    for each in lines:
        found.setdefault(each.regime, []).append(each)
    return found


@dataclass(frozen=True)
class Level:
    """The newest segments of a number in one regime: a line's valid values, or of several lines each one's median."""

    values: tuple[float, ...]
    lines: tuple[Series, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def n(self) -> int:
        return sum(each.segments[-1].n for each in self.lines)


def levels(lines: Iterable[Series]) -> dict[str, Level]:
    """By regime; without values where no newest segment has a valid one."""
    found = {}
    for regime, mine in regimes(lines).items():
        last = [each for each in mine if each.segments[-1].n]
        values = [each.segments[-1].median for each in last]
        if len(last) == 1:
            values = [point.value.value for point in last[0].segments[-1].valid]
        found[regime] = Level(tuple(values), tuple(last))
    return found


def stayed(found: History, lines: Sequence[Series]) -> bool:
    """Whether some of them were judged, and did not move where they were."""
    still = any(move.verdict == "still" for move in found.moves if any(move.series is each for each in lines))
    return still or any(each.segments[-1].n >= SEARCHED for each in lines)


def of(lines: Sequence[Series], found: Iterable[Any]) -> list[Any]:
    """Moves, shifts or change points of these."""
    return [each for each in found if any(each.series is line for line in lines)]


def largest(points: Iterable[ChangePoint]) -> ChangePoint:
    """Of a ridge only where there is no roof: it says no more than its roofs."""
    return max(points, key=lambda point: (not point.series.is_ridge, abs(point.ratio - 1)))


def usable(run: RunEntry) -> tuple[bool, str]:
    """Whether any value of a Run counts, and why the first one does not that does not."""
    values = [value for device in run.devices for value in device.values]
    why = next((value.doubt for value in values if value.validity == "invalid" and value.doubt), "")
    return any(value.validity != "invalid" for value in values), why
