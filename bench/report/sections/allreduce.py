"""All-reduce: bus bandwidth of large arrays, and the latency of small ones with its tail."""

from functools import partial

import plotly.graph_objects as go

from bench import stats, units
from bench.analysis import tidy
from bench.analysis.selections import bus_bandwidth, plateau, reduction_lines, reductions
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, RunView, Sentences, of_claim, plot

GROUP = "Links"
# A tail quantile needs this many samples before it means anything.
TAIL = 100
_QUANTILES = {"p50": lambda s: stats.quantile(s, 0.5), "p99": lambda s: stats.quantile(s, 0.99), "max": max}


def findings(view: RunView) -> Sentences:
    seen = reductions(view.rows)
    if seen.empty:
        return
    (best, half), small = plateau(seen), seen.iloc[0]
    how = f"{units.bandwidth(best['bus'])} ({best['algorithm']}, {units.size(best['bytes'])})"
    share = of_claim(view, "link", best["bus"])
    yield f"{best['ranks']:.0f} ranks reach a bus bandwidth of {how}{share}."
    if len(small["samples"]) >= TAIL:
        p50, p99, worst = (units.seconds(of(small["samples"])) for of in _QUANTILES.values())
        what = f"{units.size(small['bytes'])} by {small['algorithm']}"
        yield f"{what} takes {p50} at p50, {p99} at p99, {worst} at worst of {len(small['samples']):,} samples."
    if half:
        yield f"Half of that bandwidth needs arrays of {units.size(half)}."


def notes(view: RunView) -> Sentences:
    found = reduction_lines(view.rows)
    if found and not view.roof("link"):
        yield "No algorithm here claims a link roof."
    for name, part, fitted in found:
        if not fitted:
            continue
        rate = units.bandwidth(bus_bandwidth(1.0, part["ranks"].iloc[0], 1 / fitted.beta))
        alpha, half = "no measurable latency", ""
        if fitted.alpha > 0:
            alpha, half = f"α = {units.seconds(fitted.alpha)}", f"; half of it from {units.size(fitted.half)} on"
        yield f"Line through all sizes of {name}: {alpha}, β = {rate} of bus bandwidth{half}."
        if fitted.misfit > 0.1:
            yield f"Sizes of {name} lie {units.percent(fitted.misfit, 2)} off that line: take it roughly."


def plots(view: RunView) -> Plots:
    caption = "2 (n−1)/n · size / time, for every algorithm alike. Thin dots: α + size / β."
    yield from plot("allreduce-0", "Bus bandwidth over the size of the array", bandwidth(view), caption)
    caption = "Over all samples of the last repetition."
    yield from plot("allreduce-1", "Latency of small all-reduces", latency(view), caption)


def bandwidth(view: RunView) -> go.Figure | None:
    """Bus bandwidth over the size of the array, a line per algorithm beside the one through its sizes."""
    traces = []
    for index, (name, part, fitted) in enumerate(reduction_lines(view.rows)):
        curve = sweep.curve(name, part, "bytes", "bus", index, dash=theme.DASHES[index % len(theme.DASHES)])
        if fitted:
            look = {"color": curve["line"]["color"], "width": 1, "dash": "dot"}
            bus = bus_bandwidth(part["bytes"], part["ranks"], part["bytes"].map(fitted.seconds))
            about = {"name": f"{theme.safe(name)}: α + size / β", "mode": "lines", "hoverinfo": "skip"}
            traces.append(theme.scatter(x=part["bytes"], y=bus, line=look, **about))
        traces.append(curve)
    if not traces:
        return None
    roofs = [("link, measured", roof)] if (roof := view.roof("link")) else []
    claims = [("datasheet, one direction", claim)] if (claim := view.claim("link")) else []
    return sweep.over_size("Array size", "Bus bandwidth (B/s)", traces, roofs, claims).made()


def latency(view: RunView) -> go.Figure | None:
    """Time of small all-reduces: median, 99th percentile where there are samples for it, and the slowest."""
    seen, traces = reductions(view.rows), []
    for index, (name, part) in enumerate(seen[seen["samples"].map(len) >= TAIL].groupby("algorithm")):
        for which, (word, of) in enumerate(_QUANTILES.items()):
            part = part.assign(time=part["samples"].map(of))
            hover = [
                f"<b>{theme.safe(name)} {word}</b> {units.size(row.bytes)}<br>"
                f"{units.seconds(row.time)}, {len(row.samples)} samples"
                for row in tidy.each(part)
            ]
            look = {"dash": theme.DASHES[which], "marker": theme.MARKERS[which], "opacity": 1 - 0.25 * which}
            traces.append(sweep.curve(f"{name} {word}", part, "bytes", "time", index, hover=hover, **look))
    if not traces:
        return None
    times = partial(theme.log_axis, "Time per all-reduce", text=partial(units.seconds, significant=1))
    return sweep.figure(traces, partial(theme.size_axis, "Array size"), times, height=360).made()
