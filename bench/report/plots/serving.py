"""Serving in four figures: throughput against latency, operators under their roofs, what fits, and what overtakes what.

Filled marks rest on measured curves, open ones on a formula or on what is assumed.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis import names
from bench.analysis.serving import records
from bench.analysis.serving.machine import MEASURED
from bench.analysis.serving.records import CACHE, Deployment
from bench.report.plots import sweep, theme

_FAST = 30  # tokens/s per user, the pace that an attentive reader follows
_CONTEXT = "Context of every sequence (tokens)"
# What may bind and is no roof.
_LIMITS = ("memory", "user rate", "compute", "network", "ttft", "tpot", "latency")


def label(name: str) -> str:
    """A format as people write it: "BF16", "INT4 (groups of 128)"."""
    head, dash, group = name.partition("-g")
    return f"{head.upper()} (groups of {group})" if dash else head.upper()


def formats(deployment: Deployment) -> str:
    """ "BF16 weights and KV", "FP8 weights, BF16 KV"."""
    weights, kv = deployment.formats
    return f"{label(weights)} weights and KV" if weights == kv else f"{label(weights)} weights, {label(kv)} KV"


def bound(key: str) -> str:
    """The name of a roof, or the limit itself."""
    return "communication (link)" if key == "link" else names.terms(key) if key in _LIMITS else names.limiter(key)


def pareto(deployment: Deployment) -> go.Figure | None:
    """Tokens/s of the system over tokens/s of each user, a mark per batch; to the right and up is better. serving.js
    draws a reader's own choice over it.
    """
    lines = {formats(each): rows for each in deployment.beside() if len(rows := records.throughput(each))}
    if not lines:
        return None

    def told(row: Any) -> str:
        return f"batch {row.batch}<br>{units.seconds(row.tpot_s)} per token, {units.number(row.value)} tokens/s in all"

    traces = [
        _line(name, rows, "tokens_per_user", "value", number, told, dash=theme.DASHES[number])
        for number, (name, rows) in enumerate(lines.items())
    ]
    user = partial(theme.log_axis, "Tokens/s per user", text=theme.plain)
    fig = sweep.figure(traces, user, partial(theme.log_axis, "Tokens/s of the system"), height=440)
    first = next(iter(lines.values()))
    # every third batch has room for its name, and the last one
    for row in pd.concat([first[:-2:3], first[-1:]]).itertuples():
        look = {"xanchor": "right", "xshift": -8, "yanchor": "top"}
        _note(fig, f"batch {row.batch}", row.tokens_per_user, row.value, **look)
    users = pd.concat(lines.values())["tokens_per_user"]
    if users.min() < _FAST < users.max():
        sweep.boundary(fig, _FAST, f"{_FAST} tokens/s")
    return fig.made()


def operators(deployment: Deployment) -> go.Figure:
    """Every operator with arithmetic at its intensity and at the rate that it is predicted to run at."""
    machine = deployment.planner.machine
    rows = pd.DataFrame(records.operators(deployment)).dropna(subset="flops")
    rows = rows.assign(rate=rows["flops"] / rows["seconds"])
    multiplied = rows[["dtype", "variant"]].drop_duplicates().to_numpy()
    roofs = {roof.key: roof for roof, _ in (machine.compute(*each) for each in multiplied)}
    tallest = max(roof.rate for roof in roofs.values())
    ridge, bottom = tallest / machine.bandwidth, rows["rate"].min() / 2
    left, right = rows["intensity"].min() / 2, max(rows["intensity"].max() * 2, ridge * 4)
    x_axis = theme.log_axis("Arithmetic intensity (FLOP/B)", left, right, theme.plain)
    fig = theme.figure(460, x_axis, theme.log_axis("Performance (FLOP/s)", bottom, tallest * 2), margin={"r": 120})
    slope = [max(left, bottom / machine.bandwidth), ridge]
    _roof(fig, slope, [x * machine.bandwidth for x in slope], theme.MEMORY, 3)
    for roof in roofs.values():
        ends = [roof.rate / machine.bandwidth, right]
        _roof(fig, ends, [roof.rate] * 2, theme.COMPUTE, 3 if roof.rate == tallest else 1.6)
        text = f"{theme.safe(names.roof(roof.key))}<br>{units.rate_text(roof.rate, roof.key)}"
        look = {"yanchor": "middle", "xshift": 8, "align": "left", "name": "roof label"}
        _note(fig, text, right, roof.rate, theme.COMPUTE, **look)

    def told(row: Any) -> str:
        return f"{row.operator}<br>{row.count} × {units.seconds(row.seconds)}, {units.percent(row.part)} of the step"

    for number, (phase, part) in enumerate(rows.groupby("step", sort=False)):
        fig.add_trace(_line(phase, part, "intensity", "rate", number, told, mode="markers"))
        # what takes most is named
        name, x, y = part.loc[part["part"].idxmax(), ["operator", "intensity", "rate"]]
        side = {"xanchor": "left", "xshift": 10} if x * x < left * right else {"xanchor": "right", "xshift": -10}
        _note(fig, name, x, y, theme.SERIES[number], yanchor="top", **side)
    return fig.made()


def capacity(deployment: Deployment) -> go.Figure | None:
    """The largest batch over context, by format; beside it the batch from which weights are worth their reading."""
    # a line that would lie on another is left out; the table has them all
    found = records.capacities(deployment)
    if not found:
        return None
    lengths, highest = deployment.lengths, max(rows["batch"].max() for _, rows in found)
    x_axis = theme.log_axis(_CONTEXT, lengths[0] / 1.2, lengths[-1] * 1.2, theme.plain, base=2)
    fig = theme.figure(400, x_axis, theme.log_axis("Largest batch (sequences)", 0.8, highest * 1.5, theme.plain))
    for number, (each, rows) in enumerate(found):
        name, fitting = formats(each), rows[rows["batch"] > 0].assign(validity="valid")
        hover = [f"<b>{name}</b><br>{row.batch} sequences of {row.context:,} tokens" for row in fitting.itertuples()]
        fig.add_trace(sweep.curve(name, fitting, "context", "batch", number, dash=theme.DASHES[number], hover=hover))
    if 1 < deployment.critical < highest:
        text = f"critical batch {deployment.critical:,.0f}: above it compute binds"
        sweep.level(fig, deployment.critical, text, theme.COMPUTE, "dash")
    return fig.made()


def crossovers(deployment: Deployment) -> go.Figure:
    """Seconds per step that KV and weights take over context, for one sequence and for many, and where they meet."""
    found = records.growing(deployment)
    lines = {f"{what}, batch {batch}": rows.assign(validity="valid") for what, batch, rows in found}
    weights = [name for name in lines if name.startswith("weights")]
    fig = sweep.sweep(lines, "context", "seconds", sweep.SECONDS, _CONTEXT, "Time per step", dashed=weights)
    fig.update_traces(hovertemplate="<b>%{fullData.name}</b><br>%{x:,} tokens: %{y:.3s}s<extra></extra>")
    for batch in dict.fromkeys(batch for _, batch, _ in found):
        if met := deployment.meeting(batch):
            y = deployment.seconds(CACHE, batch, met)
            look = {"symbol": "diamond-open", "size": 14, "color": theme.INK, "line": {"width": 2}}
            hover = [f"batch {batch}: KV takes as long as the weights at {met} tokens"]
            fig.add_trace(theme.line("", [met], [y], theme.INK, hover, mode="markers", marker=look, showlegend=False))
            _note(fig, f"{units.number(met)} tokens", met, y, xanchor="right", xshift=-10)
    return fig


def _line(
    name: str, rows: pd.DataFrame, x: str, y: str, number: int, said: Callable[[Any], str], **look: Any
) -> dict[str, Any]:
    """A mark stands open where it rests on no measured curve. said: what its hover says of a row."""
    hover = [
        f"<b>{name}</b>, {said(row)}<br>"
        f"{theme.safe(bound(row.bound))}, {units.percent(row.fixed)} fixed<br>{row.origin}"
        for row in rows.itertuples()
    ]
    measured = rows["origin"].eq(MEASURED).map({True: "valid", False: ""})
    return sweep.curve(name, rows.assign(validity=measured), x, y, number, hover=hover, **look)


def _roof(fig: theme.Drawing, x: Sequence[float], y: Sequence[float], colour: str, width: float) -> None:
    look = {"mode": "lines", "showlegend": False, "hoverinfo": "skip", "line": {"color": colour, "width": width}}
    fig.add_trace(theme.scatter(x=x, y=y, **look))


def _note(fig: theme.Drawing | go.Figure, text: str, x: float, y: float, *colour: str, **place: Any) -> None:
    fig.add_annotation(theme.note(text, theme.log(x), theme.log(y), *colour, **place))
