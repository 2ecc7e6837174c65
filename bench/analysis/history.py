"""The Runs of one product over time: each headline number of each device, and where its environment changed.

Values of other probe versions, other budgets or other devices are never joined.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.analysis import fit as fits
from bench.analysis import names
from bench.analysis.run_entry import Change, EntryKind, RunEntry, changes
from bench.analysis.run_index import run_index
from bench.analysis.series import SEARCHED, Headline, Headlines, Move, Segment, Series, SeriesPoint, Shift, moves
from bench.schema import SUSTAINED, DeviceInfo, Measurement, Run
from bench.store import RunError
from bench.work import RoofKey

# The narrowest dtype's GEMM is the fastest roof; by name, because of two close ones noise would choose.
_NARROWEST = ("float4", "float8_e4m3")


@dataclass(frozen=True)
class History:
    """A product's Runs in order of time. left_out: file -> why. fitted: files that no cache knew."""

    product: str
    name: str
    simulated: bool
    runs: tuple[tuple[str, RunEntry[Headlines]], ...]
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
        roofs = {_event(move) for move in self.moves if move.verdict == "moved" and not move.series.is_ridge}
        return tuple(move for move in self.moves if not (move.series.is_ridge and _event(move) in roofs))

    @cached_property
    def searched(self) -> int:
        """Stretches of Runs in which a drift or a step would have been found."""
        return sum(segment.n >= SEARCHED for each in self.series if each.known for segment in each.segments)

    @cached_property
    def shifts(self) -> tuple[Shift, ...]:
        """What is visible where nothing moved for sure, the largest first; ridges only where no roof did."""
        quiet = [each for each in self.series if each.outlier is None and each.number not in self.moved]
        visible = [each for each in quiet if each.shift and each.shift.visible]
        return tuple(sorted((each.shift for each in _own(visible)), key=lambda shift: -abs(math.log(shift.ratio))))

    @cached_property
    def outliers(self) -> tuple[Series, ...]:
        """Series whose newest value lies outside its band, the farthest first; ridges only where no roof does."""
        outside = [each for each in self.series if each.outlier is not None]
        return tuple(sorted(_own(outside), key=lambda each: -abs(each.outlier)))


def _event(move: Move) -> tuple:
    return move.series.device, move.kind, move.changes


def _own(lines: Sequence[Series]) -> Iterator[Series]:
    """Without ridges of a device of which roofs are here: theirs says no more."""
    roofs = {each.device for each in lines if not each.is_ridge}
    return (each for each in lines if not (each.is_ridge and each.device in roofs))


def history(folder: Path | str) -> History:
    """The Runs in a folder, results/PRODUCT.

    Raises RunError for a folder without Runs, one of several products, or one that mixes simulated and measured Runs.
    """
    folder = Path(folder)
    index = run_index(folder, REMEMBERED)
    if not index.runs:
        raise RunError(_nothing(folder, index.left_out))
    simulated = sum(run.simulated for run in index.runs.values())
    if 0 < simulated < len(index.runs):
        raise RunError(
            f"{folder} mixes {simulated} simulated and {len(index.runs) - simulated} measured Runs; a trend of both"
            " would pass plumbing for measurement. Move one kind into a folder of its own."
        )
    product = _product(folder, Counter(run.product for run in index.runs.values()))
    other = {file: run.product for file, run in index.runs.items() if run.product != product}
    left_out = index.left_out | {file: f"it is a Run of another product, {name}" for file, name in other.items()}
    runs = tuple((file, run) for file, run in index.runs.items() if file not in other)
    devices = _devices(runs)
    name = next((device.name for _, run in reversed(runs) for device in run.devices), product)
    series = tuple(_series(runs, devices))
    return History(product, name, bool(simulated), runs, devices, series, left_out, index.warnings, index.fitted)


def _nothing(folder: Path, damaged: Mapping[str, str]) -> str:
    if damaged:
        file, reason = next(iter(damaged.items()))
        return f"none of the {len(damaged)} Run files in {folder} can be read; {file}: {reason}"
    inside = sorted({str(path.parent) for path in folder.glob("*/*.jsonl")})
    hint = f": give the folder of one product, {' or '.join(inside[:3])}" if inside else ""
    return f"no Runs (*.jsonl) in {folder}{hint or '. Measure first: python -m bench all'}"


def _product(folder: Path, counts: Mapping[str, int]) -> str:
    named = folder.resolve().name
    if named in counts or len(counts) == 1:
        return named if named in counts else next(iter(counts))
    found = ", ".join(f"{count} of {product}" for product, count in Counter(counts).most_common(4))
    raise RunError(f"{folder} holds Runs of {len(counts)} products ({found}): give a folder that holds one")


