"""The Runs of one product over time: each headline number of each device, and where its environment changed.

Values of other probe versions, other budgets or other devices are never joined. What moved is bench.analysis.moves'.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from bench.analysis import names
from bench.analysis.cache import Kind, readings
from bench.analysis.entries import VERSION, DeviceEntry, RunEntry, entry
from bench.analysis.moves import Move, moves
from bench.analysis.series import SEARCHED, Change, Point, Segment, Series, Shift
from bench.store import RunError

REMEMBERED = Kind("history", VERSION, RunEntry, entry)


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
        return tuple(move for each in self.series if each.known for move in moves(each, questions))

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
