"""Roofs as lines: measured, under lasting load, claimed, and those of siblings and of a baseline."""

from collections.abc import Iterator, Sequence

from bench import units
from bench.analysis.fit import Fit
from bench.report import names
from bench.report.figures import style
from bench.report.figures.points import Drawn
from bench.report.figures.window import (
    Facets,
    Window,
    ceilings,
    curve,
    extent,
    facets,
    grid,
    leading,
    links,
)
from bench.roofline import Roof, Roofline
from bench.schema import SUSTAINED

SIBLINGS, BASELINE = "siblings", "baseline"


def weak(fit: Fit, key: str) -> str:
    """Why a roof is drawn as doubtful, or ""."""
    fitted = fit.roofs[key]
    if fitted.winner.validity != "valid":
        return fitted.winner.validity
    return "" if fitted.roof.n >= 3 else f"only {fitted.roof.n} repetition{'s' if fitted.roof.n > 1 else ''}"


def kind(fit: Fit, key: str) -> str:
    return "measured, doubtful" if weak(fit, key) else "measured roof"


def measured(fit: Fit, theory: Roofline | None, frame: Window, first: set[str]) -> Iterator[Drawn]:
    memory, compute = ceilings(fit.roofline)
    tops = _of(compute, first)
    for roof in (*memory, *compute, *links(fit.roofline)):
        xs = grid(*extent(roof, memory, tops, frame))
        colour = style.COMPUTE if roof.is_compute else style.MEMORY
        sides = facets(roof.key, kind(fit, roof.key), fit.info.regime)
        if roof.key in leading(fit) and roof.high > roof.low * 1.01:
            band = [*curve(roof, xs, roof.low), *curve(roof, xs, roof.high)[::-1]]
            trace = style.scatter(
                x=[*xs, *xs[::-1]],
                y=band,
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=colour,
                opacity=0.1,
                hoverinfo="skip",
                meta=f"band {roof.key}",
            )
            yield Drawn(trace, sides)
        doubt = weak(fit, roof.key)
        claim = theory.find(roof.key) or theory.find(roof.quantity) if theory else None
        clock = fit.roofs[roof.key].winner.clock_hz
        hover = [
            f"<b>{names.roof(roof.key)}</b>",
            f"measured {units.rate_text(roof.rate, roof.key)}",
            _interval(roof),
            f"{units.percent(roof.rate / claim.rate)} of theory" if claim else "no theory for it",
            ", ".join([*([f"clock {units.hertz(clock)}"] if clock else []), fit.info.regime]),
            style.safe(roof.evidence.split(";")[0]),
            *([f"doubtful: {style.safe(doubt)}"] if doubt else []),
        ]
        look = {
            "color": colour,
            "width": 3.5 if roof.key in leading(fit) else 1.6,
            "dash": "dashdot" if doubt else "solid",
        }
        yield Drawn(_line(f"roof {roof.key}", names.roof(roof.key), roof, xs, look, hover), sides)
        if roof.key not in leading(fit) and xs:
            yield Drawn(_whisker(roof, frame.right * 0.97 if roof.is_compute else xs[0] * 1.06, colour), sides)


def sustained(fit: Fit, frame: Window, first: set[str]) -> Iterator[Drawn]:
    """The roofs under lasting load, dotted; what lies on its burst roof is drawn all the same."""
    if fit.sustained is None:
        return
    memory, compute = ceilings(fit.sustained.roofline)
    for roof in (*memory, *compute):
        leads = roof.key in leading(fit)
        clock = fit.sustained.roofs[roof.key].winner.clock_hz
        hover = [
            f"<b>{names.roof(roof.key)}, sustained</b>",
            units.rate_text(roof.rate, roof.key),
            _interval(roof),
            *_over_burst(fit, roof),
            *([f"clock {units.hertz(clock)}"] if clock else []),
        ]
        look = {
            "color": style.COMPUTE if roof.is_compute else style.MEMORY,
            "width": 2.5 if leads else 1.2,
            "dash": "dot",
        }
        name = f"{names.roof(roof.key)}, sustained"
        xs = grid(*extent(roof, memory, _of(compute, first), frame))
        trace = _line(f"sustained {roof.key}", name, roof, xs, look, hover)
        yield Drawn(trace | {"opacity": 1 if leads else 0.6}, facets(roof.key, "sustained roof", SUSTAINED))


