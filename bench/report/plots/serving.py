"""Serving in four figures: throughput against latency, operators under their roofs, what fits, and what overtakes what.

Filled marks rest on measured curves, open ones on a formula or on what is assumed.
"""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from bench import units
from bench.analysis.serving import records
from bench.analysis.serving.deployment import CACHE, Deployment
from bench.analysis.serving.machine import MEASURED
from bench.analysis.serving.step import Row, StepTime
from bench.report import names
from bench.report.plots import sweep, theme

# A reader's own choice is drawn over the first figure by serving.js, in the trace of this name.
OWN = "as chosen above"
_FAST = 30  # tokens/s per user, the pace that an attentive reader follows
_CONTEXT = "Context of every sequence (tokens)"


def label(name: str) -> str:
    """A format as people write it: "BF16", "INT4 (groups of 128)"."""
    head, dash, group = name.partition("-g")
    return f"{head.upper()} (groups of {group})" if dash else head.upper()


def formats(deployment: Deployment) -> str:
    """ "BF16 weights and KV", "FP8 weights, BF16 KV"."""
    weights, kv = deployment.formats
    return f"{label(weights)} weights and KV" if weights == kv else f"{label(weights)} weights, {label(kv)} KV"


def tokens(value: float) -> str:
    """A length on an axis: "512", "8k"."""
    return f"{value / 1024:g}k" if value >= 1024 else f"{value:g}"


def pareto(deployment: Deployment) -> go.Figure | None:
    """Tokens/s of the system over tokens/s of each user, a mark per batch; to the right and up is better."""
    lines = [each for each in deployment.beside() if each.curve]
    if not lines:
        return None
    users, systems = zip(*(pair for each in lines for pair in each.rates), strict=True)
    fig = theme.figure(440)
    fig.update_xaxes(theme.log_axis("Tokens/s per user", min(users) / 1.5, max(users) * 1.6, theme.plain))
    fig.update_yaxes(theme.log_axis("Tokens/s of the system", min(systems) / 1.6, max(systems) * 2))
    for number, each in enumerate(lines):
        hovers = [_hover(formats(each), batch, step) for batch, step in each.curve]
        marks = _marks(number, [step.origin for _, step in each.curve])
        _line(fig, formats(each), *zip(*each.rates, strict=True), hovers, number, theme.DASHES[number], symbol=marks)
    last = len(lines[0].curve) - 1
    for at, ((batch, _), place) in enumerate(zip(lines[0].curve, lines[0].rates, strict=True)):
        # every third batch has room for its name, and the last one
        if at == last or (at % 3 == 0 and at < last - 1):
            _note(fig, f"batch {batch}", *place, xanchor="right", xshift=-8, yanchor="top")
    if min(users) < _FAST < max(users):
        sweep.boundary(fig, _FAST, f"{_FAST} tokens/s")
    own = {"line": {"color": theme.INK, "width": 2.5}, "meta": "own", "showlegend": False}
    fig.add_trace(theme.line(OWN, [], [], theme.INK, **own))
    return fig.made()


def operators(deployment: Deployment) -> go.Figure:
    """Every operator with arithmetic at its intensity and at the rate that it is predicted to run at."""
    machine, steps = deployment.planner.machine, deployment.steps
    counted = {phase: [row for row in step.rows if row.operation.work.flops] for phase, step in steps.items()}
    places = [_place(row) for rows in counted.values() for row in rows]
    asked = [row.operation.work for rows in counted.values() for row in rows]
    roofs = {roof.key: roof for roof in (machine.compute(work.dtype, work.variant)[0] for work in asked)}
    tallest = max(roof.rate for roof in roofs.values())
    left = min(x for x, _ in places) / 2
    right = max(max(x for x, _ in places) * 2, tallest / machine.bandwidth * 4)
    bottom = min(y for _, y in places) / 2
    fig = theme.figure(460, margin={"l": 56, "r": 120, "t": 20, "b": 48})
    fig.update_xaxes(theme.log_axis("Arithmetic intensity (FLOP/B)", left, right, theme.plain))
    fig.update_yaxes(theme.log_axis("Performance (FLOP/s)", bottom, tallest * 2))
    slope = [max(left, bottom / machine.bandwidth), tallest / machine.bandwidth]
    _roof(fig, slope, [x * machine.bandwidth for x in slope], theme.MEMORY, 3)
    for roof in roofs.values():
        ends = [roof.rate / machine.bandwidth, right]
        _roof(fig, ends, [roof.rate] * 2, theme.COMPUTE, 3 if roof.rate == tallest else 1.6)
        text = f"{theme.safe(names.roof(roof.key))}<br>{units.rate_text(roof.rate, roof.key)}"
        look = {"yanchor": "middle", "xshift": 8, "align": "left", "name": "roof label"}
        _note(fig, text, right, roof.rate, theme.COMPUTE, **look)
    for number, (phase, rows) in enumerate(counted.items()):
        x, y = zip(*map(_place, rows), strict=True)
        hovers = [_operator(row, steps[phase], phase) for row in rows]
        symbols = _marks(number, [row.timed.origin for row in rows])
        _line(fig, phase, x, y, hovers, number, symbol=symbols, size=10, line={"width": 1.3})
        # what takes most is named
        heaviest = max(rows, key=lambda row: row.seconds)
        x, y = _place(heaviest)
        side = {"xanchor": "left", "xshift": 10} if x * x < left * right else {"xanchor": "right", "xshift": -10}
        _note(fig, heaviest.operation.name, x, y, theme.SERIES[number], yanchor="top", **side)
    return fig.made()


