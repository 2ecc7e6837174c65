"""One number over time: each Run with its interval, each segment's median and band, each change as a line.

Many Runs are drawn as stretches of equal count, their median as the line and their whole reach as the band. Nothing
here needs WebGL, whose renderer would need a policy that lets scripts make scripts.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import plotly.graph_objects as go

from bench import units
from bench.analysis import names, thinning
from bench.analysis.change_points import ChangePoint
from bench.analysis.series import Series, SeriesPoint
from bench.analysis.thinning import PointGroup
from bench.analysis.viewport import brief
from bench.report.phrases import listed, signed, spread
from bench.report.plots import theme

# Lines beyond which bands and intervals would lie on one another: they are in hover and table.
FEW_LINES = 4
# Of a value as it is drawn: the axis may show what differs in the fifth.
_DIGITS = 6
INFORMATION = "information, not the gate"
_LABELS, _SHAPES = 10, 120


def metric(key: str) -> str:
    """ "DRAM", "BF16 GEMM", "BF16 tensor ridge"."""
    return f"{names.quantity(key.removeprefix('ridge '))} ridge" if key.startswith("ridge ") else names.roof(key)


def text(value: float, key: str, significant: int = 4) -> str:
    """Four digits: what a history is read for is in the third and the fourth."""
    ridge = key.startswith("ridge ")
    return units.intensity(value, significant) if ridge else units.rate_text(value, key, significant)


def span(low: float, high: float, key: str) -> str:
    return units.between(low, high, partial(text, key=key))


def moment(at: float, characters: int = 16) -> str:
    """ "2026-01-02 03:04"."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")[:characters]


_iso = partial(moment, characters=19)


def chance(p: float) -> str:
    """Otava rounds p to six digits."""
    return f"p {p:.6f}".rstrip("0") if p >= 5e-7 else "p < 0.000001"


def over_time(lines: Sequence[Series], marks: Sequence[ChangePoint] = ()) -> go.Figure:
    """Every line of one number in one regime, with the change points that were found in them."""
    (first, last), (low, high) = thinning.period(lines), thinning.reach(lines)
    dates, (ticks, digits) = theme.axis("", type="date", range=[_iso(first), _iso(last)]), thinning.ticks(low, high)
    said = [text(value, lines[0].key, digits) for value in ticks]
    values = theme.axis("", range=[low, high], automargin=True, tickvals=ticks, ticktext=said)
    fig = theme.figure(300, dates, values, margin={"b": 44})
    budgets = len({each.budget for each in lines}) > 1
    for number, each in enumerate(lines):
        stretches = list(thinning.stretches(each, thinning.joined(each, lines)))
        if len(lines) <= FEW_LINES and each.known:
            _medians(fig, each, _colour(number))
            look = {"mode": "lines", "hoverinfo": "skip", "showlegend": False, "fill": "toself", "opacity": 0.16}
            look |= {"fillcolor": _colour(number), "line": {"width": 0}}
            for stretch in stretches:
                there = [(_iso(group.at), brief(group.low, _DIGITS)) for group in stretch]
                back = [(_iso(group.at), brief(group.high, _DIGITS)) for group in reversed(stretch)]
                x, y = zip(*there, *back, strict=True)
                fig.add_trace(theme.scatter(x=x, y=y, **look))
        name = f"{each.device}, {each.budget}" if budgets else each.device
        if stretches:
            fig.add_trace(_line(each, stretches, number, name=theme.safe(name), showlegend=len(lines) > 1))
    _invalid(fig, lines, low, high)
    _changes(fig, lines, (low + high) / 2)
    # left of its line, for the right is what changed in the environment; but not beyond the axis
    _marks(fig, lines, marks, first + 0.17 * (last - first))
    return fig.made()


