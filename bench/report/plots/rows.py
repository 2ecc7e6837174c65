"""A row per quantity with marks in it: measured with its interval, claimed, sustained; in percent of the datasheet; and
every GPU beside its siblings.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis import names, tidy
from bench.analysis.datasheet import RoofRatio
from bench.analysis.fit import Fit, RoofFit
from bench.report.phrases import rate_spread
from bench.report.plots import theme
from bench.roofline import Roof, Roofline

_MEMORY = "memory and links"
# A mark: its value, the name of its row, its hover.
Place = tuple[float, str, str]
# The name of a row, and a roof that stands in it.
Row = tuple[str, RoofFit]


def place(row: str, roof: Roof, what: str, more: str = "") -> Place:
    head = f"<b>{theme.safe(f'{names.roof(roof.key)}, {what}')}</b>"
    return roof.rate, theme.safe(row), f"{head}<br>{units.rate_text(roof.rate, roof.key, 4)}{more}"


def marks(name: str, places: Sequence[Place], symbol: str | list[str], colour: str, size: int = 9, **more: Any) -> dict:
    values, rows, hovers = zip(*places, strict=True)
    marker = {"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.6, "color": colour}}
    look = {"mode": "markers", "marker": marker} | theme.hovers(hovers) | more
    return theme.scatter(name=name, x=list(values), y=list(rows), **look)


def stroke(name: str, places: Sequence[Place], size: int = 20, colour: str = theme.THEORY) -> dict:
    """What a datasheet says, across the row."""
    return marks(name, places, "line-ns-open", colour, size)


def claimed(theory: Roofline | None, rows: Iterable[Row]) -> Iterator[dict]:
    found = {row: claim for row, each in rows if theory and (claim := theory.find(each.roof.quantity))}
    if found:
        name = names.claim(next(iter(found.values())).evidence)
        yield stroke(name, [place(row, claim, name) for row, claim in found.items()])


def measured(name: str, rows: Sequence[Row], symbol: str, colour: str, theory: Roofline | None) -> Iterator[dict]:
    """Open where suspect."""
    places = []
    for row, each in rows:
        claim = theory.find(each.roof.quantity) if theory else None
        share = f"<br>{units.percent(each.roof.rate / claim.rate)} of {names.claim(claim.evidence)}" if claim else ""
        case = theme.safe(names.case(each.winner.params))
        places.append(place(row, each.roof, name, f"<br>{rate_spread(each.roof)}, n = {each.roof.n}{share}<br>{case}"))
    if places:
        span = zip(*((each.roof.rate, each.roof.low, each.roof.high) for _, each in rows), strict=True)
        symbols = [theme.symbol(symbol, each.winner.validity) for _, each in rows]
        yield marks(name, places, symbols, colour, error_x=theme.error(*span, colour))


def sustained(fit: Fit, rows: Iterable[Row]) -> Iterator[dict]:
    kept = fit.sustained.roofs if fit.sustained else {}
    found = [place(row, kept[each.roof.key].roof, "sustained") for row, each in rows if each.roof.key in kept]
    if found:
        yield marks("sustained", found, "diamond-tall-open", theme.INK, 11)


def figure(axis: dict, names: Sequence[str], traces: Iterable[dict], height: int = 0, **layout: Any) -> go.Figure:
    """names: from the bottom; no two are alike."""
    # half a row of room at both ends, or the outermost marks would be cut
    about = {"type": "category", "automargin": True, "range": [-0.6, len(names) - 0.4]}
    y_axis = theme.axis("", categoryorder="array", categoryarray=list(map(theme.safe, names)), **about)
    height = height or 160 + 30 * len(names)
    return theme.figure(height, axis, y_axis, traces, margin={"l": 60}, **layout).made()


def datasheet(ratios: Sequence[RoofRatio], doubtful: Sequence[str], clocked: Mapping[str, float]) -> go.Figure | None:
    """Measured over datasheet: a row per roof with its interval, 100 % is the claim. doubtful: roofs that stand open.
    clocked: roof -> rate by the datasheet at the clock that was seen, a tick in its row.
    """
    if not ratios:
        return None
    ticks = [(each, clocked[each.ours.key]) for each in ratios if each.ours.key in clocked]
    ends = [end for each in ratios for end in (each.low, each.high)] + [rate / each.theirs.rate for each, rate in ticks]
    span = [max(0, min(90.0, 98 * min(ends))), max(105.0, 102 * max(ends))]
    axis = theme.axis(f"Measured, percent of {names.claim(ratios[0].theirs.evidence)}", range=span, ticksuffix=" %")
    sides = [[each for each in ratios if each.ours.is_compute == compute] for compute in (False, True)]
    traces = [_shares(side, doubtful) for side in sides if side]
    if ticks:
        hover = "by the datasheet at the clock seen"
        places = [_share(each, rate, f"{units.rate_text(rate, each.ours.key)} {hover}") for each, rate in ticks]
        traces.insert(0, stroke(hover, places, 15, theme.MUTED))
    # there are many, and each is one mark
    fig = figure(axis, [names.roof(each.ours.key) for each in ratios][::-1], traces, 100 + 22 * len(ratios))
    return fig.add_vline(x=100, line={"color": theme.THEORY, "width": 1.2, "dash": "dash"})


def _shares(ratios: Sequence[RoofRatio], doubtful: Iterable[str]) -> dict:
    compute = ratios[0].ours.is_compute
    name, colour, marker = ("compute", theme.COMPUTE, "circle") if compute else (_MEMORY, theme.MEMORY, "diamond")
    symbols = [f"{marker}-open" if each.ours.key in doubtful else marker for each in ratios]
    spans = ([100 * getattr(each, side) for each in ratios] for side in ("ratio", "low", "high"))
    places = []
    for each in ratios:
        ours, theirs = (units.rate_text(roof.rate, each.ours.key) for roof in (each.ours, each.theirs))
        share = f"{units.percent(each.ratio)} ({units.between(each.low, each.high, units.percent)})"
        places.append(_share(each, each.ours.rate, f"{ours} of {theirs}<br>{share}"))
    return marks(name, places, symbols, colour, error_x=theme.error(*spans, colour))


def _share(each: RoofRatio, rate: float, text: str) -> Place:
    name = theme.safe(names.roof(each.ours.key))
    return 100 * (rate / each.theirs.rate), name, f"<b>{name}</b><br>{text}"


def strip(siblings: pd.DataFrame, few: Sequence[str]) -> go.Figure | None:
    """Every GPU beside its siblings: a row per roof, a dot per GPU, outliers by name. siblings: as
    bench.analysis.siblings has them; few: the roofs to draw, all if there are none.
    """
    seen = siblings[siblings["key"].isin(few)] if len(few) else siblings
    if seen.empty:
        return None
    off = (seen["ratio"] - 1).abs()
    reach, usual = 100 * max(0.02, 1.25 * off.max()), 100 * 2 * 1.4826 * float(off.median())
    axis = theme.axis("Percent of the other GPUs' median", range=[100 - reach, 100 + reach], ticksuffix=" %")
    traces = [_dots(part, bool(outlier)) for outlier, part in seen.groupby("outlier")]
    fig = figure(axis, [names.roof(key) for key in dict.fromkeys(seen["key"])][::-1], traces)
    look = {"layer": "below", "line_width": 0, "fillcolor": theme.MUTED, "opacity": 0.12}
    fig.add_vrect(x0=100 - usual, x1=100 + usual, **look)
    return fig.add_vline(x=100, line={"color": theme.MUTED, "width": 1.2})


def _dots(part: pd.DataFrame, outlier: bool) -> dict:
    """An outlier has its name and interval."""
    devices, places = [theme.safe(names.device(device)) for device in part["device"]], []
    for row, device in zip(tidy.each(part), devices, strict=True):
        rate, median = (units.rate_text(value, row.key) for value in (row.rate, row.median))
        roof, share = theme.safe(names.roof(row.key)), f"{units.percent(row.ratio)} of the others' median {median}"
        places.append((100 * row.ratio, roof, f"<b>{device}</b> {roof}<br>{rate}<br>{share}"))
    if not outlier:
        return marks("a GPU", places, "circle-open", theme.SERIES[0])
    span = theme.error(*(100 * part[name] for name in ("ratio", "ratio_low", "ratio_high")), theme.ALARM)
    look = {"textposition": "top center", "textfont": {"color": theme.ALARM}, "cliponaxis": False}
    look |= {"mode": "markers+text", "text": devices, "error_x": span}
    return marks("outlier", places, "diamond", theme.ALARM, 11, **look)
