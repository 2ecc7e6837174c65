"""One headline number over time: each Run with its interval, each segment's median and band, each change as a line.

Many Runs are drawn as stretches of equal count, their median as the line and their whole reach as the band, so that
ten thousand points neither hide one another nor weigh on the page. Nothing here needs WebGL, whose renderer would need
a policy that lets scripts make scripts.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import plotly.graph_objects as go

from bench.analysis.changes import ChangePoint
from bench.analysis.history import Change, Point, Segment, Series
from bench.report.figures import style
from bench.report.trend import marks, words

# Markers in a figure, over all its lines; beyond, a line's points are drawn in groups.
MOST = 700
# Lines beyond which bands and intervals would lie on one another: they are in hover and table.
FEW_LINES = 4
_INVALID, _LABELS, _SHAPES = 200, 10, 120


@dataclass(frozen=True)
class Group:
    """Neighbouring sound Runs of one segment, drawn as one point."""

    points: tuple[Point, ...]

    @property
    def chosen(self) -> Sequence[Point]:
        return [point for point in self.points if point.valid] or self.points

    @property
    def at(self) -> float:
        return self.points[len(self.points) // 2].at

    @property
    def value(self) -> float:
        return median(point.value.value for point in self.chosen)

    @property
    def low(self) -> float:
        return min(point.value.low for point in self.points)

    @property
    def high(self) -> float:
        return max(point.value.high for point in self.points)

    @property
    def validity(self) -> str:
        return self.chosen[0].value.validity


def over_time(lines: Sequence[Series], points: Sequence[ChangePoint] = ()) -> go.Figure:
    """Every line of one number in one regime, with the change points that were found in them."""
    key = lines[0].key
    low, high = _reach(lines)
    fig = style.figure(300, margin={"l": 56, "r": 16, "t": 20, "b": 44}, hovermode="closest")
    fig.update_yaxes(style.axis("", range=[low, high], automargin=True, **_ticks(key, low, high)))
    ends = sorted((min(each.points[0].at for each in lines), max(each.points[-1].at for each in lines)))
    pad = max(0.02 * (ends[1] - ends[0]), 3600.0)
    fig.update_xaxes(style.axis("", type="date", range=[_iso(ends[0] - pad), _iso(ends[1] + pad)]))
    several = len(lines) > 1
    budgets = len({each.budget for each in lines}) > 1
    devices = list(dict.fromkeys(each.device for each in lines))
    most = max(40, MOST // len(lines))
    for number, each in enumerate(lines):
        colour, marker = style.SERIES[number % len(style.SERIES)], style.MARKERS[number % len(style.MARKERS)]
        name = f"{each.device}, {each.budget}" if budgets else each.device
        if len(lines) <= FEW_LINES:
            _bands(fig, each, colour)
        _line(fig, each, style.safe(name), colour, marker, most, several, len(lines) <= FEW_LINES)
    _invalid(fig, lines, low, high)
    _changes(fig, lines, devices, (low + high) / 2)
    _marks(fig, lines, points)
    return fig.made()


def thinned(lines: Sequence[Series]) -> int:
    """How many Runs a drawn point stands for, at most; 1 where each is drawn."""
    most = max(40, MOST // len(lines))
    return max(math.ceil(len(each.points) / most) for each in lines)


def _reach(lines: Sequence[Series]) -> tuple[float, float]:
    """What sound values and their intervals need, and never less than two percent: noise shall not fill a figure."""
    values = [point.value for each in lines for point in each.points]
    seen = [value for value in values if value.validity != "invalid"] or values
    low, high = min(value.low for value in seen), max(value.high for value in seen)
    pad = max(0.08 * (high - low), 0.01 * (high + low) / 2 - (high - low) / 2, 0.002 * high)
    return low - pad, high + 2 * pad


def _ticks(key: str, low: float, high: float) -> dict:
    """About five round values with their unit, and as many again beyond either end, for who pans."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    values = [k * step for k in range(math.ceil((2 * low - high) / step), math.floor((2 * high - low) / step) + 1)]
    values = [value for value in values if value > 0]
    # as many digits as tell neighbours apart
    digits = max(2, 1 + math.floor(math.log10(high)) - math.floor(math.log10(step) + 1e-9))
    return {"tickvals": values, "ticktext": [words.text(key, value, digits) for value in values]}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")