def caption(lines: Sequence[Series], marks: Sequence[ChangePoint] = ()) -> str:
    """What the figure's signs mean, those that are in it."""
    joined, few = max(thinning.joined(each, lines) for each in lines), len(lines) <= FEW_LINES
    seen = {point.value.validity for each in lines for point in each.points}
    later = [segment for each in lines for segment in each.segments[1:]]
    banded = few and any(s.deviation is not None for each in lines for s in each.segments)
    parts = [
        f"Each point is {'a Run' if joined == 1 else f'the median of up to {joined} neighbouring Runs'}.",
        "Coloured band: intervals." if few else "Intervals: in hover and table.",
        "Dashed, on grey: a segment's median, twice the typical deviation around it." * banded,
        "Vertical: the environment changed." * bool(later),
        "Dotted: a probe measures otherwise from there on; the sides are not compared."
        * any(not segment.joined for segment in later),
        f"Dash-dotted, diamond: a step by E-divisive; {INFORMATION}." * bool(marks),
        "Open: suspect." * ("suspect" in seen),
        "Crosses: invalid; triangles: invalid, beyond the axis." * ("invalid" in seen),
    ]
    return " ".join(filter(None, parts))


def _colour(number: int) -> str:
    return theme.SERIES[number % len(theme.SERIES)]


def _hovers(texts: Iterable[Iterable[str]]) -> dict:
    return theme.hovers(theme.text(map(theme.safe, lines)) for lines in texts)


def _line(each: Series, stretches: Sequence[Sequence[PointGroup]], number: int, **look: Any) -> dict:
    # a None between stretches, which plotly does not join across
    groups = [group for stretch in stretches for group in (None, *stretch)][1:]
    marker = theme.MARKERS[number % len(theme.MARKERS)]
    symbols = [theme.symbol(marker, group.validity if group else "valid") for group in groups]
    crowded = len(groups) >= 150 or any(group and len(group.points) > 1 for group in groups)
    look |= _hovers(_hover(group, each.device) if group else () for group in groups)
    look |= {"marker": {"symbol": symbols, "size": 4 if crowded else 6, "color": _colour(number)}}
    look |= {"mode": "lines+markers" if each.known else "markers", "line": {"color": _colour(number), "width": 1.2}}
    x, y = [group and _iso(group.at) for group in groups], [group and brief(group.value, _DIGITS) for group in groups]
    return theme.scatter(x=x, y=y, connectgaps=False, **look)


def _hover(group: PointGroup, device: str) -> list[str]:
    first, last, key = group.points[0], group.points[-1], group.points[0].value.key
    if first is last:
        return _point_text(first, device)
    reach = f"intervals {text(group.low, key)} to {text(group.high, key)}"
    median = f"{len(group.points)} Runs: median {text(group.value, key)}"
    return [f"{device}, {moment(first.at)} to {moment(last.at)} UTC", median, reach]


def _point_text(point: SeriesPoint, device: str) -> list[str]:
    value = point.value
    more = f", {spread(value.estimate, partial(text, key=value.key))}, n {value.n}" if value.n > 1 else ""
    doubt = value.doubt if len(value.doubt) < 160 else f"{value.doubt[:159]}…"
    factors = ", ".join(f"{name} {given}" for name, given in list(point.device.factors.items())[:3])
    lines = [f"{device}, {moment(point.at)} UTC", f"{text(value.value, value.key)}{more}"]
    return [*lines, f"{value.validity}{f': {doubt}' * bool(doubt)}", factors, point.file]


def _medians(fig: theme.Drawing, each: Series, colour: str) -> None:
    """Each segment's median as a dashed line, twice the typical deviation around it as a band."""
    for segment in [segment for segment in each.segments if segment.deviation is not None][-_SHAPES:]:
        ends = {"x0": _iso(segment.points[0].at), "x1": _iso(segment.points[-1].at), "layer": "below"}
        half, middle = segment.median * segment.deviation, segment.median
        grey = {"fillcolor": theme.MUTED, "opacity": 0.14, "line": {"width": 0}}
        fig.add_shape(type="rect", y0=middle - half, y1=middle + half, **grey, **ends)
        fig.add_shape(type="line", y0=middle, y1=middle, line={"color": colour, "width": 1, "dash": "dash"}, **ends)


