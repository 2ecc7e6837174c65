"""Where roofs meet: ridge points with their intervals, and the zones on either side of the first of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench import units
from bench.analysis.fit import Fit, RoofFit, Sustained
from bench.report import names
from bench.report.figures import style
from bench.report.figures.points import Drawn
from bench.report.figures.window import (
    Window,
    ceilings,
    facets,
    level,
)
from bench.report.words import spread
from bench.roofline import Roof, Roofline
from bench.schema import SUSTAINED
from bench.stats import Estimate, estimate


@dataclass(frozen=True)
class Ridge:
    """Where two roofs meet (FLOP/B, FLOP/s). text: its label."""

    trace: str
    x: float
    y: float
    text: str
    memory: str


def ridges(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[tuple[Drawn, Ridge]]:
    """Every ridge that can be asked for, the one to lead with first: burst before sustained before claimed."""
    sides: list[tuple[str, Sustained | Fit]] = [(fit.info.regime, fit)]
    sides += [(SUSTAINED, fit.sustained)] if fit.sustained else []
    for regime, each in sides:
        memory, compute = ceilings(each.roofline)
        for slope in sorted(memory, key=lambda roof: (roof.key != "dram", roof.rate)):
            for flat in sorted(compute, key=lambda roof: (roof.key != fit.info.headline, -roof.rate)):
                value = _ratio(each.roofs[flat.key], each.roofs[slope.key])
                if value and frame.left < value.value < frame.right:
                    yield _ridge(fit, flat, slope, value, regime)
    memory, compute = ceilings(theory) if theory else ((), ())
    for slope in sorted(memory, key=lambda roof: (roof.key != "dram", roof.rate)):
        for flat in sorted(compute, key=lambda roof: (not fit.info.headline.startswith(roof.quantity), -roof.rate)):
            yield _claimed_ridge(fit, flat, slope)


def _ratio(compute: RoofFit, memory: RoofFit) -> Estimate | None:
    """Over the rounds that both were measured in."""
    both = sorted(compute.rates.keys() & memory.rates.keys())
    return estimate([compute.rates[r] / memory.rates[r] for r in both]) if both else None


def _ridge(fit: Fit, flat: Roof, slope: Roof, value: Estimate, regime: str) -> tuple[Drawn, Ridge]:
    lasting = regime == SUSTAINED
    big = flat.key == fit.info.headline and slope.key == "dram"
    after = ", sustained" if lasting else ""
    said = (
        f"<b>ridge{after}</b> {names.roof(flat.key)} / {names.channel(slope.key)}<br>{units.intensity(value.value)}<br>"
        f"{value.kind}: {units.between(value.low, value.high, units.intensity)}"
    )
    shape = {"symbol": "diamond-tall-open", "size": 14 if big else 8, "line": {"width": 1.8}}
    name = f"ridge, {'sustained' if lasting else 'measured'}"
    trace = style.scatter(
        x=[value.value],
        y=[flat.rate],
        mode="markers",
        name=name,
        legendgroup=name,
        error_x=style.error([value.value], [value.low], [value.high], style.INK),
        marker=(shape if lasting else {"symbol": "diamond", "size": 11 if big else 5}) | {"color": style.INK},
        hovertemplate=f"{said}<extra></extra>",
        meta=f"ridge {SUSTAINED if lasting else 'headline'}" if big else f"ridge {regime} {flat.key}/{slope.key}",
    )
    sides = facets(flat.key, name, regime)
    text = f"<b>ridge{after} {units.intensity(value.value)}</b><br>{spread(value, units.digits)}"
    return (
        Drawn(trace, replace(sides, level=level(slope.key))),
        Ridge(trace["meta"], value.value, flat.rate, text, slope.key),
    )


def _claimed_ridge(fit: Fit, flat: Roof, slope: Roof) -> tuple[Drawn, Ridge]:
    big = fit.info.headline.startswith(flat.quantity) and slope.key == "dram"
    x = flat.rate / slope.rate
    trace = style.scatter(
        x=[x],
        y=[flat.rate],
        mode="markers",
        name="ridge, datasheet",
        legendgroup="ridge, datasheet",
        marker={
            "symbol": "diamond-open",
            "size": 15 if big else 8,
            "color": style.THEORY,
            "line": {"width": 1.5 if big else 1},
        },
        hovertemplate=(
            f"ridge by the datasheet, {names.quantity(flat.key)} / {names.channel(slope.key)}<br>"
            f"{units.intensity(x)}<extra></extra>"
        ),
        meta=f"ridge datasheet {flat.key}/{slope.key}",
    )
    sides = replace(facets(flat.key, "ridge, datasheet"), level=level(slope.key))
    text = f"<b>ridge {units.intensity(x)}</b><br>by the datasheet"
    return Drawn(trace, sides), Ridge(trace["meta"], x, flat.rate, text, slope.key)


def zones(fig: style.Drawing, ridge: Ridge | None, frame: Window) -> None:
    """Left of the ridge a kernel waits for memory, right of it for arithmetic."""
    middle = ridge.x if ridge else math.sqrt(frame.left * frame.right)
    for x0, x1, colour, text in (
        (frame.left, middle, style.MEMORY, "memory-bound"),
        (middle, frame.right, style.COMPUTE, "compute-bound"),
    ):
        fig.add_shape(
            type="rect",
            x0=x0,
            x1=x1,
            y0=0,
            y1=1,
            yref="paper",
            line={"width": 0},
            fillcolor=colour,
            opacity=0.055,
            layer="below",
            name=text,
            visible=ridge is not None,
        )
        fig.add_annotation(
            style.note(
                text,
                style.log(math.sqrt(x0 * x1)),
                0.012,
                yref="paper",
                xanchor="center",
                font={"size": 12, "color": style.MUTED},
                name="zone",
                visible=ridge is not None,
            )
        )
    fig.add_annotation(
        style.note(
            ridge.text if ridge else "",
            style.log(middle),
            style.log(ridge.y if ridge else frame.top),
            xanchor="right",
            yanchor="bottom",
            align="right",
            name="ridge label",
            xshift=-10,
            yshift=4,
            visible=ridge is not None,
        )
    )


def claimed_ridge(fit: Fit | None, theory: Roofline | None) -> float | None:
    """The datasheet's headline ridge over DRAM (FLOP/B)."""
    quantity = fit.info.headline.rsplit(".", 1)[0] if fit else ""
    return theory.ridge(quantity) if theory and quantity in theory and "dram" in theory else None
