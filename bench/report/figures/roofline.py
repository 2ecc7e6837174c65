"""The roofline: what this machine allows at every intensity, what it did, and what its datasheet claims."""

import math
from collections.abc import Iterator, Sequence

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import names
from bench.report.figures import style
from bench.report.figures.points import Window, flags, outside, points
from bench.report.words import spread
from bench.roofline import Roof, Roofline

# A GEMV in INT8 has 2 FLOP/B, STREAM's add 1/12: the frame starts a little below that on every machine.
_LEFT = 1 / 20
# The share of the frame's height that a label takes: roofs nearer than that share one.
_LABEL = 15 / 500
_STEPS = 24


def window(fit: Fit, theory: Roofline | None) -> Window | None:
    """None without a memory roof and a compute roof, measured or claimed."""
    memory, compute = _roofs(fit.roofline)
    claimed_memory, claimed_compute = _roofs(theory) if theory else ((), ())
    slopes = [roof.rate for roof in (*memory, *claimed_memory)]
    peaks = [roof.rate for roof in (*compute, *claimed_compute)]
    slow = next((roof.rate for roof in (*memory, *claimed_memory) if roof.key == "dram"), min(slopes, default=0.0))
    if not slopes or not peaks:
        return None
    # snapped outwards, so that two Runs of one machine have one frame and can be laid over each other
    return Window(_LEFT, _up(max(peaks) / slow * 20), 1 / _up(4 / (slow * _LEFT)), _up(max(peaks) * 1.8))


