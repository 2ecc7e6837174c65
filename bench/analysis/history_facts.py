"""What a history has to tell: moves that are one event together, changes that moved nothing, where a number stands; and
all of it as rows of values in base units, for tables, for a CSV file, for JSON.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import msgspec

from bench.analysis.change_points import LEAST, MOST_P, ChangePoint, ChangePoints
from bench.analysis.history import History
from bench.analysis.run_entry import Change, RunEntry
from bench.analysis.series import FEW, SEARCHED, Headlines, Move, Series, Shift

METHOD = "E-divisive (Matteson & James 2014) by apache-otava: information, not the gate"
# How the newest segment's level stands to the one before; else its move's verdict, "moved", "still" or "unknown".
FIRST, NOT_COMPARED = "first", "not compared"
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
        if move.changes:
            verdicts[move.changes].add(move.verdict)
    quiet = [changes for changes, seen in verdicts.items() if seen == {"still"}]
    return quiet, [changes for changes, seen in verdicts.items() if "unknown" in seen and "moved" not in seen]


def regimes(lines: Iterable[Series]) -> Mapping[str, list[Series]]:
    found: dict[str, list[Series]] = defaultdict(list)
    for each in lines:
        found[each.regime].append(each)
    return found


@dataclass(frozen=True)
class NewestLevel:
    """The newest segments of a number in one regime: a line's valid values, or of several lines each one's median."""

    values: tuple[float, ...]
    lines: tuple[Series, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def n(self) -> int:
        return sum(each.segments[-1].n for each in self.lines)


def levels(lines: Iterable[Series]) -> dict[str, NewestLevel]:
    """By regime; without values where no newest segment has a valid one."""
    found = {}
    for regime, mine in regimes(lines).items():
        last = [each for each in mine if each.segments[-1].n]
        values = [each.segments[-1].median for each in last]
        if len(last) == 1:
            values = [point.value.value for point in last[0].segments[-1].valid]
        found[regime] = NewestLevel(tuple(values), tuple(last))
    return found


def stayed(found: History, lines: Sequence[Series]) -> bool:
    """Whether some of them were judged, and did not move where they were."""
    still = any(move.verdict == "still" for move in of(lines, found.moves))
    return still or any(each.segments[-1].n >= SEARCHED for each in lines)


def of(lines: Sequence[Series], found: Iterable[Any]) -> list[Any]:
    """Moves, shifts or change points of these."""
    return [each for each in found if any(each.series is line for line in lines)]


def largest(points: Iterable[ChangePoint]) -> ChangePoint:
    """Of a ridge only where there is no roof: it says no more than its roofs."""
    return max(points, key=lambda point: (not point.series.is_ridge, abs(point.ratio - 1)))


def usable(run: RunEntry[Headlines]) -> tuple[bool, str]:
    """Whether any value of a Run counts, and why the first one does not that does not."""
    values = [value for device in run.devices for value in device.values]
    why = next((value.doubt for value in values if value.validity == "invalid" and value.doubt), "")
    return any(value.validity != "invalid" for value in values), why


def state(run: RunEntry[Headlines]) -> str:
    """How far a Run may be believed, in a word: "valid", "suspect", "invalid", "incomplete" or "empty"."""
    if not usable(run)[0]:
        return "invalid" if run.counts.get("invalid") else "empty"
    if not run.complete:
        return "incomplete"
    validities = {value.validity for device in run.devices for value in device.values}
    return next((word for word in ("invalid", "suspect") if word in validities), "valid")


# --- rows


def which(series: Series) -> dict[str, Any]:
    return {"key": series.key, "regime": series.regime, "budget": series.budget, "device": series.device}


def standing(history: History) -> Iterator[dict[str, Any]]:
    """The newest value of every series beside its segment, and by how much that differs from the segment before."""
    across = {id(move.series): move for move in history.moves if move.kind == "change"}
    for each in sorted(history.series, key=lambda each: history.keys.index(each.key)):
        segment, move = each.segments[-1], across.get(id(each))
        against = move.verdict if segment.joined and move else NOT_COMPARED
        row = which(each) | vars(each.newest.value) | {"median": segment.median, "runs": segment.n}
        row |= {"deviation": segment.deviation if segment.n >= FEW else None}
        row |= {"since": segment.points[0].at, "changes": segment.changes}
        row |= {"against": against if len(each.segments) > 1 else FIRST}
        yield row | {"ratio": move.ratio if move and against == "moved" else None}


def judged(history: History, changes: ChangePoints | None) -> list[dict[str, Any]]:
    """Every change that was judged, every step and drift that was found, and the change points; the newest first."""
    rows = [which(move.series) | vars(move) for move in history.moves]
    for point in changes.points if changes else ():
        found = {"kind": "step by E-divisive", "verdict": "", "until": point.at, "trusted": point.trusted}
        rows.append(which(point.series) | vars(point) | found)
    return sorted(rows, key=lambda row: -row["until"])


def flat(history: History, most: int) -> list[dict[str, Any]]:
    """A row per Run and device with every number, its interval and validity; the newest `most` in order of time."""
    runs = [(file, run, device) for file, run in history.runs for device in run.devices]
    rows = []
    for file, run, device in runs[-most:]:
        odd = [f"{run.counts[kind]} {kind}" for kind in ("suspect", "invalid") if run.counts.get(kind)]
        row: dict[str, Any] = {"file": file, "run_id": run.run_id, "started": run.started, "host": run.host}
        row |= {"device": device.id, "name": history.devices[device.key], "uuid": device.uuid, "budget": run.budget}
        row |= {"status": run.status, "state": state(run), "doubts": "; ".join((*odd, *run.warnings))}
        row |= device.factors
        for value in device.values:
            name = f"{value.key} {value.regime}"
            parts = {"": value.value, " low": value.low, " high": value.high}
            # seven digits, for the file travels inside the page
            row |= {f"{name}{part}": float(f"{number:.7g}") for part, number in parts.items()}
            row |= {f"{name} n": value.n, f"{name} validity": value.validity}
        rows.append(row)
    return rows


def to_json(history: History, changes: ChangePoints | None = None) -> dict[str, Any]:
    """Everything as plain values."""
    names = ("product", "simulated", "left_out", "warnings")
    told = {name: getattr(history, name) for name in names} | {"runs": len(history.runs)}
    told |= {"series": [_series(each) for each in history.series], "moves": [_sides(each) for each in history.moves]}
    told |= {"shifts": [_sides(each) for each in history.shifts], "change_points": None}
    if changes:
        left_out = [which(series) | {"why": why} for series, why in changes.left_out]
        points = [_sides(each) | {"until": each.at, "trusted": each.trusted} for each in changes.points]
        method = {"method": METHOD, "most_p": MOST_P, "least": LEAST, "judged": changes.judged}
        told["change_points"] = method | {"left_out": left_out, "points": points}
    return msgspec.to_builtins(told, enc_hook=str)


def _sides(record: Move | Shift | ChangePoint) -> dict[str, Any]:
    """Its series by what tells it from others, and "runs", valid Runs before and after; what is not known is null."""
    fields = {name: value if value == value else None for name, value in vars(record).items() if name != "series"}
    sides = (record.earlier, record.newest) if isinstance(record, Shift) else (record.before, record.after)
    return which(record.series) | fields | {"runs": [*sides]}


def _series(each: Series) -> dict[str, Any]:
    segments = [
        {"since": s.points[0].run.started, "changes": s.changes, "joined": s.joined}
        | {"median": s.median, "deviation": s.deviation, "n": s.n}
        for s in each.segments
    ]
    names = ("value", "low", "high", "n", "validity", "doubt")
    points = [
        {"file": p.file, "started": p.run.started} | {name: getattr(p.value, name) for name in names}
        for p in each.points
    ]
    return which(each) | {"known": each.known, "segments": segments, "points": points}
