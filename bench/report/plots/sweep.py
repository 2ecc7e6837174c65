"""Curves over a size or an intensity, bars beside one another, and levels in them: what most sections draw.

A mark stands open where its case is suspect, axes hold all that is drawn, and every case has the same hover.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis import names, thinning, tidy
from bench.analysis.tidy import along_param, usable
from bench.report.plots import theme
from bench.roofline import Roof

SECONDS, TIMES, PERCENT, COUNT, BYTES, FACTOR = "seconds", "times", "percent", "count", "bytes", "factor"
_MOST = 1e15
_TITLES = {SECONDS: "Time per launch", TIMES: "Times as fast", PERCENT: "Percent of the roof that binds"}
_RATES = {"flop_rate": "Performance (FLOP/s)", "byte_rate": "Bandwidth (B/s)", "seconds": "Time per launch"}
# An axis from its low and its high end.
Axis = Callable[[float, float], dict[str, Any]]


def curve(
    name: str, rows: pd.DataFrame, x: str, y: str, number: int, *, dash: str = "solid", marker: str = "", **more: Any
) -> dict[str, Any]:
    """Column y over column x in the look of that number. hover: instead of a case's own."""
    hover = more.pop("hover") if "hover" in more else hovers(rows)
    rows, hover = theme.thinned(rows), hover and theme.thinned(hover)
    colour = theme.SERIES[number % len(theme.SERIES)]
    marker = marker or theme.MARKERS[number % len(theme.MARKERS)]
    look = {
        "marker": {"symbol": [theme.symbol(marker, each) for each in rows["validity"]], "size": 7, "color": colour},
        "line": {"color": colour, "width": 1.6, "dash": dash},
    }
    return theme.line(theme.safe(name), rows[x], rows[y], colour, hover, **look | more)


def figure(traces: Sequence[dict], x: Axis, y: Axis, also: Iterable[float] = (), height: int = 400) -> theme.Drawing:
    """Curves on axes that hold them. also: what else the y axis must hold."""
    xs, ys = ([value for trace in traces for value in trace[side]] for side in ("x", "y"))
    return theme.figure(height, x(*_wide(xs)), y(*_wide([*ys, *also])), traces)


def _wide(values: Iterable[float]) -> tuple[float, float]:
    values = [value for value in values if value > 0]
    return min(values) / 2, max(values) * 2


def over_size(
    x: str, y: str, traces: Sequence[dict], roofs: Sequence[tuple[str, Roof]], claims: Sequence[tuple[str, Roof]]
) -> theme.Drawing:
    """Bandwidth over bytes, with measured roofs and claims as levels, by name."""
    rates = [roof.rate for _, roof in (*roofs, *claims)]
    fig = figure(traces, partial(theme.size_axis, x), partial(theme.log_axis, y), rates, 420)
    beside = claims[0][1].rate if claims else 0.0
    for name, roof in roofs:
        level(fig, roof.rate, f"{name} {units.bandwidth(roof.rate)}", theme.MEMORY, claim=beside)
    for name, roof in claims:
        level(fig, roof.rate, f"{name} {units.bandwidth(roof.rate)}", theme.THEORY, "dash", "left")
    return fig