def _short(value: float) -> float:
    """Six digits: more than a screen has, and a third of the page's weight."""
    return float(f"{value:.6g}")


def _stretches(each: Series, step: int) -> Iterator[list[Group]]:
    """What may be joined: sound points of known devices, broken where a probe changed and, if drawn one by one, where
    a Run was invalid.
    """
    stretch: list[Group] = []
    for segment in each.segments:
        if not segment.joined and stretch:
            yield stretch
            stretch = []
        part: list[Point] = []
        for point in segment.points:
            if point.value.validity != "invalid":
                part.append(point)
            elif step == 1:
                stretch += [Group((one,)) for one in part]
                if stretch:
                    yield stretch
                stretch, part = [], []
        stretch += [Group(tuple(part[i : i + step])) for i in range(0, len(part), step)]
    if stretch:
        yield stretch


def _line(
    fig: style.Drawing, each: Series, name: str, colour: str, marker: str, most: int, legend: bool, bands: bool
) -> None:
    step = math.ceil(len(each.points) / most)
    stretches = list(_stretches(each, step))
    if bands:
        for stretch in stretches if each.known else ():
            there = [(_iso(group.at), _short(group.low)) for group in stretch]
            back = [(_iso(group.at), _short(group.high)) for group in reversed(stretch)]
            x, y = zip(*there, *back, strict=True)
            fig.add_trace(
                style.scatter(
                    x=x, y=y, mode="lines", fill="toself", fillcolor=colour, opacity=0.16, line={"width": 0},
                    hoverinfo="skip", showlegend=False,
                )
            )  # fmt: skip
    # a None between stretches, which plotly does not join across
    groups: list[Group | None] = []
    for stretch in stretches:
        groups += [None, *stretch] if groups else stretch
    if not groups:
        return
    fig.add_trace(
        style.scatter(
            name=name,
            x=[_iso(group.at) if group else None for group in groups],
            y=[_short(group.value) if group else None for group in groups],
            mode="lines+markers" if each.known else "markers",
            line={"color": colour, "width": 1.2},
            marker={
                "color": colour,
                "size": 6 if step == 1 and len(groups) < 150 else 4,
                "symbol": [style.symbol(marker, group.validity if group else "valid") for group in groups],
            },
            connectgaps=False,
            showlegend=legend,
            customdata=[_hover(group, each.device) if group else "" for group in groups],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )


def _hover(group: Group, device: str) -> str:
    if len(group.points) == 1:
        return _lines(words.hover(group.points[0], device))
    first, last, key = group.points[0], group.points[-1], group.points[0].value.key
    return _lines(
        f"{device}, {words.moment(first.at)} to {words.moment(last.at)} UTC\n{len(group.points)} Runs: median"
        f" {words.text(key, group.value)}\nintervals from {words.text(key, group.low)} to {words.text(key, group.high)}"
    )


def _lines(text: str) -> str:
    return "<br>".join(style.safe(line) for line in text.split("\n"))


def _bands(fig: style.Drawing, each: Series, colour: str) -> None:
    """Each segment's median as a dashed line, twice the typical deviation around it as a band."""
    found = [segment for segment in each.segments if segment.deviation is not None] if each.known else []
    for segment in found[-_SHAPES:]:
        span = {"x0": _iso(segment.points[0].at), "x1": _iso(segment.points[-1].at), "layer": "below"}
        reach = segment.median * segment.deviation
        fig.add_shape(
            type="rect", y0=segment.median - reach, y1=segment.median + reach, fillcolor=style.MUTED, opacity=0.14,
            line={"width": 0}, **span,
        )  # fmt: skip
        fig.add_shape(
            type="line", y0=segment.median, y1=segment.median, line={"color": colour, "width": 1, "dash": "dash"},
            **span,
        )  # fmt: skip


def _invalid(fig: style.Drawing, lines: Sequence[Series], low: float, high: float) -> None:
    """Crosses that nothing joins; one beyond the axis stands at its edge and says its value."""
    points = [(point, each) for each in lines for point in each.points if point.value.validity == "invalid"]
    points = sorted(points, key=lambda each: each[0].at)[-_INVALID:]
    if not points:
        return
    inset = 0.02 * (high - low)
    fig.add_trace(
        style.scatter(
            name="invalid: counts nowhere",
            x=[_iso(point.at) for point, _ in points],
            y=[min(max(point.value.value, low + inset), high - inset) for point, _ in points],
            mode="markers",
            marker={
                "symbol": [_cross(point.value.value, low, high) for point, _ in points],
                "size": 9,
                "color": style.ALARM,
                "line": {"width": 1.5, "color": style.ALARM},
            },
            customdata=[_lines(words.hover(point, each.device)) for point, each in points],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )


def _cross(value: float, low: float, high: float) -> str:
    return "triangle-down-open" if value < low else "triangle-up-open" if value > high else "x-thin-open"


def _changes(fig: style.Drawing, lines: Sequence[Series], devices: Sequence[str], middle: float) -> None:
    """A vertical line for each change of the environment, labelled; the oldest of many go without a label."""
    places: dict[tuple[float, tuple[Change, ...]], list[Segment]] = defaultdict(list)
    who: dict[tuple[float, tuple[Change, ...]], set[str]] = defaultdict(set)
    for each in lines:
        for segment in each.segments[1:]:
            place = segment.points[0].at, segment.changes
            places[place].append(segment)
            who[place].add(each.device)
    newest = sorted(places, key=lambda place: place[0])[-_SHAPES:]
    for number, place in enumerate(newest):
        at, found = place
        joined = all(segment.joined for segment in places[place])
        fig.add_shape(
            type="line", x0=_iso(at), x1=_iso(at), xref="x", yref="paper", y0=0, y1=1, layer="below",
            line={"color": style.MUTED, "width": 1, "dash": "solid" if joined else "dot"},
        )  # fmt: skip
        if number >= len(newest) - _LABELS:
            text = f"{found[0].factor} {found[0].after}"
            text += f" and {len(found) - 1} more" if len(found) > 1 else ""
            if len(who[place]) < len(devices):
                first, *rest = sorted(who[place])
                text = f"{first}{f' and {len(rest)} more' if rest else ''}: {text}"
            # where the values after it are not
            below = median(segment.points[0].value.value for segment in places[place]) > middle
            text = style.safe(text if len(text) < 42 else f"{text[:41]}…")
            where = {"xref": "x", "yref": "paper", "yanchor": "bottom" if below else "top", "textangle": -90}
            look = {"name": "change", "font": {"size": 11, "color": style.MUTED}}
            fig.add_annotation(style.note(text, _iso(at), 0 if below else 1, **where, **look))


def _marks(fig: style.Drawing, lines: Sequence[Series], points: Sequence[ChangePoint]) -> None:
    """A dash-dotted line and a diamond in its line's colour for each change point; the newest say by how much."""
    newest = sorted(points, key=lambda point: point.at)[-_SHAPES:]
    if not newest:
        return
    order = {id(each): number for number, each in enumerate(lines)}
    colours = [style.SERIES[order[id(point.series)] % len(style.SERIES)] for point in newest]
    for point, colour in zip(newest, colours, strict=True):
        fig.add_shape(
            type="line", x0=_iso(point.at), x1=_iso(point.at), xref="x", yref="paper", y0=0, y1=1, layer="below",
            line={"color": colour, "width": 1.2, "dash": "dashdot"},
        )  # fmt: skip
    silent = len(newest) - _LABELS
    first, last = min(each.points[0].at for each in lines), max(each.points[-1].at for each in lines)
    # left of its line, for the right is what changed in the environment; but not beyond the axis
    sides = ["middle right" if each.at < first + 0.15 * (last - first) else "middle left" for each in newest]
    fig.add_trace(
        style.scatter(
            name=f"step by E-divisive: {marks.STANDING}",
            x=[_iso(each.at) for each in newest],
            y=[_short((_value(each.series, each.since) + _value(each.series, each.at)) / 2) for each in newest],
            mode="markers+text",
            marker={"symbol": "diamond", "size": 9, "color": style.PAPER, "line": {"width": 1.8, "color": colours}},
            text=[words.signed(each.ratio) if number >= silent else "" for number, each in enumerate(newest)],
            textposition=sides,
            textfont={"size": 11, "color": style.INK},
            customdata=[_lines(marks.hover(each)) for each in newest],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )


def _value(series: Series, at: float) -> float:
    return next(point.value.value for point in series.points if point.at == at)