def _of(compute: Sequence[Roof], dtypes: set[str]) -> Sequence[Roof]:
    """Those that are drawn at first, at which slopes end; report.js follows the reader from there."""
    return [roof for roof in compute if roof.key.split(".")[1] in dtypes] or compute


def _line(meta: str, name: str, roof: Roof, xs: list[float], look: dict, hover: Sequence[str]) -> dict:
    return style.scatter(
        x=xs,
        y=curve(roof, xs),
        mode="lines",
        name=name,
        meta=meta,
        line=look,
        customdata=["<br>".join(hover)] * len(xs),
        hovertemplate="%{customdata}<extra></extra>",
    )


def _interval(roof: Roof) -> str:
    kind = roof.estimate.kind
    return f"{kind}: {units.between(roof.low, roof.high, lambda value: units.rate_text(value, roof.key))}"


def _over_burst(fit: Fit, lasting: Roof) -> list[str]:
    burst = fit.roofline.find(lasting.key)
    return [f"{units.percent(lasting.rate / burst.rate)} of burst"] if burst else []


def _whisker(roof: Roof, x: float, colour: str) -> dict:
    """The interval of a lesser roof, at its free end: bands of all of them would drown the figure."""
    value, low, high = (curve(roof, [x], rate)[0] for rate in (roof.rate, roof.low, roof.high))
    return style.scatter(
        x=[x],
        y=[value],
        mode="markers",
        marker={"size": 1, "color": colour},
        error_y=style.error([value], [low], [high], colour),
        hoverinfo="skip",
        meta=f"interval {roof.key}",
    )


def claimed(fit: Fit, theory: Roofline | None, frame: Window, first: set[str]) -> Iterator[Drawn]:
    """The datasheet's side of the same quantities, dashed and thin on top, so that equal lines show as both."""
    if theory is None:
        return
    memory, compute = ceilings(theory)
    slopes = memory or ceilings(fit.roofline)[0]
    lead = {name.rsplit(".", 1)[0] for name in leading(fit)}
    for roof in (*memory, *compute, *links(theory)):
        hover = (
            f"<b>{names.quantity(roof.key)}</b>, {names.claim(roof.evidence)}",
            units.rate_text(roof.rate, roof.key, 4),
            style.safe(roof.evidence[:90]),
        )
        look = {"color": style.THEORY, "width": 1.2, "dash": "dash"}
        xs = grid(*extent(roof, slopes, _of(compute, first), frame))
        trace = _line(f"theory {roof.key}", names.quantity(roof.key), roof, xs, look, hover)
        bold = roof.quantity in lead or not roof.is_compute
        yield Drawn(trace | {"opacity": 1 if bold else 0.45}, facets(roof.key, names.claim(roof.evidence)))


def ghost(fit: Fit, frame: Window, probe: str, name: str, first: bool) -> Drawn:
    memory, compute = ([roof for roof in roofs if roof.key in leading(fit)] for roofs in ceilings(fit.roofline))
    xs: list[float | None] = []
    ys: list[float | None] = []
    for roof in (*memory, *compute):
        ends = extent(roof, memory, compute, frame)
        xs, ys = [*xs, *ends, None], [*ys, *curve(roof, ends), None]
    trace = style.scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"color": style.MUTED, "width": 1 if probe == SIBLINGS else 1.8},
        opacity=0.5,
        hoverinfo="skip",
        name=name,
        legendgroup=name,
        meta=f"{probe} {style.safe(fit.info.id)}",
    )
    return Drawn(trace, Facets(name, name, probe=probe))