def sweep(
    groups: Mapping[str, pd.DataFrame], over: str, drawn: str, kind: str, title: str = "", y_title: str = "",
    *, even: str = "", dashed: Iterable[str] = (),
) -> go.Figure | None:  # fmt: skip
    """A line per group, column `drawn` over column `over`, which is logarithmic. even: what 1 (or 100 %) means.

    Groups whose names stand in `dashed` share the colour of the group before them, dotted and with crosses.
    """
    groups = {
        name: found.sort_values(over)
        for name, part in groups.items()
        if len(found := part[part[drawn].between(0, _MOST, inclusive="neither")])
    }
    if not groups:
        return None
    seen = pd.concat(groups.values())
    low, high = seen[over].min(), seen[over].max()
    x_axis = theme.log_axis(title or over, low / 1.3, high * 1.3, theme.plain, 2 if high < 2e4 * low else 10)
    # ticks such as "500 µs" are wide, and a title over them would not be read
    y_axis = _y_axis(seen[drawn], kind, y_title or _TITLES.get(kind, ""), bool(even)) | {"automargin": True}
    fig = theme.figure(380, x_axis, y_axis)
    if even:
        level(fig, 100 if kind == PERCENT else 1, even, theme.MUTED, "dash")
    colour = -1
    for number, (name, part) in enumerate(groups.items()):
        paired = name in dashed and number > 0
        colour += not paired
        rows = part.assign(**{drawn: 100 * part[drawn]}) if kind == PERCENT else part
        look = {"dash": "dot", "marker": "x"} if paired else {}
        look |= {"mode": "lines+markers" if len(part) > 1 else "markers"}
        hover = hovers(part) if "params" in part else None
        fig.add_trace(curve(name, rows, over, drawn, colour, hover=hover, **look))
    return fig.made()


def _y_axis(values: pd.Series, kind: str, title: str, even: bool) -> dict:
    low, high = values.min(), values.max()
    if kind == PERCENT:
        # a roof that is far above everything would leave the lines on the floor
        high = max(high, 1.0) if even and high > 0.5 else high
        return theme.axis(title, range=[0, 100 * max(0.05, high * 1.15)], ticksuffix=" %")
    if kind == FACTOR:
        low, high = min(low, 0.95), max(high, 1.05)
        return theme.axis(title, range=[low - 0.1 * (high - low), high + 0.15 * (high - low)])
    if kind == TIMES:
        low, high = (min(low, 1.0), max(high, 1.0)) if even else (low, high)
        if high > 8 * low:
            return theme.log_axis(title, low / 1.3, high * 1.4, theme.plain)
        return theme.axis(title, range=[0, high * 1.2])
    if kind == BYTES:
        return theme.size_axis(title, low / 2, high * 2)
    label = (lambda value: units.seconds(value, 1)) if kind == SECONDS else theme.plain
    wide = 1.0 if high > 3 * low else 1.5  # or a single tick would be all
    return theme.log_axis(title, low / 1.6 / wide, high * 1.8 * wide, label)


def hovers(rows: pd.DataFrame) -> list[str]:
    safe = theme.safe
    return [told(row, f"<b>{safe(row.probe)}</b> {safe(names.case(row.params))}") for row in tidy.each(rows)]


def told(row: Any, head: str) -> str:
    """Value, unit, both percentages, limiter and clock of a case, for hovers."""
    rate, at = units.rate_text(row.flop_rate, row.work.compute), units.intensity(row.intensity)
    moved = f"{units.bandwidth(row.byte_rate)} over {theme.safe(names.channel(row.work.channel))}"
    share = f"{units.percent(row.share)} of measured roof, limited by {theme.safe(names.limiter(row.limiter))}"
    lines = [
        head,
        f"{rate} at {at}" if tidy.has(row.flop_rate) else "",
        moved if tidy.has(row.byte_rate) else "",
        f"{units.seconds(row.seconds)} a launch, n = {row.n}",
        share if tidy.has(row.share) else "",
        f"{units.percent(row.theory_share)} of what is claimed" if tidy.has(row.theory_share) else "",
        (f"clock {units.hertz(row.clock_hz)}, " if tidy.has(row.clock_hz) else "") + theme.safe(row.regime),
        "<b>above its roof: flagged</b>" if row.above else "",
        f"{row.validity}: {theme.safe(row.causes[:80])}" if row.validity != "valid" else "",
    ]
    return theme.text(lines)


def level(
    fig: theme.Drawing, y: float, text: str, colour: str, dash: str = "solid", side: str = "right", claim: float = 0.0
) -> None:
    """A horizontal line with its name on it, or above the claim that runs just above it."""
    line = {"color": colour, "width": 1.6, "dash": dash}
    fig.add_shape(type="line", x0=0, x1=1, xref="x domain", y0=y, y1=y, yref="y", line=line, layer="below")
    y = max(y, claim) if claim < 1.5 * y else y
    place = theme.log(y) if fig.layout["yaxis"].get("type") == "log" else y
    look = {"xref": "paper", "xanchor": side, "colour": colour, "name": "level label"}
    fig.add_note(text, 1 if side == "right" else 0.01, place, **look)


