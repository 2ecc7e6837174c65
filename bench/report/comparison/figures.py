"""Several machines in one frame: their rooflines over one another, and every roof as a ratio to the reference's.

A Run keeps its colour, dash and marker through both; the reference is the solid line.
"""

from collections.abc import Iterator, Sequence

import plotly.graph_objects as go

from bench import units
from bench.analysis.difference import EQUIVALENT, HEADLINES, Against, Difference
from bench.analysis.fit import Fit
from bench.report import names
from bench.report.comparison import words
from bench.report.comparison.words import Label
from bench.report.figures import style
from bench.report.figures.window import Window, ceilings, curve, extent, grid, window
from bench.roofline import Roof

# Ratios further apart than this need a logarithmic axis.
_FAR = 3.0
# More rows than this are thinned to headlines and to what differs.
_MOST_ROWS = 16
# The share of the frame's height that a label takes.
_LABEL = 15 / 500


def _colour(series: int) -> str:
    return style.INK if series == 0 else style.SERIES[(series - 1) % len(style.SERIES)]


def overlaid(fits: Sequence[Fit | None], named: Sequence[Label]) -> go.Figure | None:
    """One roofline per Run: DRAM and the headline compute roofs, burst; None where no Run has both."""
    drawn = [(k, fit, frame) for k, fit in enumerate(fits) if fit is not None and (frame := window(fit, None))]
    if not drawn:
        return None
    frame = Window(
        min(each.left for _, _, each in drawn),
        max(each.right for _, _, each in drawn),
        min(each.bottom for _, _, each in drawn),
        max(each.top for _, _, each in drawn),
    )
    fig = style.figure(540, margin={"l": 56, "r": 12, "t": 20, "b": 48})
    fig.update_xaxes(style.log_axis("Arithmetic intensity (FLOP/B)", frame.left, frame.right, style.plain))
    fig.update_yaxes(style.log_axis("Performance (FLOP/s; OP/s for integers)", frame.bottom, frame.top))
    wanted = {*HEADLINES, *(fit.info.headline for _, fit, _ in drawn)}
    seen: dict[str, list[_Seen]] = {}
    for k, fit, _ in drawn:
        memory, compute = ceilings(fit.roofline)
        slopes = [roof for roof in memory if roof.key == "dram"] or list(memory[:1])
        plateaus = [roof for roof in compute if roof.key in wanted] or list(compute[-1:])
        fig.add_trace(_line(k, fit, slopes, plateaus, frame, named[k]))
        for roof in (*slopes, *plateaus):
            end = extent(roof, slopes, plateaus, frame)[1]
            seen.setdefault(roof.key, []).append((named[k].letter, roof, end))
    for label in _labels(seen, frame):
        fig.add_annotation(label)
    return _marked(fig.made(), [named[k] for k, _, _ in drawn])


def _line(k: int, fit: Fit, slopes: Sequence[Roof], plateaus: Sequence[Roof], frame: Window, label: Label) -> dict:
    xs: list[float | None] = []
    ys: list[float | None] = []
    hover: list[str] = []
    for roof in (*slopes, *plateaus):
        part = grid(*extent(roof, slopes, plateaus, frame))
        text = (
            f"<b>{style.safe(label.full)}</b><br>{names.roof(roof.key)} {units.rate_text(roof.rate, roof.key)}<br>"
            f"{roof.estimate.kind}: {_between(roof)}"
        )
        xs += [*part, None]
        ys += [*curve(roof, part), None]
        hover += [text] * (len(part) + 1)
    # a marker in every tenth place: dash alone is lost where lines meet
    marks = [7 if i % 10 == (2 + 3 * k) % 10 else 0 for i in range(len(xs))]
    return style.scatter(
        x=xs,
        y=ys,
        name=style.safe(label.full),
        mode="lines+markers",
        line={"color": _colour(k), "width": 3 if k == 0 else 1.8, "dash": style.DASHES[k % len(style.DASHES)]},
        marker={"color": _colour(k), "symbol": style.MARKERS[k % len(style.MARKERS)], "size": marks, "opacity": 1},
        customdata=hover,
        hovertemplate="%{customdata}<extra></extra>",
        meta=f"run {label.letter}",
    )


def _between(roof: Roof) -> str:
    return units.between(roof.low, roof.high, lambda value: units.rate_text(value, roof.key))


# A Run's letter, its roof and where that ends.
_Seen = tuple[str, Roof, float]


def _labels(seen: dict[str, list[_Seen]], frame: Window) -> Iterator[dict]:
    """Each roof named once per height at which some Runs have it, with their letters."""
    near = (frame.top / frame.bottom) ** _LABEL
    for key, found in seen.items():
        clusters: list[list[_Seen]] = []
        for each in sorted(found, key=lambda each: each[1].rate):
            if clusters and each[1].rate <= clusters[-1][0][1].rate * near:
                clusters[-1].append(each)
            else:
                clusters.append([each])
        for place, cluster in enumerate(clusters):
            yield _label(key, cluster, frame, len(clusters) - 1 - place)


