"""The numbers behind each figure, as rows of cells: text for the reader, a plain value for sorting and for CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import units
from bench.analysis.compare import Gap, at_clock
from bench.analysis.fit import Fit
from bench.report import energy as costs
from bench.report import frame, names, words
from bench.roofline import Roofline
from bench.schema import Run


@dataclass(frozen=True)
class Cell:
    """What is read, and what is sorted and copied (base units)."""

    text: str
    value: Any = ""
    mark: str = ""

    @property
    def sort(self) -> str:
        return f"{self.value:.6g}" if isinstance(self.value, float) else str(self.value)


@dataclass(frozen=True)
class Column:
    name: str
    number: bool = False
    unit: str = ""


@dataclass(frozen=True)
class Table:
    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


_NONE = Cell("–")


def _cell(value: Any, text) -> Cell:
    return Cell(text(value), float(value)) if frame.has(value) else _NONE


def cases(rows: pd.DataFrame, name: str, title: str) -> Table:
    """Every case in each regime, the skipped and the invalid ones with their cause."""
    regimes = list(dict.fromkeys(rows["regime"]))
    params = list(dict.fromkeys(key for given in rows["params"] for key in given))
    # a column per param that varies; one value for all says nothing
    params = [key for key in params if len({repr(given.get(key)) for given in rows["params"]}) > 1 or len(rows) == 1]
    numeric = {
        key: all(isinstance(p.get(key, 0), int | float) and not isinstance(p.get(key), bool) for p in rows["params"])
        for key in params
    }
    flops, bytes_, clock = (bool(rows[name].notna().any()) for name in ("flop_rate", "byte_rate", "clock_hz"))
    columns = [Column(key, numeric[key]) for key in params] + [Column("regime")] * (len(regimes) > 1)
    columns += [Column("time", True, "s"), Column("interval"), Column("n", True)]
    columns += [Column("compute", True, "FLOP/s")] * flops + [Column("traffic", True, "B/s")] * bytes_
    columns += [Column("% of measured", True), Column("% of theory", True), Column("limited by")]
    columns += [Column("clock", True, "Hz")] * clock + [Column("validity")]
    body = []
    for row in frame.each(rows):
        cells = [_param(key, row.params.get(key)) for key in params] + [Cell(row.regime)] * (len(regimes) > 1)
        span = Cell(units.between(row.low, row.high, units.seconds), row.kind) if row.n > 1 else _NONE
        cells += [_cell(row.seconds, units.seconds), span, Cell(str(row.n), row.n)]
        key = f"{row.work.compute}.x"
        cells += [_cell(row.flop_rate, lambda v, key=key: units.rate_text(v, key))] * flops + [
            _cell(row.byte_rate, units.bandwidth)
        ] * bytes_
        cells += [_cell(row.share, units.percent), _cell(row.theory_share, units.percent)]
        cells += [Cell(names.limiter(row.limiter)) if row.limiter else _NONE]
        cells += [_cell(row.clock_hz, units.hertz)] * clock + [_validity(row)]
        body.append(tuple(cells))
    return Table(name, f"{title}: every case", tuple(columns), tuple(body))


def _param(key: str, value: Any) -> Cell:
    return _NONE if value is None else Cell(names.value(key, value), value)


def _validity(row) -> Cell:
    if row.skip:
        return Cell(f"skipped: {row.skip}", "skipped", "skip")
    if row.validity != "valid":
        return Cell(f"{row.validity}: {row.causes}", row.validity, row.validity)
    return Cell("valid, but above its roof", "above", "suspect") if row.above else Cell("valid", "valid")


def roofs(fit: Fit, theory: Roofline | None, gaps: Sequence[Gap]) -> Table:
    """Every roof beside its claim, at the clock that was seen and under lasting load, and every ridge."""
    by_key = {gap.ours.key: gap for gap in gaps}
    clocks = any(fitted.winner.clock_hz for fitted in fit.roofs.values())
    columns = [Column("roof"), Column("measured", True), Column("interval"), Column("kind"), Column("n", True)]
    columns += [Column("datasheet", True), Column("% of theory", True), Column("its interval")]
    columns += [Column("clock seen", True, "Hz"), Column("datasheet at it", True), Column("% of that", True)] * clocks
    columns += [Column("sustained", True), Column("% of burst", True)] * bool(fit.sustained)
    columns += [Column("rests on"), Column("doubts")]
    body = []
    for roof in fit.roofline.roofs:
        gap = by_key.get(roof.key)

        def text(value: float, key: str = roof.key) -> str:
            return units.rate_text(value, key)

        cells = [
            Cell(names.roof(roof.key), roof.key),
            Cell(text(roof.rate), roof.rate),
            Cell(units.between(roof.low, roof.high, text)),
        ]
        cells += [Cell(roof.estimate.kind), Cell(str(roof.n), roof.n)]
        cells += (
            [Cell(text(gap.theirs.rate), gap.theirs.rate), Cell(units.percent(gap.ratio), gap.ratio)]
            if gap
            else [_NONE, _NONE]
        )
        cells += [Cell(units.between(gap.low, gap.high, units.percent))] if gap else [_NONE]
        if clocks:
            clock = fit.roofs[roof.key].winner.clock_hz
            claim = at_clock(fit.info, roof.key, clock)
            cells += [_cell(clock, units.hertz), _cell(claim, text)]
            cells += [_cell(roof.rate / claim if claim else None, units.percent)]
        if fit.sustained:
            lasting = fit.sustained.roofs.get(roof.key)
            cells += [_cell(lasting.roof.rate if lasting else None, text)]
            cells += [_cell(lasting.roof.rate / roof.rate if lasting else None, units.percent)]
        doubts = "; ".join(filter(None, [roof.caution, gap.theirs.caution if gap else ""]))
        body.append((*cells, Cell(roof.evidence), Cell(doubts, mark="suspect" if roof.caution else "")))
    for ridge in fit.ridges:
        body.append(_ridge(ridge, fit, theory, clocks))
    for key, cause in fit.missing.items():
        body.append((Cell(names.roof(key), key), *[_NONE] * (len(columns) - 2), Cell(f"missing: {cause}", mark="skip")))
    return Table("roofs", "Every roof and ridge, measured and claimed", tuple(columns), tuple(body))


def _ridge(ridge, fit: Fit, theory: Roofline | None, clocks: bool) -> tuple[Cell, ...]:
    value, quantity = ridge.estimate, ridge.compute.rsplit(".", 1)[0]
    claim = theory.ridge(quantity, ridge.memory) if theory and quantity in theory and ridge.memory in theory else None
    name = f"ridge: {names.roof(ridge.compute)} / {names.channel(ridge.memory)}"
    cells = [Cell(name, f"ridge {ridge.compute}"), Cell(units.intensity(value.value), value.value)]
    cells += [
        Cell(units.between(value.low, value.high, units.intensity)),
        Cell(value.kind),
        Cell(str(value.n), value.n),
    ]
    cells += [_cell(claim, units.intensity), _cell(value.value / claim if claim else None, units.percent)]
    cells += [Cell(units.between(value.low / claim, value.high / claim, units.percent)) if claim else _NONE]
    cells += [_NONE] * 3 * clocks
    if fit.sustained:
        lasting = next((other.estimate.value for other in fit.sustained.ridges if other.compute == ridge.compute), None)
        cells += [_cell(lasting, units.intensity), _cell(lasting / value.value if lasting else None, units.percent)]
    return (
        *cells,
        Cell("ratio of the two roofs, repetition by repetition"),
        Cell("headline ridge" if ridge.headline else ""),
    )


def energy(fit: Fit) -> Table:
    """Joules, watts and work per watt of every roof under lasting load."""
    columns = (
        Column("roof"),
        Column("energy", True, "J per FLOP or B"),
        Column("interval"),
        Column("n", True),
        Column("power", True, "W"),
        Column("sustained", True),
        Column("per watt", True),
    )
    body = []
    for key, cost in costs.of(fit).items():
        per, roof = names.per(key), costs.roof(fit, key)

        def joules(value: float, per: str = per) -> str:
            return units.joules(value, per)

        def text(value: float, key: str = key) -> str:
            return units.rate_text(value, key)

        body.append(
            (
                Cell(names.roof(key), key),
                Cell(joules(cost.joules.value), cost.joules.value),
                Cell(units.between(cost.joules.low, cost.joules.high, joules), cost.joules.kind),
                Cell(str(cost.joules.n), cost.joules.n),
                Cell(units.watts(cost.watts), cost.watts),
                _cell(roof.rate if roof else None, text),
                Cell(f"{text(roof.rate / cost.watts)}/W", roof.rate / cost.watts) if roof else _NONE,
            )
        )
    return Table("energy-costs", "What work costs: every roof under lasting load", columns, tuple(body))


def devices(fits: Sequence[Fit]) -> Table:
    """A row per roof and device, beside the median of the siblings."""
    rows = frame.siblings(fits)
    columns = (
        Column("roof"),
        Column("device"),
        Column("measured", True),
        Column("interval"),
        Column("n", True),
        Column("median", True),
        Column("% of median", True),
        Column("verdict"),
    )
    body = []
    for row in frame.each(rows):

        def text(value: float, key: str = row.key) -> str:
            return units.rate_text(value, key)

        body.append(
            (
                Cell(names.roof(row.key), row.key),
                Cell(names.device(row.device), row.device),
                Cell(text(row.rate), row.rate),
                Cell(units.between(row.low, row.high, text)),
                Cell(str(row.n), row.n),
                Cell(text(row.median), row.median),
                Cell(units.percent(row.ratio), row.ratio),
                Cell("stands apart", mark="suspect") if row.apart else Cell(""),
            )
        )
    return Table("devices", "Every device beside its siblings", columns, tuple(body))


def _why(group: list) -> str:
    """The first reason in full; others that differ only in their numbers stand in the tables of their probes."""
    reasons = list(dict.fromkeys(m.skip or "; ".join(m.reasons) or "no reason given" for m in group))
    return reasons[0] + (f" (and {len(reasons) - 1} alike with other numbers)" if len(reasons) > 1 else "")


def skips(run: Run) -> Table:
    """What was not measured or does not count, and why; like with like over devices."""
    groups: dict[tuple, list] = {}
    for m in run.measurements:
        if m.skip:
            groups.setdefault((m.probe, "skipped", words.kind(m.skip)), []).append(m)
        elif m.validity == "invalid":
            groups.setdefault((m.probe, "invalid", words.kind("; ".join(m.reasons) or "no reason given")), []).append(m)
    columns = (
        Column("probe"),
        Column("what"),
        Column("why"),
        Column("cases", True),
        Column("devices", True),
        Column("for example"),
    )
    body = [
        (
            Cell(probe, probe),
            Cell(what, what, "skip" if what == "skipped" else what),
            Cell(_why(group)),
            Cell(str(len(group)), len(group)),
            Cell(str(len({m.device for m in group})), len({m.device for m in group})),
            Cell(names.case(group[0].params)),
        )
        for (probe, what, why), group in groups.items()
    ]
    return Table("skips", "Skips and failures, with reasons", columns, tuple(body))