def boundary(fig: theme.Drawing, size: float, text: str) -> None:
    """Where a cache ends, on an axis of sizes."""
    fig.add_vline(x=size, line={"color": theme.GRID, "width": 1.5, "dash": "dot"})
    look = {"yref": "paper", "xanchor": "right", "textangle": -90, "colour": theme.MUTED, "name": "cache"}
    fig.add_note(text, theme.log(size), 0.0, **look)


def bars(
    places: Sequence[str], traces: Mapping[str, tuple[Sequence[float], Sequence[str]]], title: str,
    *, stacked: bool, kind: str = COUNT,
) -> go.Figure | None:  # fmt: skip
    """Horizontal bars at `places`, from top to bottom; a trace is (values, hovers). stacked: as shares of 100 %."""
    if not places:
        return None
    height = 130 + (26 * len(places) if stacked else 22 * len(places) * len(traces))
    x_axis = _bar_axis(title, [value for values, _ in traces.values() for value in values], stacked, kind)
    # two bars at one place would be stacked
    again = pd.Series(places).groupby(list(places)).cumcount()
    named = [theme.safe(f"{place} ({n + 1})" if n else place) for place, n in zip(places, again, strict=True)]
    y_axis = theme.axis("", type="category", categoryorder="array", categoryarray=named[::-1], automargin=True)
    drawn = []
    for (name, (values, hover)), colour in zip(traces.items(), cycle(theme.SERIES), strict=False):
        look = {"type": "bar", "orientation": "h", "name": theme.safe(name), "marker": {"color": colour}}
        drawn.append(look | {"x": list(values), "y": named} | theme.hovers(hover))
    # categories run from the bottom, and so do the bars of a group
    barmode, drawn, order = ("stack", drawn, "normal") if stacked else ("group", drawn[::-1], "reversed")
    return theme.figure(height, x_axis, y_axis, drawn, barmode=barmode).made().update_layout(legend_traceorder=order)


def _bar_axis(title: str, values: Sequence[float], stacked: bool, kind: str) -> dict:
    if stacked:
        return theme.axis(title, range=[0, 100], ticksuffix=" %")
    high = max((value for value in values if value == value), default=0.0)
    if kind != SECONDS or not high > 0:
        return theme.axis(title, rangemode="tozero")
    ticks, digits = thinning.ticks(0.0, high)
    text = ["0", *(units.seconds(tick, digits) for tick in ticks)]
    return theme.axis(title, range=[0, high * 1.08], tickvals=[0, *ticks], ticktext=text)


def faster(times: float) -> str:
    """A ratio in words: "is 2.00 times as fast as", or "takes 3.00 times as long as" where it is no gain."""
    if times >= 1:
        return f"is {units.digits(times)} times as fast as"
    return f"takes {units.digits(1 / times)} times as long as"


def generic(rows: pd.DataFrame, probe: str) -> go.Figure | None:
    """Any other probe: its rate (or its time) over the last numeric param that varies."""
    seen = usable(rows, probe)
    if seen.empty:
        return None
    seen, name = along_param(seen)
    low, high, title = seen["x"].iloc[0], seen["x"].iloc[-1], theme.safe(name) or "case, in order"
    wide = low > 0 and high / low > 20
    x_axis = theme.log_axis(title, low / 1.2, high * 1.2, theme.plain) if wide else theme.axis(title)
    rate = next((column for column in ("flop_rate", "byte_rate") if seen[column].notna().all()), "seconds")
    label = partial(units.seconds if rate == "seconds" else units.number, significant=1)
    y_axis = theme.log_axis(_RATES[rate], seen[rate].min() / 2, seen[rate].max() * 2, label)
    return theme.figure(360, x_axis, y_axis, [curve(probe, seen, "x", rate, 0, mode="markers")]).made()