def _label(key: str, cluster: Sequence[_Seen], frame: Window, below: int) -> dict:
    """below: how many clusters of the same roof are above; a slope's label goes where none of these lies."""
    rates = [roof.rate for _, roof, _ in cluster]
    letters = " ".join(sorted(letter for letter, _, _ in cluster))
    low, high = (units.rate_text(rate, key) for rate in (min(rates), max(rates)))
    rate = low if low == high else units.between(min(rates), max(rates), lambda v: units.rate_text(v, key))
    text = f"<b>{letters}</b> {names.short(key)} {rate}"
    if cluster[0][1].is_compute:
        look = {"xanchor": "right", "bgcolor": style.PAPER, "yshift": 2, "name": "roof label"}
        return style.note(text, style.log(frame.right * 0.9), style.log(max(rates)), **look)
    # along the slope, which report.js turns labels to
    rate = min(rates) if below else max(rates)
    x = frame.left * (min(end for _, _, end in cluster) / frame.left) ** (0.35 + 0.1 * below)
    anchor = "top" if below else "bottom"
    return style.note(text, style.log(x), style.log(rate * x), xanchor="center", yanchor=anchor, name="slope label")


def ratios(found: Sequence[Against], named: Sequence[Label]) -> go.Figure | None:
    """A row per roof, in it a point per Run and pair of devices with its interval; 1 is the reference."""
    points = [
        (k, pair, each, len(against.pairs))
        for k, against in enumerate(found, 1)
        for pair in against.pairs
        for each in pair.of("roof", "ridge", "knee")
        if each.judged
    ]
    if not points:
        return None
    rows = rows_of([each for _, _, each, _ in points])
    points = [point for point in points if words.short(point[2]) in rows]
    tall = 16 + 8 * len(found)
    fig = style.figure(96 + tall * len(rows), margin={"l": 60, "r": 16, "t": 24, "b": 48})
    _axis(fig, [each for _, _, each, _ in points])
    fig.update_yaxes(
        style.axis(
            "",
            tickvals=list(range(len(rows))),
            ticktext=rows,
            range=[len(rows) - 0.4, -0.6],
            automargin=True,
            showgrid=False,
        )
    )
    fig.add_vrect(
        x0=1 / (1 + EQUIVALENT),
        x1=1 + EQUIVALENT,
        fillcolor=style.MUTED,
        opacity=0.14,
        line={"width": 0},
        layer="below",
    )
    fig.add_vline(x=1, line={"color": style.INK, "width": 1.2})
    for k in dict.fromkeys(point[0] for point in points):
        fig.add_trace(_points(k, [point[1:] for point in points if point[0] == k], rows, len(found), named))
    return _marked(fig.made(), named)


def rows_of(found: Sequence[Difference]) -> list[str]:
    """The rows worth their place: all of them, or headlines and whatever differs in some Run; headlines first."""
    rows = dict.fromkeys(words.short(each) for each in sorted(found, key=lambda each: not each.headline))
    if len(rows) <= _MOST_ROWS:
        return list(rows)
    keep = {words.short(each) for each in found if each.headline or each.differs}
    return [row for row in rows if row in keep]


def _axis(fig: style.Drawing, found: Sequence[Difference]) -> None:
    known = [(each.ratio or 1.0, *each.interval) for each in found if each.interval]
    # an interval that knows nothing may leave the frame, or nothing else could be read
    low = min([1 / (1 + 2 * EQUIVALENT), *(max(low, ratio / 1.5) for ratio, low, _ in known)])
    high = max([1 + 2 * EQUIVALENT, *(min(high, ratio * 1.5) for ratio, _, high in known)])
    title = "Other Run over the reference (1 = equal)"
    if high / low > _FAR:
        fig.update_xaxes(style.log_axis(title, low / 1.1, high * 1.1, style.plain))
    else:
        fig.update_xaxes(style.axis(title, range=[low - 0.04 * (high - low), high + 0.04 * (high - low)]))


def _points(k: int, found: Sequence[tuple], rows: Sequence[str], series: int, named: Sequence[Label]) -> dict:
    # several pairs share a row: their intervals would cover one another unless they say something
    shown = [each.interval if pairs == 1 or each.differs else (each.ratio, each.ratio) for _, each, pairs in found]
    values = [each.ratio for _, each, _ in found]
    solid = style.MARKERS[k % len(style.MARKERS)]
    return style.scatter(
        x=values,
        y=[rows.index(words.short(each)) + (k - (series + 1) / 2) * 0.62 / series for _, each, _ in found],
        name=f"{style.safe(named[k].full)}",
        mode="markers",
        error_x=style.error(values, [low for low, _ in shown], [high for _, high in shown], _colour(k)),
        marker={
            "color": _colour(k),
            "size": 9,
            "symbol": [solid if each.differs else f"{solid}-open" for _, each, _ in found],
            "line": {"width": 1.5},
        },
        customdata=[_hover(pair, each, named[k]) for pair, each, _ in found],
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=True,
        meta=f"run {named[k].letter}",
    )


def _hover(pair, each: Difference, label: Label) -> str:
    lines = [
        words.what(each),
        f"{style.safe(label.name)}: {names.device(pair.other.info.id)} over {names.device(pair.reference.info.id)}",
        f"{words.change(each.ratio or 1.0)} ({words.span(each)})",
        f"{each.basis}",
        words.verdict(each),
        *each.doubts,
    ]
    first, *rest = (style.safe(line) for line in lines)
    return "<br>".join([f"<b>{first}</b>", *rest])


def _marked(fig: go.Figure, named: Sequence[Label]) -> go.Figure:
    """Written across where all of it is simulated; where some is, the corner says which."""
    pretend = [label.letter for label in named if label.simulated]
    if len(pretend) == len(named):
        return style.mark(fig, True)
    if pretend:
        style.flag(fig, f"{', '.join(pretend)} simulated, not measured")
    return fig