def _devices(runs: Sequence[tuple[str, RunEntry]]) -> dict[str, str]:
    """DeviceEntry.key -> a name as short as tells them apart."""
    labels = {}
    for _, run in runs:
        for device in run.devices:
            place = names.device(device.id)
            if run.redacted:
                labels[device.key] = (f"redacted {place}",) * 3 + (f"redacted {place} ({device.key})",)
            else:
                which, there = device.uuid or f"{run.host} {device.id}", f"{run.host} {place}"
                labels[device.key] = place, there, f"{there} ({which[-8:]})", f"{there} ({which})"
    choices = [{key: each[depth] for key, each in labels.items()} for depth in range(4)]
    return next((chosen for chosen in choices if len(set(chosen.values())) == len(chosen)), choices[-1])


def _series(runs: Sequence[tuple[str, RunEntry[Headlines]]], devices: Mapping[str, str]) -> Iterator[Series]:
    lines: dict[tuple[str, ...], list[SeriesPoint]] = defaultdict(list)
    for file, run in runs:
        for device in run.devices:
            for value in device.values:
                lines[value.key, value.regime, run.budget, device.key].append(SeriesPoint(file, run, device, value))
    for (key, regime, budget, who), points in lines.items():
        yield Series(key, regime, budget, devices[who], not points[-1].run.redacted, tuple(_segments(points)))


def _segments(points: Sequence[SeriesPoint]) -> Iterator[Segment]:
    part, began, joined = [points[0]], (), False
    for before, point in pairwise(points):
        if changed := _changes(before, point):
            yield Segment(tuple(part), began, joined)
            part, began, joined = [], changed, before.value.basis == point.value.basis
        part.append(point)
    yield Segment(tuple(part), began, joined)


def _changes(before: SeriesPoint, after: SeriesPoint) -> tuple[Change, ...]:
    was, now = before.value.basis, after.value.basis
    changed = changes(before.device.factors, after.device.factors)
    if was == now:
        return changed
    gone, new = (", ".join(text for text in one if text not in other) for one, other in ((was, now), (now, was)))
    return (*changed, Change("probe version", gone or "none", new or "none"))


# --- the headline numbers of a Run


def _headlines(run: Run) -> Iterator[Headlines]:
    for fit in fits.fit(run):
        yield tuple(value for regime in (fit.info.regime, SUSTAINED) for value in _in_regime(run, fit, regime))


def _in_regime(run: Run, fit: fits.Fit, regime: str) -> Iterable[Headline]:
    lasting = regime == SUSTAINED
    fitted: Any = fit.sustained if lasting else fit
    roofs, ridge = (fitted.roofs, fitted.headline) if fitted else ({}, None)
    mine = [m for m in run.of(fit.info.id) if (m.regime == SUSTAINED) == lasting]
    values: dict[str, Headline] = {}
    for key in _keys(fit.info):
        claims = [m for m in mine if m.saturates == key]
        if headline := _headline(run, key, regime, roofs.get(key), claims):
            values[key] = headline
    if ridge:
        values["ridge"] = _ridge(ridge, values[ridge.compute], values[ridge.memory])
    return values.values()


def _keys(info: DeviceInfo) -> list[str]:
    narrow = next((f"tensor.{dtype}.library" for dtype in _NARROWEST if info.units.get(dtype) == "tensor"), "")
    return list(dict.fromkeys(filter(None, ["dram", info.headline, "vector.float32.loop", narrow, "link"])))


def _headline(run: Run, key: str, regime: str, fit: fits.RoofFit | None, claims: list[Measurement]) -> Headline | None:
    """A roof's, or what its invalid measurements showed at best; None where nothing was timed."""
    basis = tuple(sorted({f"{m.probe} {m.version}" for m in claims}))
    if fit:
        roof, winner = fit.roof, fit.winner
        word = "suspect" if winner.validity != "valid" or winner.lost or not run.complete else "valid"
        doubt = "; ".join(filter(None, (roof.caution, "" if run.complete else "the Run is incomplete")))
        return Headline(key, regime, roof.rate, roof.low, roof.high, roof.n, word, basis, doubt)
    rates = [(amount / m.median, m) for m in claims if m.seconds and (amount := RoofKey(key).amount(m.work))]
    rate, best = max(reversed(rates), key=lambda each: each[0], default=(math.inf, None))
    if math.isinf(rate):
        return None
    doubt = "; ".join(best.reasons) or "no valid measurement"
    return Headline(key, regime, rate, rate, rate, 0, "invalid", basis, doubt)


def _ridge(ridge: fits.Ridge, *roofs: Headline) -> Headline:
    at, key = ridge.estimate, f"ridge {ridge.compute}"
    word = "suspect" if any(roof.validity != "valid" for roof in roofs) else "valid"
    doubt = "; ".join(dict.fromkeys(roof.doubt for roof in roofs if roof.doubt))
    basis = tuple(sorted({text for roof in roofs for text in roof.basis}))
    return Headline(key, roofs[0].regime, at.value, at.low, at.high, at.n, word, basis, doubt)


# The first number is raised when a headline says something else of the same fit.
REMEMBERED: EntryKind[Headlines] = EntryKind("history", (1, fits.VERSION), Headlines, _headlines)