def _up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... from a value on."""
    decade = 10.0 ** math.floor(math.log10(value))
    return next(step * decade for step in (1, 2, 5, 10) if step * decade >= value * (1 - 1e-9))


def roofline(fit: Fit, theory: Roofline | None, rows: pd.DataFrame, siblings: Sequence[Fit] = ()) -> go.Figure | None:
    frame = window(fit, theory)
    if frame is None:
        return None
    fig = style.figure(600, margin={"l": 56, "r": 12, "t": 20, "b": 48})
    fig.update_xaxes(style.log_axis("Arithmetic intensity (FLOP/B)", frame.left, frame.right, style.plain))
    fig.update_yaxes(style.log_axis("Performance (FLOP/s; OP/s for integers)", frame.bottom, frame.top))
    _zones(fig, fit, theory, frame)
    for other in siblings:
        fig.add_trace(_ghost(other, frame, other is siblings[0]))
    for trace in (
        *_measured(fit, theory, frame),
        *_claimed(fit, theory, frame),
        *points(fit, rows, frame),
        *flags(rows, frame),
    ):
        fig.add_trace(trace)
    for trace in _ridges(fit, theory):
        fig.add_trace(trace)
    for label in (*_labels(fit, theory, frame), *outside(rows, frame)):
        fig.add_annotation(label)
    return fig


def _roofs(roofline: Roofline) -> tuple[tuple[Roof, ...], tuple[Roof, ...]]:
    """The memory roofs under which arithmetic is drawn, slowest first, and the compute roofs."""
    memory = [roof for roof in roofline.roofs if not roof.is_compute and roof.key not in ("link", "h2d", "d2h")]
    return tuple(sorted(memory, key=lambda roof: roof.rate)), tuple(roof for roof in roofline.roofs if roof.is_compute)


def _grid(low: float, high: float) -> list[float]:
    return [low * (high / low) ** (k / _STEPS) for k in range(_STEPS + 1)] if high > low else []


def _extent(roof: Roof, memory: Sequence[Roof], compute: Sequence[Roof], frame: Window) -> tuple[float, float]:
    """Where a roof binds: a slope up to the highest compute roof, a plateau from its ridge with DRAM on."""
    if roof.is_compute:
        slope = next((m.rate for m in memory if m.key == "dram"), max((m.rate for m in memory), default=0.0))
        return max(frame.left, roof.rate / slope if slope else frame.left), frame.right
    tallest = max((c.rate for c in compute), default=frame.top)
    return frame.left, min(frame.right, tallest / roof.rate)


def _curve(roof: Roof, xs: Sequence[float], rate: float | None = None) -> list[float]:
    rate = rate or roof.rate
    return [rate if roof.is_compute else rate * x for x in xs]


def weak(fit: Fit, key: str) -> str:
    """Why a roof is drawn as doubtful, or ""."""
    fitted = fit.roofs[key]
    if fitted.winner.validity != "valid":
        return fitted.winner.validity
    return "" if fitted.roof.n >= 3 else f"only {fitted.roof.n} repetition{'s' if fitted.roof.n > 1 else ''}"


def _leading(fit: Fit) -> set[str]:
    return {"dram", fit.info.headline}


def _measured(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[go.Scatter]:
    memory, compute = _roofs(fit.roofline)
    for roof in (*memory, *compute):
        xs = _grid(*_extent(roof, memory, compute, frame))
        colour = style.COMPUTE if roof.is_compute else style.MEMORY
        if roof.key in _leading(fit) and roof.high > roof.low * 1.01:
            band = [*_curve(roof, xs, roof.low), *_curve(roof, xs, roof.high)[::-1]]
            yield go.Scatter(
                x=[*xs, *xs[::-1]],
                y=band,
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=colour,
                opacity=0.1,
                hoverinfo="skip",
                showlegend=False,
                meta="band",
            )
        doubt = weak(fit, roof.key)
        claim = theory.find(roof.key) or theory.find(roof.quantity) if theory else None
        hover = [
            f"<b>{names.roof(roof.key)}</b>",
            f"measured {units.rate_text(roof.rate, roof.key)}",
            (
                f"{roof.estimate.kind}:"
                f" {units.between(roof.low, roof.high, lambda v, key=roof.key: units.rate_text(v, key))}"
            ),
            f"{units.percent(roof.rate / claim.rate)} of theory" if claim else "no theory for it",
            style.safe(roof.evidence.split(";")[0]),
            *([f"doubtful: {style.safe(doubt)}"] if doubt else []),
        ]
        yield go.Scatter(
            x=xs,
            y=_curve(roof, xs),
            mode="lines",
            showlegend=False,
            name=names.roof(roof.key),
            meta=f"roof {roof.key}",
            line={
                "color": colour,
                "width": 3.5 if roof.key in _leading(fit) else 1.6,
                "dash": "dashdot" if doubt else "solid",
            },
            customdata=["<br>".join(hover)] * len(xs),
            hovertemplate="%{customdata}<extra></extra>",
        )
        if roof.key not in _leading(fit) and xs:
            yield _whisker(roof, frame.right * 0.97 if roof.is_compute else frame.left * 1.06, colour)
    for name, dash, width in (("measured roof", "solid", 3), ("measured, doubtful", "dashdot", 2)):
        if any(bool(weak(fit, key)) == (dash == "dashdot") for key in fit.roofs):
            yield _key(name, {"color": style.COMPUTE, "width": width, "dash": dash})


def _whisker(roof: Roof, x: float, colour: str) -> go.Scatter:
    """The interval of a lesser roof, at its free end: bands of all of them would drown the figure."""
    value, low, high = (_curve(roof, [x], rate)[0] for rate in (roof.rate, roof.low, roof.high))
    return go.Scatter(
        x=[x],
        y=[value],
        mode="markers",
        marker={"size": 1, "color": colour},
        error_y=style.error([value], [low], [high], colour),
        hoverinfo="skip",
        showlegend=False,
        meta=f"interval {roof.key}",
    )


def _claimed(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[go.Scatter]:
    """The datasheet's side of the same quantities, dashed and thin on top, so that equal lines show as both."""
    if theory is None:
        return
    memory, compute = _roofs(theory)
    yield _key(
        names.claim(theory.roofs[0].evidence) if theory.roofs else "datasheet",
        {"color": style.THEORY, "width": 1.2, "dash": "dash"},
    )
    slopes = memory or _roofs(fit.roofline)[0]
    for roof in (*memory, *compute):
        xs = _grid(*_extent(roof, slopes, compute, frame))
        text = (
            f"<b>{names.quantity(roof.key)}</b>, {names.claim(roof.evidence)}<br>"
            f"{units.rate_text(roof.rate, roof.key, 4)}<br>{style.safe(roof.evidence[:90])}"
        )
        yield go.Scatter(
            x=xs,
            y=_curve(roof, xs),
            mode="lines",
            showlegend=False,
            line={"color": style.THEORY, "width": 1.2, "dash": "dash"},
            opacity=(
                1
                if roof.quantity in {name.rsplit(".", 1)[0] for name in _leading(fit)} or not roof.is_compute
                else 0.45
            ),
            customdata=[text] * len(xs),
            hovertemplate="%{customdata}<extra></extra>",
            meta=f"theory {roof.key}",
        )


def _key(name: str, look: dict) -> go.Scatter:
    """A legend entry for a kind of line."""
    return go.Scatter(x=[None], y=[None], mode="lines", name=name, line=look)


def _ghost(fit: Fit, frame: Window, first: bool) -> go.Scatter:
    memory, compute = _roofs(fit.roofline)
    xs: list[float | None] = []
    ys: list[float | None] = []
    for roof in (*memory, *compute):
        if roof.key in _leading(fit):
            ends = _extent(roof, memory, compute, frame)
            xs, ys = [*xs, *ends, None], [*ys, *_curve(roof, ends), None]
    return go.Scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"color": style.MUTED, "width": 1},
        opacity=0.5,
        hoverinfo="skip",
        name="sibling GPUs",
        legendgroup="siblings",
        showlegend=first,
        meta=f"sibling {style.safe(fit.info.id)}",
    )


