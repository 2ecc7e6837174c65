"""Serving in four figures: throughput against latency, operators under their roofs, what fits, and what overtakes what.

Filled marks rest on measured curves, open ones on a formula or on what is assumed.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import plotly.graph_objects as go

from bench import units
from bench.analysis.serving.latency import candidates
from bench.analysis.serving.machine import MEASURED
from bench.analysis.serving.step import Row, StepTime
from bench.report import names
from bench.report.figures import style
from bench.report.serving.deployment import Chosen, served

# A reader's own choice is drawn over these by controls.js, in the trace of this name.
OWN = "as chosen above"
_FAST = 30  # tokens/s per user, the pace that an attentive reader follows


def _marker(shape: str, origin: str) -> str:
    return style.symbol(shape, "valid" if origin == MEASURED else "")


def pareto(chosen: Chosen) -> go.Figure | None:
    """Tokens/s of the system over tokens/s of each user, a mark per batch; to the right and up is better."""
    lines = [(each, curve(each)) for each in chosen.beside() if each.fits.batch]
    if not lines:
        return None
    users = [1 / step.seconds for _, steps in lines for _, step in steps]
    systems = [batch / step.seconds for _, steps in lines for batch, step in steps]
    fig = style.figure(440)
    fig.update_xaxes(style.log_axis("Tokens/s per user", min(users) / 1.5, max(users) * 1.6, style.plain))
    fig.update_yaxes(style.log_axis("Tokens/s of the system", min(systems) / 1.6, max(systems) * 2))
    for number, (each, steps) in enumerate(lines):
        hover = [
            f"<b>{served(each.weights, each.kv)}</b>, batch {batch}<br>{units.seconds(step.seconds)} per token, "
            f"{units.number(batch / step.seconds)} tokens/s in all<br>"
            f"{names.limiter(step.limit)}, {units.percent(step.shares['fixed'])} fixed<br>{step.origin}"
            for batch, step in steps
        ]
        colour, shape = style.SERIES[number], style.MARKERS[number]
        fig.add_trace(
            style.line(
                served(each.weights, each.kv),
                [1 / step.seconds for _, step in steps],
                [batch / step.seconds for batch, step in steps],
                colour,
                hover,
                line={"color": colour, "width": 1.6, "dash": style.DASHES[number]},
                marker={"color": colour, "size": 8, "symbol": [_marker(shape, step.origin) for _, step in steps]},
            )
        )
    marks = lines[0][1]
    for index, (batch, step) in enumerate(marks):
        if index == len(marks) - 1 or (index % 3 == 0 and index < len(marks) - 2):
            place = {"x": style.log(1 / step.seconds), "y": style.log(batch / step.seconds)}
            fig.add_annotation(style.note(f"batch {batch}", **place, xanchor="right", xshift=-8, yanchor="top"))
    if min(users) < _FAST < max(users):
        fig.add_vline(_FAST, line={"color": style.MUTED, "width": 1, "dash": "dot"})
        where = {"x": style.log(_FAST), "y": 0.02, "yref": "paper", "xshift": 4}
        fig.add_annotation(style.note(f"{_FAST} tokens/s", **where, font={"size": 12, "color": style.MUTED}))
    own = style.line(OWN, [], [], style.INK, line={"color": style.INK, "width": 2.5}, meta="own", showlegend=False)
    fig.add_trace(own)
    return fig.made()


def curve(chosen: Chosen) -> list[tuple[int, StepTime]]:
    """(batch, its decode step) over the batches that fit."""
    return [(batch, chosen.planner.decode(batch, chosen.context)) for batch in candidates(chosen.fits.batch)]


def steps(chosen: Chosen) -> dict[str, StepTime]:
    """The three steps that tell most: a token for one, tokens for many, and a prompt."""
    planner, prompt = chosen.planner, chosen.planner.request.prompt
    found = {"decode, batch 1": planner.decode(1, chosen.context)}
    if chosen.batch > 1:
        found[f"decode, batch {chosen.batch}"] = planner.decode(chosen.batch, chosen.context)
    return found | {f"prefill of {prompt} tokens": planner.prefill(prompt)}


def operators(chosen: Chosen) -> go.Figure:
    """Every operator with arithmetic at its intensity and at the rate that it is predicted to run at."""
    machine, asked = chosen.planner.machine, steps(chosen)
    rows = [row for step in asked.values() for row in _counted(step)]
    places = [_place(row) for row in rows]
    roofs = {}
    for row in rows:
        roof, _ = machine.compute(row.operation.work.dtype, row.operation.work.variant)
        roofs[roof.key] = roof
    left, right = min(x for x, _ in places) / 2, max(max(x for x, _ in places) * 2, _last(roofs, machine) * 4)
    bottom, top = min(y for _, y in places) / 2, max(roof.rate for roof in roofs.values()) * 2
    fig = style.figure(460, margin={"l": 56, "r": 120, "t": 20, "b": 48})
    fig.update_xaxes(style.log_axis("Arithmetic intensity (FLOP/B)", left, right, style.plain))
    fig.update_yaxes(style.log_axis("Performance (FLOP/s)", bottom, top))
    tallest = max(roof.rate for roof in roofs.values())
    ends = [max(left, bottom / machine.bandwidth), tallest / machine.bandwidth]
    look = {"mode": "lines", "showlegend": False, "hoverinfo": "skip"}
    fig.add_trace(
        style.scatter(x=ends, y=[x * machine.bandwidth for x in ends], line={"color": style.MEMORY, "width": 3}, **look)
    )
    for roof in roofs.values():
        line = {"color": style.COMPUTE, "width": 3 if roof.rate == tallest else 1.6}
        fig.add_trace(style.scatter(x=[roof.rate / machine.bandwidth, right], y=[roof.rate] * 2, line=line, **look))
        text = f"{names.quantity(roof.key)}<br>{units.rate_text(roof.rate, roof.key)}"
        place = {"x": style.log(right), "y": style.log(roof.rate), "yanchor": "middle", "xshift": 8}
        fig.add_annotation(
            style.note(text, **place, align="left", font={"size": 12, "color": style.COMPUTE}, name="roof label")
        )
    for number, (phase, step) in enumerate(asked.items()):
        counted = _counted(step)
        colour, shape = style.SERIES[number], style.MARKERS[number]
        fig.add_trace(
            style.scatter(
                name=phase,
                x=[_place(row)[0] for row in counted],
                y=[_place(row)[1] for row in counted],
                mode="markers",
                marker={
                    "color": colour,
                    "size": 10,
                    "symbol": [_marker(shape, row.timed.origin) for row in counted],
                    "line": {"width": 1.3},
                },
                customdata=[_operator(row, step, phase) for row in counted],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
        # what takes most is named
        heaviest = max(counted, key=lambda row: row.seconds)
        x, y = _place(heaviest)
        side = {"xanchor": "left", "xshift": 10} if x * x < left * right else {"xanchor": "right", "xshift": -10}
        where = {"x": style.log(x), "y": style.log(y), "yanchor": "top"} | side
        fig.add_annotation(style.note(heaviest.operation.name, **where, font={"size": 12, "color": colour}))
    return fig.made()


def _counted(step: StepTime) -> list[Row]:
    return [row for row in step.rows if row.operation.work.flops]


def _place(row: Row) -> tuple[float, float]:
    work = row.operation.work
    return work.flops / work.bytes, work.flops / row.timed.seconds


def _last(roofs: dict, machine) -> float:
    return max(roof.rate for roof in roofs.values()) / machine.bandwidth


def _operator(row: Row, step: StepTime, phase: str) -> str:
    timed = row.timed
    return (
        f"<b>{row.operation.name}</b>, {phase}<br>{row.operation.count} × {units.seconds(timed.seconds)}, "
        f"{units.percent(row.seconds / step.seconds)} of the step<br>{names.limiter(timed.limit)}, "
        f"{units.percent(timed.share)} fixed<br>{timed.origin}"
    )


def lengths(chosen: Chosen) -> list[int]:
    """Powers of two up to what the model takes."""
    return [1 << power for power in range(8, 21) if 1 << power <= (chosen.model.context or 131072)]


def capacity(chosen: Chosen) -> go.Figure | None:
    """The largest batch over context, by format; beside it the batch from which weights are worth their reading."""
    lines = [(each, [each.planner.fits(length).batch for length in lengths(chosen)]) for each in chosen.beside()]
    lines = _apart([(each, most) for each, most in lines if any(most)])
    if not lines:
        return None
    highest = max(most for _, batches in lines for most in batches)
    fig = style.figure(400)
    xs = lengths(chosen)
    fig.update_xaxes(style.log_axis("Context of every sequence (tokens)", xs[0] / 1.2, xs[-1] * 1.2, _tokens, base=2))
    fig.update_yaxes(style.log_axis("Largest batch (sequences)", 0.8, highest * 1.5, style.plain))
    for number, (each, batches) in enumerate(lines):
        part = [(x, most) for x, most in zip(xs, batches, strict=True) if most]
        hover = [
            f"<b>{served(each.weights, each.kv)}</b><br>{most} sequences of {_tokens(x)} tokens" for x, most in part
        ]
        colour = style.SERIES[number]
        fig.add_trace(
            style.line(
                served(each.weights, each.kv), [x for x, _ in part], [most for _, most in part], colour, hover,
                line={"color": colour, "width": 1.6, "dash": style.DASHES[number]},
                marker={"color": colour, "size": 8, "symbol": style.MARKERS[number]},
            )
        )  # fmt: skip
    knee = critical(chosen)
    if 1 < knee < highest:
        fig.add_hline(knee, line={"color": style.COMPUTE, "width": 1.6, "dash": "dash"})
        where = {"x": 1, "xref": "paper", "xanchor": "right", "y": style.log(knee)}
        text = f"critical batch {knee:,.0f}: above it compute binds"
        fig.add_annotation(style.note(text, **where, font={"size": 12, "color": style.COMPUTE}))
    return fig.made()


def _apart(lines: list[tuple[Chosen, list[int]]]) -> list[tuple[Chosen, list[int]]]:
    """Without those that would lie on another; the table has them all."""
    kept: list[tuple[Chosen, list[int]]] = []
    for each, most in lines:
        if all(any(abs(a - b) > 0.1 * max(a, b) for a, b in zip(most, other, strict=True)) for _, other in kept):
            kept.append((each, most))
    return kept


def critical(chosen: Chosen) -> float:
    """Rows from which on the linear operators of the model as it is served are compute-bound, by roofs alone."""
    made = chosen.planner.request.precision
    roof, _ = chosen.planner.machine.compute(made.multiplied(made.weights))
    return made.weights.bytes / 2 * roof.rate / chosen.planner.machine.bandwidth


def _tokens(value: float) -> str:
    return f"{value / 1024:g}k" if value >= 1024 else f"{value:g}"


def _time(value: float) -> str:
    return units.seconds(value, 1)


LINEAR = ("gemm", "experts")
CACHE = ("attention decode",)


def of_kind(step: StepTime, kinds: Iterable[str]) -> float:
    """Seconds of the operators of some kinds."""
    return sum(row.seconds for row in step.rows if row.operation.kind in kinds)


def crossovers(chosen: Chosen) -> go.Figure:
    """Seconds per step that weights and KV take over context, for one sequence and for many, and where they meet."""
    xs = lengths(chosen)
    batches = sorted({1, chosen.batch})
    fig = style.figure(400, margin={"l": 72, "r": 16, "t": 20, "b": 48})
    every = []
    for number, batch in enumerate(batches):
        linear, cache = (_over(chosen, batch, kinds) for kinds in (LINEAR, CACHE))
        every += [linear(x) for x in xs] + [cache(x) for x in xs]
        colour = style.SERIES[number]
        for what, seconds, dash, shape in (("weights", linear, "dash", "square"), ("KV", cache, "solid", "circle")):
            hover = [f"<b>{what}, batch {batch}</b><br>{_tokens(x)} tokens: {units.seconds(seconds(x))}" for x in xs]
            fig.add_trace(
                style.line(
                    f"{what}, batch {batch}", xs, [seconds(x) for x in xs], colour, hover,
                    line={"color": colour, "width": 1.6, "dash": dash},
                    marker={"color": colour, "size": 6, "symbol": shape},
                )
            )  # fmt: skip
        if met := meeting(chosen, batch):
            at, seconds = met, cache(met)
            fig.add_trace(
                style.scatter(
                    x=[at], y=[seconds], mode="markers", showlegend=False,
                    marker={"symbol": "diamond-open", "size": 14, "color": style.INK, "line": {"width": 2}},
                    customdata=[f"batch {batch}: KV takes as long as the weights at {at} tokens"],
                    hovertemplate="%{customdata}<extra></extra>",
                )
            )  # fmt: skip
            where = {"x": style.log(at), "y": style.log(seconds), "xanchor": "right", "xshift": -10}
            fig.add_annotation(style.note(f"{units.number(at)} tokens", **where))
    fig.update_xaxes(style.log_axis("Context of every sequence (tokens)", xs[0] / 1.2, xs[-1] * 1.2, _tokens, base=2))
    fig.update_yaxes(style.log_axis("Time per step", min(every) / 1.5, max(every) * 1.5, _time))
    return fig.made()


def _over(chosen: Chosen, batch: int, kinds: Sequence[str]) -> Callable[[int], float]:
    return lambda context: of_kind(chosen.planner.decode(batch, context), kinds)


def meeting(chosen: Chosen, batch: int) -> int | None:
    """The context from which on reading the KV takes longer than the linear operators; None beyond the model's."""
    linear, cache = (_over(chosen, batch, kinds) for kinds in (LINEAR, CACHE))
    xs = lengths(chosen)
    for low, high in pairwise(xs):
        if cache(low) < linear(low) and cache(high) >= linear(high):
            while high - low > max(1, low // 1000):
                middle = math.isqrt(low * high)
                middle = middle if low < middle < high else (low + high) // 2
                low, high = (low, middle) if cache(middle) >= linear(middle) else (middle, high)
            return high
    return None