def capacity(deployment: Deployment) -> go.Figure | None:
    """The largest batch over context, by format; beside it the batch from which weights are worth their reading."""
    # a line that would lie on another is left out; the table has them all
    lengths, lines = deployment.lengths, records.capacities(deployment)
    if not lines:
        return None
    highest = max(max(most) for _, most in lines)
    fig = theme.figure(400)
    fig.update_xaxes(theme.log_axis(_CONTEXT, lengths[0] / 1.2, lengths[-1] * 1.2, tokens, base=2))
    fig.update_yaxes(theme.log_axis("Largest batch (sequences)", 0.8, highest * 1.5, theme.plain))
    for number, (each, batches) in enumerate(lines):
        name = formats(each)
        part = [(x, most) for x, most in zip(lengths, batches, strict=True) if most]
        hovers = [f"<b>{name}</b><br>{most} sequences of {tokens(x)} tokens" for x, most in part]
        _line(fig, name, *zip(*part, strict=True), hovers, number, theme.DASHES[number])
    if 1 < deployment.critical < highest:
        text = f"critical batch {deployment.critical:,.0f}: above it compute binds"
        sweep.level(fig, deployment.critical, text, theme.COMPUTE, "dash")
    return fig.made()


def crossovers(deployment: Deployment) -> go.Figure:
    """Seconds per step that weights and KV take over context, for one sequence and for many, and where they meet."""
    lengths, drawn = deployment.lengths, []
    fig = theme.figure(400, margin={"l": 72, "r": 16, "t": 20, "b": 48})
    for place, (what, batch, seconds) in enumerate(records.growing(deployment)):
        name, dash, shape = f"{what}, batch {batch}", *(("solid", "circle") if what == "KV" else ("dash", "square"))
        pairs = zip(lengths, seconds, strict=True)
        hovers = [f"<b>{name}</b><br>{tokens(length)} tokens: {units.seconds(value)}" for length, value in pairs]
        _line(fig, name, lengths, seconds, hovers, place // 2, dash, symbol=shape, size=6)
        drawn += seconds
        if what == "KV" and (met := deployment.meeting(batch)):
            y = deployment.seconds(CACHE, batch, met)
            look = {"symbol": "diamond-open", "size": 14, "color": theme.INK, "line": {"width": 2}}
            hovers = [f"batch {batch}: KV takes as long as the weights at {met} tokens"]
            fig.add_trace(theme.line("", [met], [y], theme.INK, hovers, mode="markers", marker=look, showlegend=False))
            _note(fig, f"{units.number(met)} tokens", met, y, xanchor="right", xshift=-10)
    fig.update_xaxes(theme.log_axis(_CONTEXT, lengths[0] / 1.2, lengths[-1] * 1.2, tokens, base=2))
    time = theme.log_axis("Time per step", min(drawn) / 1.5, max(drawn) * 1.5, lambda value: units.seconds(value, 1))
    fig.update_yaxes(time)
    return fig.made()


def _line(fig: theme.Drawing, name: str, xs: Any, ys: Any, hovers: Any, number: int, dash: str = "", **marker: Any):
    """One of the numbered lines, in its colour and with its marker; without a dash its marks alone."""
    colour = theme.SERIES[number]
    marker = {"color": colour, "size": 8, "symbol": theme.MARKERS[number]} | marker
    line, mode = {"color": colour, "width": 1.6, "dash": dash or "solid"}, "lines+markers" if dash else "markers"
    fig.add_trace(theme.line(name, xs, ys, colour, hovers, marker=marker, line=line, mode=mode))


def _roof(fig: theme.Drawing, x: Sequence[float], y: Sequence[float], colour: str, width: float) -> None:
    look = {"mode": "lines", "showlegend": False, "hoverinfo": "skip", "line": {"color": colour, "width": width}}
    fig.add_trace(theme.scatter(x=list(x), y=list(y), **look))


def _note(fig: theme.Drawing, text: str, x: float, y: float, colour: str = theme.INK, **place: Any) -> None:
    place = {"font": {"size": 12, "color": colour}} | place
    fig.add_annotation(theme.note(text, theme.log(x), theme.log(y), **place))


def _marks(number: int, origins: Sequence[str]) -> list[str]:
    """A marker per point: filled where it rests on a measured curve."""
    return [theme.symbol(theme.MARKERS[number], "valid" if each == MEASURED else "") for each in origins]


def _place(row: Row) -> tuple[float, float]:
    work = row.operation.work
    return work.flops / work.bytes, work.flops / row.timed.seconds


def _hover(name: str, batch: int, step: StepTime) -> str:
    token, system = units.seconds(step.seconds), units.number(batch / step.seconds)
    bound = _bound(step.limit, step.shares["fixed"], step.origin)
    return f"<b>{name}</b>, batch {batch}<br>{token} per token, {system} tokens/s in all<br>{bound}"


def _operator(row: Row, step: StepTime, phase: str) -> str:
    timed, part = row.timed, units.percent(row.seconds / step.seconds)
    times = f"{row.operation.count} × {units.seconds(timed.seconds)}, {part} of the step"
    return f"<b>{row.operation.name}</b>, {phase}<br>{times}<br>{_bound(timed.limit, timed.share, timed.origin)}"


def _bound(limit: str, fixed: float, origin: str) -> str:
    return f"{theme.safe(names.limiter(limit))}, {units.percent(fixed)} fixed<br>{origin}"
