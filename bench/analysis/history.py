"""The Runs of one product over time: each headline number of each device, where its environment changed, what moved.

The unit is the Run. Only valid values enter medians, bands and moves; values of other probe versions, other budgets or
other devices are never joined. What would make a move wrong: Runs that do not scatter independently (intervals are
widened by the neighbours' correlation, a crude remedy), a drift that passes for a step (both sides share a slope where
there are Runs enough), several things that changed at once (which of them did it no data can tell), and many questions
asked of the same Runs (each interval holds against all of them together, Bonferroni).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median

import numpy as np
from scipy.special import stdtrit

from bench import names
from bench.analysis.cache import Kind, readings
from bench.analysis.entries import VERSION, DeviceEntry, RunEntry, Value, entry
from bench.stats import mad
from bench.store import RunError

REMEMBERED = Kind("history", VERSION, RunEntry, entry)
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


@dataclass(frozen=True)
class History:
    """A product's Runs in order of time. left_out: file -> why. fitted: files that no cache knew."""

    product: str
    name: str
    simulated: bool
    runs: tuple[tuple[str, RunEntry], ...]
    devices: Mapping[str, str]
    series: tuple[Series, ...]
    left_out: Mapping[str, str]
    warnings: tuple[str, ...]
    fitted: int

    @cached_property
    def keys(self) -> list[str]:
        """Of every number, in the order in which they first appear."""
        return list(dict.fromkeys(each.key for each in self.series))

    @cached_property
    def moves(self) -> tuple[Move, ...]:
        questions = sum(2 * len(each.segments) for each in self.series) or 1
        return tuple(move for each in self.series if each.known for move in _moves(each, questions))

    @cached_property
    def moved(self) -> set[tuple[str, str, str]]:
        """The numbers of which some Move says so."""
        return {move.series.number for move in self.moves if move.verdict == "moved"}

    @cached_property
    def own_moves(self) -> tuple[Move, ...]:
        """Without ridges whose roofs moved as well: theirs says no more."""
        roofs = {_place(move) for move in self.moves if move.verdict == "moved" and not move.series.is_ridge}
        return tuple(move for move in self.moves if not (move.series.is_ridge and _place(move) in roofs))

    @cached_property
    def searched(self) -> int:
        """Stretches of Runs in which a drift or a step would have been found."""
        return sum(segment.n >= SEARCHED for each in self.series if each.known for segment in each.segments)

    @cached_property
    def shifts(self) -> tuple[Shift, ...]:
        """What is visible where nothing moved for sure, the largest first; ridges only where no roof did."""
        quiet = [each for each in self.series if each.outlier is None and each.number not in self.moved]
        found = [each.shift for each in quiet if each.shift and each.shift.visible]
        roofs = {each.series.device for each in found if not each.series.is_ridge}
        found = [each for each in found if not (each.series.is_ridge and each.series.device in roofs)]
        return tuple(sorted(found, key=lambda each: -abs(math.log(each.ratio))))

    @cached_property
    def outliers(self) -> tuple[Series, ...]:
        """Series whose newest value lies outside its band, the farthest first; ridges only where no roof does."""
        found = [each for each in self.series if each.outlier is not None]
        roofs = {each.device for each in found if not each.is_ridge}
        found = [each for each in found if not (each.is_ridge and each.device in roofs)]
        return tuple(sorted(found, key=lambda each: -abs(each.outlier)))


def _place(move: Move) -> tuple:
    return move.series.device, move.kind, move.changes


def history(folder: Path | str, listen: Callable[[int, int], None] = lambda done, total: None) -> History:
    """The Runs in a folder, results/PRODUCT; listen(done, total) hears of those that must be fitted.

    Raises RunError for a folder without Runs, one of several products, or one that mixes simulated and measured Runs.
    """
    folder = Path(folder)
    reading = readings(folder, REMEMBERED, listen)
    entries, left_out = dict(reading.entries), dict(reading.damaged)
    if not entries:
        raise RunError(_nothing(folder, left_out))
    simulated = sum(run.simulated for run in entries.values())
    if 0 < simulated < len(entries):
        raise RunError(
            f"{folder} mixes {simulated} simulated and {len(entries) - simulated} measured Runs; a trend of both would"
            " pass plumbing for measurement. Move one kind into a folder of its own."
        )
    product = _product(folder, entries)
    for file, run in entries.items():
        if run.product != product:
            left_out[file] = f"it is a Run of another product, {run.product}"
    left_out |= _copies(entries)
    runs = sorted(
        ((file, run) for file, run in entries.items() if file not in left_out), key=lambda each: (each[1].at, each[0])
    )
    devices = _devices(runs)
    newest = next((device for _, run in reversed(runs) for device in run.devices), None)
    return History(
        product,
        newest.name if newest else product,
        bool(simulated),
        tuple(runs),
        devices,
        tuple(_series(runs, devices)),
        left_out,
        reading.warnings,
        reading.fitted,
    )


