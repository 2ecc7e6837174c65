"""The FMA sweep: performance over arithmetic intensity, the knee of its own, and the ridge beside it."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from bench import units
from bench.analysis import names
from bench.analysis.selections import intensities, loop_ridge
from bench.report.phrases import listed, many, spread
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, RunView, Sentences, plot

GROUP = "Compute"


def findings(view: RunView) -> Sentences:
    knees, seen = view.fit.knees, intensities(view.rows)
    if not knees:
        yield f"No knee: it needs six points of the same repetition, of {many(len(seen), 'point')} with a time."
        return
    for dtype, knee in knees.items():
        name, value = names.dtype(dtype), knee.intensity
        yield f"The {name} FMA sweep bends at {units.intensity(value.value)} ({spread(value, units.digits)})."
        if ridge := loop_ridge(view.fit, dtype):
            other, off = ridge.estimate, units.percent(abs(value.value / ridge.estimate.value - 1), 2)
            meet = "overlap" if value.low <= other.high and value.high >= other.low else "do not meet"
            meet = f", intervals {meet}" * (min(value.n, other.n) > 1)
            beside = f"{units.intensity(other.value)}: {off} off{meet}"
            yield f"{name} peak over bandwidth, measured separately, is {beside}."
        corner = f"rounded corner, p = {units.digits(knee.sharpness, 2)}" if knee.sharpness < 1e3 else "sharp corner"
        below, above = units.bandwidth(knee.memory), units.flops(knee.compute)
        yield f"Below the {name} knee memory binds at {below}, above it arithmetic at {above}; {corner}."
    if few := [names.dtype(dtype) for dtype in seen["dtype"].unique() if dtype not in knees]:
        yield f"Too few points for a knee: {listed(few)}."


def plots(view: RunView) -> Plots:
    """The sweep per dtype with its asymptotes, its knee and the ridge of separate roofs; float32 is shown at first."""
    seen, traces = intensities(view.rows), []
    if seen.empty:
        return
    shown = sorted(seen["dtype"].unique(), key=lambda dtype: (dtype != "float32", dtype))
    for index, dtype in enumerate(shown):
        about = {"legendgroup": theme.safe(dtype), "visible": "legendonly" if index else True}
        traces += [trace | about for trace in _dtype_traces(view, dtype, seen[seen["dtype"] == dtype], index)]
    over = partial(theme.log_axis, "Arithmetic intensity (FLOP/B)", text=theme.plain)
    fig = sweep.figure(traces, over, partial(theme.log_axis, "Performance (FLOP/s)"))
    if knee := view.fit.knees.get(shown[0]):
        text = f"<b>{theme.safe(names.dtype(shown[0]))} knee {units.intensity(knee.intensity.value)}</b>"
        look = {"xanchor": "right", "xshift": -8, "name": "knee", "font": {"size": 12, "color": theme.SERIES[0]}}
        fig.add_annotation(theme.note(text, theme.log(knee.intensity.value), theme.log(knee.compute), **look))
    caption = "Thin lines: the two asymptotes fitted to a dtype. Bars: intervals. Other dtypes: by the legend."
    yield from plot("intensity-0", "Performance over arithmetic intensity", fig.made(), caption)


def _dtype_traces(view: RunView, dtype: str, part: pd.DataFrame, index: int) -> Iterator[dict]:
    name, marks = theme.safe(names.dtype(dtype)), []
    low, high = part["intensity"].min() / 1.5, part["intensity"].max() * 1.5
    curve = sweep.curve(f"{names.dtype(dtype)} FMA sweep", part, "intensity", "flop_rate", index, mode="markers")
    colour, dash = curve["line"]["color"], theme.DASHES[index % len(theme.DASHES)]
    yield curve
    if knee := view.fit.knees.get(dtype):
        ends = {"x": [low, knee.intensity.value, high], "y": [knee.memory * low, knee.compute, knee.compute]}
        look = {"line": {"color": colour, "width": 1.2, "dash": dash}, "hoverinfo": "skip", "showlegend": False}
        yield theme.scatter(mode="lines", name=f"{name} asymptotes", **ends, **look)
        marks.append((f"{name} knee", knee.intensity, knee.compute, "line-ns-open", colour))
    ridge = loop_ridge(view.fit, dtype)
    if ridge and low < ridge.estimate.value < high:
        rate = view.fit.roofs[ridge.compute].roof.rate
        marks.append((f"{name} ridge: loop / DRAM", ridge.estimate, rate, "diamond-open", theme.INK))
    for what, value, rate, symbol, look in marks:
        text = f"<b>{what}</b><br>{units.intensity(value.value)}<br>{spread(value, units.digits)}<extra></extra>"
        span = theme.error([value.value], [value.low], [value.high], look)
        marker = {"symbol": symbol, "size": 11, "color": look, "line": {"width": 1.5}}
        about = {"name": what, "mode": "markers", "marker": marker, "error_x": span, "hovertemplate": text}
        yield theme.scatter(x=[value.value], y=[rate], **about)
