"""The roofline: what this machine allows at every intensity, in a burst and under lasting load, what it did, and what
its datasheet claims.

A reader chooses what is drawn. Every trace has a name of its own in `meta`; layout.meta says of each which precision,
method, level, regime and probe it shows (`traces`), what can be chosen and what is at first (`selectors`), and how
labels and the ridge follow (`labels`, `ridges`, in order of preference). report.js reads all of it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit, RoofFit, Sustained
from bench.analysis.placed import Placed
from bench.report import names
from bench.report.figures import style
from bench.report.figures.labels import labels, notes
from bench.report.figures.points import Drawn, outside, placed, points
from bench.report.figures.window import (
    Facets,
    Window,
    ceilings,
    curve,
    extent,
    facets,
    grid,
    leading,
    level,
    links,
    window,
)
from bench.report.words import spread
from bench.roofline import Roof, Roofline
from bench.schema import SUSTAINED
from bench.stats import Estimate, estimate

_SIBLINGS, _BASELINE = "siblings", "baseline"
_TITLES = {
    "dtype": "Precision",
    "method": "Compute roofs by",
    "level": "Memory level",
    "regime": "Regime",
    "probe": "Points",
}
_LEVELS = {"host": "host link", "link": "NVLink"}


@dataclass(frozen=True)
class _Ridge:
    """Where two roofs meet (FLOP/B, FLOP/s). text: its label."""

    trace: str
    x: float
    y: float
    text: str
    memory: str


def roofline(
    fit: Fit,
    theory: Roofline | None,
    rows: pd.DataFrame,
    siblings: Sequence[Fit] = (),
    kernels: Sequence[Placed] = (),
    baseline: Fit | None = None,
) -> go.Figure | None:
    """None without a memory roof and a compute roof, measured or claimed."""
    frame = window(fit, theory)
    if frame is None:
        return None
    first = {kernel.kernel.work.dtype for kernel in kernels} | {fit.info.headline.split(".")[1], "float32"}
    ridges = list(_ridges(fit, theory, frame))
    drawn = [
        *(_ghost(other, frame, _SIBLINGS, "sibling GPUs", other is siblings[0]) for other in siblings),
        *([_ghost(baseline, frame, _BASELINE, "baseline Run", True)] if baseline else []),
        *_sustained(fit, frame, first),
        *_measured(fit, theory, frame, first),
        *_claimed(fit, theory, frame, first),
        *points(fit, rows, frame),
        *placed(kernels, frame),
        *(trace for trace, _ in ridges),
    ]
    selectors = _selectors(fit, theory, drawn, kernels, first)
    chosen = {each["side"]: [c["value"] for c in each["choices"] if c["on"]] for each in selectors}
    if "regime" in chosen:
        chosen["regime"] = [word for value in chosen["regime"] for word in value.split(" & ")]
    shown = {each.trace.meta for each in drawn if each.facets.within(chosen)}
    shown = _anchored(shown, [ridge for _, ridge in ridges])
    fig = style.figure(620, margin={"l": 56, "r": 208, "t": 20, "b": 48})
    fig.update_xaxes(style.log_axis("Arithmetic intensity (FLOP/B)", frame.left, frame.right, style.plain))
    fig.update_yaxes(style.log_axis("Performance (FLOP/s; OP/s for integers)", frame.bottom, frame.top))
    for key in _keys(fit, theory):
        fig.add_trace(key.trace)
    legends: set[str] = set()
    for each in drawn:
        kind, seen = each.facets.kind, each.trace.meta in shown
        # what is not drawn needs no entry, and of its kind the first speaks for all
        each.trace.update(visible=seen, showlegend=seen and kind not in legends and kind in _entries(each))
        legends |= {kind} if seen else set()
        fig.add_trace(each.trace)
    found = labels(fit, theory, frame)
    ridge = next((ridge for _, ridge in ridges if ridge.trace in shown), None)
    _zones(fig, ridge, frame)
    for note in (
        *notes(found, shown.__contains__, frame),
        *outside([each.trace for each in drawn if each.facets.probe and each.trace.meta in shown], frame),
    ):
        fig.add_annotation(note)
    fig.update_layout(
        meta={
            "traces": {each.trace.meta: asdict(each.facets) for each in (*drawn, *_keys(fit, theory))},
            "selectors": selectors,
            "isolates": _isolates(drawn),
            "labels": [asdict(label) for label in found],
            "ridges": [asdict(ridge) for _, ridge in ridges],
            "frame": asdict(frame),
        }
    )
    return fig


def _selectors(
    fit: Fit, theory: Roofline | None, drawn: Sequence[Drawn], kernels: Sequence[Placed], first: set[str]
) -> list[dict]:
    """What a reader may choose, and what is chosen at first: the headline's precision, float32 and what the reader's
    own kernels use; every level but the links; both regimes; every probe.
    """
    have = {side: list(dict.fromkeys(getattr(each.facets, side) for each in drawn)) for side in _TITLES}
    linked = {level(kernel.kernel.work.channel) for kernel in kernels}
    order = [*names.DTYPES, *sorted(have["dtype"])]
    choices = {
        "dtype": [
            _choice(dtype, names.dtype(dtype), dtype in first)
            for dtype in dict.fromkeys(order)
            if dtype in have["dtype"] and dtype
        ],
        "method": [
            _choice(method, names.claim(theory.roofs[0].evidence) if method == "datasheet" and theory else text)
            for method, text in sorted(names.METHODS.items())
            if method in have["method"]
        ],
        "level": [
            _choice(key, _LEVELS.get(key, names.channel(key)), key not in _LEVELS or key in linked)
            for key in _ordered(fit, have["level"])
        ],
        "regime": [
            _choice(f"burst & {SUSTAINED}", "both"),
            _choice("burst", "burst", False),
            _choice(SUSTAINED, SUSTAINED, False),
        ]
        if fit.sustained
        else [],
        "probe": [_choice(probe, probe) for probe in have["probe"] if probe],
    }
    return [
        {"side": side, "title": _TITLES[side], "one": side == "regime", "choices": given}
        for side, given in choices.items()
        if given
    ]


def _choice(value: str, text: str, on: bool = True) -> dict:
    return {"value": value, "text": text, "on": on}


def _ordered(fit: Fit, levels: Sequence[str]) -> list[str]:
    """Levels from the fastest on, links last."""
    rates = {level(roof.key): roof.rate for roof in fit.roofline.roofs if not roof.is_compute}
    return sorted(filter(None, levels), key=lambda key: (key in _LEVELS, -rates.get(key, 0.0)))


def _isolates(drawn: Sequence[Drawn]) -> list[str]:
    """What can be isolated: every kind of line, every roof, every question."""
    return sorted({name for each in drawn for name in (each.facets.kind, each.facets.group)} - {"above its roof"})


def _entries(each: Drawn) -> set[str]:
    """Kinds with a legend entry made by their own traces; kinds of roof have a key."""
    return {each.facets.kind} if each.facets.probe or each.trace.meta.startswith("ridge") else set()


def _anchored(shown: set[str], ridges: Sequence[_Ridge]) -> set[str]:
    """Without the ridges over other memories than that of the first one: a machine has many, a reader asks for one."""
    first = next((ridge for ridge in ridges if ridge.trace in shown), None)
    return shown - {ridge.trace for ridge in ridges if first and ridge.memory != first.memory}


def weak(fit: Fit, key: str) -> str:
    """Why a roof is drawn as doubtful, or ""."""
    fitted = fit.roofs[key]
    if fitted.winner.validity != "valid":
        return fitted.winner.validity
    return "" if fitted.roof.n >= 3 else f"only {fitted.roof.n} repetition{'s' if fitted.roof.n > 1 else ''}"


def _kind(fit: Fit, key: str) -> str:
    return "measured, doubtful" if weak(fit, key) else "measured roof"


def _keys(fit: Fit, theory: Roofline | None) -> Iterator[Drawn]:
    """Legend entries for kinds of line."""
    doubts = {_kind(fit, key) for key in fit.roofs}
    if "measured roof" in doubts:
        yield _key("measured roof", {"color": style.COMPUTE, "width": 3, "dash": "solid"})
    if "measured, doubtful" in doubts:
        yield _key("measured, doubtful", {"color": style.COMPUTE, "width": 2, "dash": "dashdot"})
    if fit.sustained:
        yield _key("sustained roof", {"color": style.COMPUTE, "width": 2.5, "dash": "dot"}, SUSTAINED)
    if theory and theory.roofs:
        name = names.claim(theory.roofs[0].evidence)
        yield _key(name, {"color": style.THEORY, "width": 1.2, "dash": "dash"}, method="datasheet")


def _key(name: str, look: dict, regime: str = "", method: str = "") -> Drawn:
    trace = go.Scatter(x=[None], y=[None], mode="lines", name=name, line=look, meta=f"key {name}", legendgroup=name)
    return Drawn(trace, Facets(name, name, regime=regime, method=method))


def _measured(fit: Fit, theory: Roofline | None, frame: Window, first: set[str]) -> Iterator[Drawn]:
    memory, compute = ceilings(fit.roofline)
    tops = _of(compute, first)
    for roof in (*memory, *compute, *links(fit.roofline)):
        xs = grid(*extent(roof, memory, tops, frame))
        colour = style.COMPUTE if roof.is_compute else style.MEMORY
        sides = facets(roof.key, _kind(fit, roof.key), fit.info.regime)
        if roof.key in leading(fit) and roof.high > roof.low * 1.01:
            band = [*curve(roof, xs, roof.low), *curve(roof, xs, roof.high)[::-1]]
            trace = go.Scatter(
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


def _sustained(fit: Fit, frame: Window, first: set[str]) -> Iterator[Drawn]:
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
        yield Drawn(trace.update(opacity=1 if leads else 0.6), facets(roof.key, "sustained roof", SUSTAINED))


def _of(compute: Sequence[Roof], dtypes: set[str]) -> Sequence[Roof]:
    """Those that are drawn at first, at which slopes end; report.js follows the reader from there."""
    return [roof for roof in compute if roof.key.split(".")[1] in dtypes] or compute


def _line(meta: str, name: str, roof: Roof, xs: list[float], look: dict, hover: Sequence[str]) -> go.Scatter:
    return go.Scatter(
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
        meta=f"interval {roof.key}",
    )


def _claimed(fit: Fit, theory: Roofline | None, frame: Window, first: set[str]) -> Iterator[Drawn]:
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
        yield Drawn(trace.update(opacity=1 if bold else 0.45), facets(roof.key, names.claim(roof.evidence)))


def _ghost(fit: Fit, frame: Window, probe: str, name: str, first: bool) -> Drawn:
    memory, compute = ([roof for roof in roofs if roof.key in leading(fit)] for roofs in ceilings(fit.roofline))
    xs: list[float | None] = []
    ys: list[float | None] = []
    for roof in (*memory, *compute):
        ends = extent(roof, memory, compute, frame)
        xs, ys = [*xs, *ends, None], [*ys, *curve(roof, ends), None]
    trace = go.Scatter(
        x=xs,
        y=ys,
        mode="lines",
        line={"color": style.MUTED, "width": 1 if probe == _SIBLINGS else 1.8},
        opacity=0.5,
        hoverinfo="skip",
        name=name,
        legendgroup=name,
        meta=f"{probe} {style.safe(fit.info.id)}",
    )
    return Drawn(trace, Facets(name, name, probe=probe))


def _ridges(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[tuple[Drawn, _Ridge]]:
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


def _ridge(fit: Fit, flat: Roof, slope: Roof, value: Estimate, regime: str) -> tuple[Drawn, _Ridge]:
    lasting = regime == SUSTAINED
    big = flat.key == fit.info.headline and slope.key == "dram"
    after = ", sustained" if lasting else ""
    said = (
        f"<b>ridge{after}</b> {names.roof(flat.key)} / {names.channel(slope.key)}<br>{units.intensity(value.value)}<br>"
        f"{value.kind}: {units.between(value.low, value.high, units.intensity)}"
    )
    shape = {"symbol": "diamond-tall-open", "size": 14 if big else 8, "line": {"width": 1.8}}
    name = f"ridge, {'sustained' if lasting else 'measured'}"
    trace = go.Scatter(
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
        _Ridge(trace.meta, value.value, flat.rate, text, slope.key),
    )


def _claimed_ridge(fit: Fit, flat: Roof, slope: Roof) -> tuple[Drawn, _Ridge]:
    big = fit.info.headline.startswith(flat.quantity) and slope.key == "dram"
    x = flat.rate / slope.rate
    trace = go.Scatter(
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
    return Drawn(trace, sides), _Ridge(trace.meta, x, flat.rate, text, slope.key)


def _zones(fig: go.Figure, ridge: _Ridge | None, frame: Window) -> None:
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
            line_width=0,
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