def _zones(fig: go.Figure, fit: Fit, theory: Roofline | None, frame: Window) -> None:
    ridge = fit.headline.estimate.value if fit.headline else _claimed_ridge(fit, theory)
    if not ridge:
        return
    for x0, x1, colour, text in (
        (frame.left, ridge, style.MEMORY, "memory-bound"),
        (ridge, frame.right, style.COMPUTE, "compute-bound"),
    ):
        fig.add_shape(
            type="rect",
            x0=x0,
            x1=x1,
            y0=0,
            y1=1,
            yref="paper",
            line_width=0,
            fillcolor=colour,
            opacity=0.045,
            layer="below",
        )
        middle = math.sqrt(x0 * x1)
        fig.add_annotation(
            style.note(
                text,
                style.log(middle),
                0.012,
                yref="paper",
                xanchor="center",
                font={"size": 12, "color": style.MUTED},
                name="zone",
            )
        )


def _claimed_ridge(fit: Fit, theory: Roofline | None) -> float | None:
    quantity = fit.info.headline.rsplit(".", 1)[0]
    return theory.ridge(quantity) if theory and quantity in theory and "dram" in theory else None


def _ridges(fit: Fit, theory: Roofline | None) -> Iterator[go.Scatter]:
    claimed = _claimed_ridge(fit, theory)
    if claimed and theory:
        yield go.Scatter(
            x=[claimed],
            y=[theory.roof(fit.info.headline.rsplit(".", 1)[0]).rate],
            mode="markers",
            name="ridge, datasheet",
            marker={"symbol": "diamond-open", "size": 15, "color": style.THEORY, "line": {"width": 1.5}},
            hovertemplate=f"ridge by the datasheet<br>{units.intensity(claimed)}<extra></extra>",
        )
    for ridge in fit.ridges:
        value, big = ridge.estimate, ridge.headline
        text = (
            f"<b>ridge</b> {names.roof(ridge.compute)} /"
            f" {names.channel(ridge.memory)}<br>{units.intensity(value.value)}<br>{value.kind}:"
            f" {units.between(value.low, value.high, units.intensity)}"
        )
        yield go.Scatter(
            x=[value.value],
            y=[fit.roofs[ridge.compute].roof.rate],
            mode="markers",
            name="ridge, measured",
            showlegend=big,
            error_x=style.error([value.value], [value.low], [value.high], style.INK),
            marker={"symbol": "diamond", "size": 11 if big else 5, "color": style.INK},
            hovertemplate=f"{text}<extra></extra>",
            meta="ridge headline" if big else "ridge",
        )


def _labels(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[dict]:
    """Roofs named where they are: plateaus at the right end, slopes along the line (report.js turns those)."""
    memory, compute = _roofs(fit.roofline)
    for cluster in _clusters(compute, (frame.top / frame.bottom) ** _LABEL):
        # one of them states the number: the headline, or the highest, which the others stay below
        lead = next((roof for roof in cluster if roof.key in _leading(fit)), None)
        rate = (lead or cluster[-1]).rate
        ordered = sorted(cluster, key=lambda roof: roof is not lead)
        words = dict.fromkeys(names.dtype(roof.key.split(".")[1]) for roof in ordered)
        kinds = " / ".join(dict.fromkeys(names.METHODS.get(roof.method, roof.method) for roof in ordered))
        text = (
            f"{' · '.join(words)} {kinds}"
            f" {'≤ ' if len(cluster) > 1 and not lead else ''}{units.rate_text(rate, ordered[0].key)}"
        )
        # a claim just above would strike the words through: they stand above both lines
        claims = [theory.find(roof.quantity) for roof in cluster] if theory else []
        above = max([rate, *(claim.rate for claim in claims if claim and claim.rate < 1.5 * rate)])
        yield style.note(
            f"<b>{text}</b>" if lead else text,
            style.log(frame.right * 0.9),
            style.log(above),
            xanchor="right",
            name="roof label",
            font={"size": 12, "color": style.COMPUTE},
            bgcolor=style.PAPER,
            yshift=2,
        )
    for roof in memory or (_roofs(theory)[0] if theory else ()):
        left, right = _extent(roof, memory, compute, frame)
        x = left * (right / left) ** (0.3 if roof.key == "dram" else 0.2)
        text = f"{names.channel(roof.key)} {units.bandwidth(roof.rate)}"
        yield style.note(
            f"<b>{text}</b>" if roof.key == "dram" else text,
            style.log(x),
            style.log(roof.rate * x),
            xanchor="center",
            yanchor="bottom",
            name="slope label",
            font={"size": 12, "color": style.MEMORY},
        )
    ridge = fit.headline
    if ridge:
        value = ridge.estimate
        text = f"<b>ridge {units.intensity(value.value)}</b><br>{spread(value, units.digits)}"
        yield style.note(
            text,
            style.log(value.value),
            style.log(fit.roofs[ridge.compute].roof.rate),
            xanchor="right",
            yanchor="bottom",
            align="right",
            name="ridge label",
            xshift=-10,
            yshift=4,
        )


def _clusters(roofs: Sequence[Roof], near: float) -> list[list[Roof]]:
    """Roofs whose labels would lie on one another, together."""
    clusters: list[list[Roof]] = []
    for roof in sorted(roofs, key=lambda roof: roof.rate):
        if clusters and roof.rate <= clusters[-1][0].rate * near:
            clusters[-1].append(roof)
        else:
            clusters.append([roof])
    return clusters