def _invalid(fig: theme.Drawing, lines: Sequence[Series], low: float, high: float) -> None:
    """Crosses that nothing joins; one beyond the axis stands at its edge with its value."""
    crossed = thinning.crossed(lines, low, high)
    if not crossed:
        return
    few = sum(each.beyond != "" for each in crossed) <= _LABELS
    said = [text(each.point.value.value, lines[0].key, 3) if each.beyond and few else "" for each in crossed]
    symbols = [f"triangle-{each.beyond}-open" if each.beyond else "x-thin-open" for each in crossed]
    look = {"mode": "markers+text", "text": said, "textfont": {"size": 11, "color": theme.ALARM}}
    look |= {"textposition": ["top center" if each.beyond == "down" else "bottom center" for each in crossed]}
    line = {"width": 1.5, "color": theme.ALARM}
    look |= {"marker": {"symbol": symbols, "size": 9, "color": theme.ALARM, "line": line}}
    look |= _hovers(_point_text(each.point, each.device) for each in crossed)
    x, y = [_iso(each.point.at) for each in crossed], [each.place for each in crossed]
    fig.add_trace(theme.scatter(name="invalid: counts nowhere", x=x, y=y, **look))


def _changes(fig: theme.Drawing, lines: Sequence[Series], middle: float) -> None:
    """A vertical line for each change of the environment, labelled; the oldest of many go without a label."""
    newest = thinning.change_lines(lines)[-_SHAPES:]
    for number, each in enumerate(newest, _LABELS - len(newest)):
        line = {"color": theme.MUTED, "width": 1, "dash": "solid" if each.joined else "dot"}
        fig.add_vline(_iso(each.at), line=line, layer="below")
        if number < 0:
            continue
        said = listed([f"{change.factor} {change.after}" for change in each.changes], 1)
        if {*each.devices} != {series.device for series in lines}:
            said = f"{listed(each.devices, 1)}: {said}"
        said = theme.safe(said if len(said) < 42 else f"{said[:41]}…")
        # where the values after it are not
        low = each.after > middle
        look = {"yref": "paper", "yanchor": "bottom" if low else "top", "textangle": -90, "name": "change"}
        fig.add_note(said, _iso(each.at), 0 if low else 1, theme.MUTED, 11, **look)


def _marks(fig: theme.Drawing, lines: Sequence[Series], marks: Sequence[ChangePoint], early: float) -> None:
    """A dash-dotted line and a diamond in its line's colour for each change point; the newest say by how much."""
    newest = sorted(marks, key=lambda mark: mark.at)[-_SHAPES:]
    if not newest:
        return
    colours = [_colour(lines.index(mark.series)) for mark in newest]
    for mark, colour in zip(newest, colours, strict=True):
        fig.add_vline(_iso(mark.at), line={"color": colour, "width": 1.2, "dash": "dashdot"}, layer="below")
    said = [signed(mark.ratio) for mark in newest[-_LABELS:]]
    look = {"mode": "markers+text", "text": [""] * (len(newest) - len(said)) + said}
    look |= {"textposition": [f"middle {'right' if mark.at < early else 'left'}" for mark in newest]}
    look |= {"textfont": {"size": 11, "color": theme.INK}} | _hovers(map(_mark_text, newest))
    look |= {"marker": {"symbol": "diamond", "size": 9, "color": theme.PAPER, "line": {"width": 1.8, "color": colours}}}
    x, y = [_iso(mark.at) for mark in newest], [brief(thinning.halfway(mark), _DIGITS) for mark in newest]
    fig.add_trace(theme.scatter(name=f"step by E-divisive: {INFORMATION}", x=x, y=y, **look))


def _mark_text(mark: ChangePoint) -> list[str]:
    counts = f"{mark.before} valid Runs before, {mark.after} after{': few' * (not mark.trusted)}"
    between = f"between {moment(mark.since)} and {moment(mark.at)} UTC"
    return [f"{mark.series.device}: {signed(mark.ratio)} by E-divisive, {chance(mark.p)}", between, counts, INFORMATION]
