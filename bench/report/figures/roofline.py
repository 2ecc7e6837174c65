"""The roofline: what this machine allows at every intensity, in a burst and under lasting load, what it did, and what
its datasheet claims.
"""

import math
from collections.abc import Iterator, Sequence

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import names
from bench.report.figures import style
from bench.report.figures.labels import labels
from bench.report.figures.points import flags, outside, points
from bench.report.figures.window import Window, ceilings, curve, extent, grid, leading, window
from bench.roofline import Roof, Roofline


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
        *_sustained(fit, frame),
        *_measured(fit, theory, frame),
        *_claimed(fit, theory, frame),
        *points(fit, rows, frame),
        *flags(rows, frame),
    ):
        fig.add_trace(trace)
    for trace in _ridges(fit, theory):
        fig.add_trace(trace)
    for label in (*labels(fit, theory, frame), *outside(rows, frame)):
        fig.add_annotation(label)
    return fig


def weak(fit: Fit, key: str) -> str:
    """Why a roof is drawn as doubtful, or ""."""
    fitted = fit.roofs[key]
    if fitted.winner.validity != "valid":
        return fitted.winner.validity
    return "" if fitted.roof.n >= 3 else f"only {fitted.roof.n} repetition{'s' if fitted.roof.n > 1 else ''}"


def _measured(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[go.Scatter]:
    memory, compute = ceilings(fit.roofline)
    for roof in (*memory, *compute):
        xs = grid(*extent(roof, memory, compute, frame))
        colour = style.COMPUTE if roof.is_compute else style.MEMORY
        if roof.key in leading(fit) and roof.high > roof.low * 1.01:
            band = [*curve(roof, xs, roof.low), *curve(roof, xs, roof.high)[::-1]]
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
            y=curve(roof, xs),
            mode="lines",
            showlegend=False,
            name=names.roof(roof.key),
            meta=f"roof {roof.key}",
            line={
                "color": colour,
                "width": 3.5 if roof.key in leading(fit) else 1.6,
                "dash": "dashdot" if doubt else "solid",
            },
            customdata=["<br>".join(hover)] * len(xs),
            hovertemplate="%{customdata}<extra></extra>",
        )
        if roof.key not in leading(fit) and xs:
            yield _whisker(roof, frame.right * 0.97 if roof.is_compute else frame.left * 1.06, colour)
    for name, dash, width in (("measured roof", "solid", 3), ("measured, doubtful", "dashdot", 2)):
        if any(bool(weak(fit, key)) == (dash == "dashdot") for key in fit.roofs):
            yield _key(name, {"color": style.COMPUTE, "width": width, "dash": dash})


def _sustained(fit: Fit, frame: Window) -> Iterator[go.Scatter]:
    """The roofs under lasting load, dotted: DRAM and arithmetic; what lies on its burst roof is drawn all the same."""
    if fit.sustained is None:
        return
    memory, compute = ceilings(fit.sustained.roofline)
    for roof in (*(roof for roof in memory if roof.key == "dram"), *compute):
        xs = grid(*extent(roof, memory, compute, frame))
        leads = roof.key in leading(fit)
        colour = style.COMPUTE if roof.is_compute else style.MEMORY
        hover = [
            f"<b>{names.roof(roof.key)}, sustained</b>",
            units.rate_text(roof.rate, roof.key),
            (
                f"{roof.estimate.kind}:"
                f" {units.between(roof.low, roof.high, lambda v, key=roof.key: units.rate_text(v, key))}"
            ),
            *_over_burst(fit, roof),
            *([f"clock {units.hertz(clock)}"] if (clock := fit.sustained.roofs[roof.key].winner.clock_hz) else []),
        ]
        yield go.Scatter(
            x=xs,
            y=curve(roof, xs),
            mode="lines",
            showlegend=False,
            name=f"{names.roof(roof.key)}, sustained",
            meta=f"sustained {roof.key}",
            opacity=1 if leads else 0.6,
            line={"color": colour, "width": 2.5 if leads else 1.2, "dash": "dot"},
            customdata=["<br>".join(hover)] * len(xs),
            hovertemplate="%{customdata}<extra></extra>",
        )
    yield _key("sustained roof", {"color": style.COMPUTE, "width": 2.5, "dash": "dot"})


def _over_burst(fit: Fit, lasting: Roof) -> list[str]:
    burst = fit.roofline.find(lasting.key)
    return [f"{units.percent(lasting.rate / burst.rate)} of burst"] if burst else []


def _whisker(roof: Roof, x: float, colour: str) -> go.Scatter:
    """The interval of a lesser roof, at its free end: bands of all of them would drown the figure."""
    value, low, high = (curve(roof, [x], rate)[0] for rate in (roof.rate, roof.low, roof.high))
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
    memory, compute = ceilings(theory)
    yield _key(
        names.claim(theory.roofs[0].evidence) if theory.roofs else "datasheet",
        {"color": style.THEORY, "width": 1.2, "dash": "dash"},
    )
    slopes = memory or ceilings(fit.roofline)[0]
    # shared memory and L1 have one data path and one claim
    distinct = {(roof.rate, roof.is_compute): roof for roof in (*memory, *compute)}
    for roof in distinct.values():
        xs = grid(*extent(roof, slopes, compute, frame))
        text = (
            f"<b>{names.quantity(roof.key)}</b>, {names.claim(roof.evidence)}<br>"
            f"{units.rate_text(roof.rate, roof.key, 4)}<br>{style.safe(roof.evidence[:90])}"
        )
        yield go.Scatter(
            x=xs,
            y=curve(roof, xs),
            mode="lines",
            showlegend=False,
            line={"color": style.THEORY, "width": 1.2, "dash": "dash"},
            opacity=(
                1 if roof.quantity in {name.rsplit(".", 1)[0] for name in leading(fit)} or not roof.is_compute else 0.45
            ),
            customdata=[text] * len(xs),
            hovertemplate="%{customdata}<extra></extra>",
            meta=f"theory {roof.key}",
        )


def _key(name: str, look: dict) -> go.Scatter:
    """A legend entry for a kind of line."""
    return go.Scatter(x=[None], y=[None], mode="lines", name=name, line=look)


def _ghost(fit: Fit, frame: Window, first: bool) -> go.Scatter:
    memory, compute = ceilings(fit.roofline)
    xs: list[float | None] = []
    ys: list[float | None] = []
    for roof in (*memory, *compute):
        if roof.key in leading(fit):
            ends = extent(roof, memory, compute, frame)
            xs, ys = [*xs, *ends, None], [*ys, *curve(roof, ends), None]
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
    lasting = fit.sustained.headline if fit.sustained else None
    if lasting and fit.sustained:
        value = lasting.estimate
        yield go.Scatter(
            x=[value.value],
            y=[fit.sustained.roofs[lasting.compute].roof.rate],
            mode="markers",
            name="ridge, sustained",
            marker={"symbol": "diamond-tall-open", "size": 14, "color": style.INK, "line": {"width": 1.8}},
            hovertemplate=(
                f"<b>ridge, sustained</b><br>{units.intensity(value.value)}<br>{value.kind}:"
                f" {units.between(value.low, value.high, units.intensity)}<extra></extra>"
            ),
            meta="ridge sustained",
        )