def _nothing(folder: Path, damaged: Mapping[str, str]) -> str:
    if damaged:
        file, reason = next(iter(damaged.items()))
        return f"none of the {len(damaged)} Run files in {folder} can be read; {file}: {reason}"
    inside = sorted(f"{path.parent}" for path in {p.parent: p for p in folder.glob("*/*.jsonl")}.values())
    hint = f": give the folder of one product, {' or '.join(inside[:3])}" if inside else ""
    return f"no Runs (*.jsonl) in {folder}{hint or '. Measure first: python -m bench all'}"


def _product(folder: Path, entries: Mapping[str, RunEntry]) -> str:
    counts = Counter(run.product for run in entries.values())
    named = folder.resolve().name
    if named in counts or len(counts) == 1:
        return named if named in counts else next(iter(counts))
    found = ", ".join(f"{count} of {product}" for product, count in counts.most_common(4))
    raise RunError(f"{folder} holds Runs of {len(counts)} products ({found}): give a folder that holds one")


def _copies(entries: Mapping[str, RunEntry]) -> dict[str, str]:
    """Copies of a Run count once: the longest one."""
    kept: dict[str, str] = {}
    copies = {}
    for file, run in sorted(entries.items(), key=lambda each: -each[1].measurements):
        if run.run_id in kept:
            copies[file] = f"it is a copy of {kept[run.run_id]}"
        kept.setdefault(run.run_id, file)
    return copies


def identity(run: RunEntry, device: DeviceEntry) -> str:
    """What is one device over many Runs: its UUID, else its place on its host."""
    if run.redacted:  # hashes differ from Run to Run
        return f"redacted {device.id}"
    return device.uuid or f"{run.host} {device.id}"


def _devices(runs: Sequence[tuple[str, RunEntry]]) -> dict[str, str]:
    """Identity -> a name as short as tells them apart."""
    last = {identity(run, device): (run, device) for _, run in runs for device in run.devices}
    labels = {}
    for key, (run, device) in last.items():
        place = names.device(device.id)
        if run.redacted:
            labels[key] = (f"redacted {place}",) * 3
        else:
            labels[key] = place, f"{run.host} {place}", f"{run.host} {place} ({key[-8:]})"
    for depth in range(3):
        chosen = {key: each[depth] for key, each in labels.items()}
        if len(set(chosen.values())) == len(chosen):
            return chosen
    return {key: f"{each[1]} ({key})" for key, each in labels.items()}


def _series(runs: Sequence[tuple[str, RunEntry]], devices: Mapping[str, str]) -> Iterator[Series]:
    lines: dict[tuple[str, ...], list[Point]] = defaultdict(list)
    for file, run in runs:
        for device in run.devices:
            who = identity(run, device)
            for value in device.values:
                lines[value.key, value.regime, run.budget, who].append(Point(file, run, device, value))
    for (key, regime, budget, who), points in lines.items():
        known = not points[-1].run.redacted
        yield Series(key, regime, budget, devices[who], known, tuple(_segments(points)))


def _segments(points: Sequence[Point]) -> Iterator[Segment]:
    part, changes, joined = [points[0]], (), False
    for before, point in pairwise(points):
        found = _changes(before, point)
        if found:
            yield Segment(tuple(part), changes, joined)
            part, changes, joined = [], found, before.value.basis == point.value.basis
        part.append(point)
    yield Segment(tuple(part), changes, joined)


def _changes(before: Point, after: Point) -> tuple[Change, ...]:
    ours, theirs = after.device.factors, before.device.factors
    if ours == theirs and before.value.basis == after.value.basis:
        return ()
    found = [
        Change(name, theirs.get(name, "unknown"), ours.get(name, "unknown"))
        for name in dict.fromkeys((*ours, *theirs))
        if ours.get(name) != theirs.get(name)
    ]
    was, now = before.value.basis, after.value.basis
    if was != now:
        gone, new = ([text for text in ours if text not in theirs] for ours, theirs in ((was, now), (now, was)))
        found.append(Change("probe version", ", ".join(gone) or "none", ", ".join(new) or "none"))
    return tuple(found)


# --- what moved


def _moves(series: Series, questions: int) -> Iterator[Move]:
    for before, after in pairwise(series.segments):
        if after.joined:
            yield _across(series, before, after, questions)
    for segment in series.segments:
        if segment.n >= SEARCHED and (move := _within(series, segment, questions)):
            yield move


def _across(series: Series, before: Segment, after: Segment, questions: int) -> Move:
    """The step where the environment changed, by the Runs nearest to it."""
    left, right = before.valid[-WINDOW:], after.valid[:WINDOW]
    ends = before.points[-1].at, after.points[0].at
    counts = len(left), len(right)
    if min(counts) < FEW:
        return Move(series, "change", "unknown", *ends, after.changes, *[float("nan")] * 3, *counts)
    logs = np.log([point.value.value for point in (*left, *right)])
    columns = [np.ones(len(logs)), np.arange(len(logs)) >= len(left)]
    if min(counts) >= ENOUGH:
        columns.append(_times((*left, *right)))
    effect, half = _effect(columns, logs, questions)
    return _judged(series, "change", ends, after.changes, effect, half, counts)


def _within(series: Series, segment: Segment, questions: int) -> Move | None:
    """A drift or a step while nothing recorded changed, whichever explains the segment better; None where neither."""
    points = segment.valid
    logs, n = np.log([point.value.value for point in points]), len(points)
    x = _times(points)
    slope = np.column_stack([np.ones(n), x])
    drift = float(np.sum((logs - slope @ np.linalg.lstsq(slope, logs, rcond=None)[0]) ** 2))
    # sums of squares around two levels for every place of the step at once
    total, squares = np.cumsum(logs), float(np.sum(logs**2))
    k = np.arange(FEW, n - FEW + 1)
    apart = squares - total[k - 1] ** 2 / k - (total[-1] - total[k - 1]) ** 2 / (n - k)
    split = int(k[np.argmin(apart)])
    if drift <= float(apart.min()):
        effect, half = _effect([np.ones(n), x], logs, questions)
        move = _judged(series, "drift", (points[0].at, points[-1].at), (), effect, half, (n, n))
    else:
        # the place was searched for: as many more questions as there are places
        effect, half = _effect([np.ones(n), np.arange(n) >= split], logs, questions * len(k))
        ends = points[split - 1].at, points[split].at
        move = _judged(series, "step", ends, (), effect, half, (split, n - split))
    return move if move.verdict == "moved" else None


def _times(points: Sequence[Point]) -> np.ndarray:
    """From 0 to 1 over the points."""
    at = np.array([point.at for point in points])
    return (at - at[0]) / max(at[-1] - at[0], 1.0)


def _effect(columns: Sequence[np.ndarray], logs: np.ndarray, questions: int) -> tuple[float, float]:
    """The second column's coefficient by least squares, and half its interval's width at 5 % over all questions."""
    design = np.column_stack(columns).astype(float)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        design = design[:, :2]
    if np.linalg.matrix_rank(design) < 2:
        return 0.0, float("inf")
    found = np.linalg.lstsq(design, logs, rcond=None)[0]
    rest = logs - design @ found
    freedom = len(logs) - design.shape[1]
    scatter = float(rest @ rest)
    follow = max(0.0, float(rest[1:] @ rest[:-1]) / scatter) if scatter > 1e-24 else 0.0
    widened = (1 + follow) / (1 - min(follow, 0.98))
    error = np.sqrt(scatter / freedom * widened * np.linalg.inv(design.T @ design)[1, 1])
    return float(found[1]), float(stdtrit(max(freedom / widened, 1.0), 1 - 0.025 / questions) * error)


def _judged(series, kind, ends, changes, effect: float, half: float, counts: tuple[int, int]) -> Move:
    with np.errstate(over="ignore"):
        ratio, low, high = (float(np.exp(value)) for value in (effect, effect - half, effect + half))
    moved = abs(ratio - 1) >= WORTH and not low <= 1 <= high
    return Move(series, kind, "moved" if moved else "still", *ends, changes, ratio, low, high, *counts)
