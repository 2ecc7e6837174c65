"""Chunked prefill: how much a chunk of a prompt slows the step of those who decode."""

from bench import units
from bench.analysis import tidy
from bench.analysis.rows import usable
from bench.analysis.transformer_cases import chunked
from bench.report.phrases import listed
from bench.report.plots import sweep
from bench.report.sections import Plots, RunView, Sentences, lines

GROUP = "Transformer layer"
_FELT = 2.0


def plots(view: RunView) -> Plots:
    x, steps = "Tokens of the prompt in the step", {}
    groups = {f"batch {batch:.0f}": part for batch, part in chunked(view.rows).groupby("batch")}
    for name, part in groups.items():
        alone = part.assign(seconds=part["seconds_base"]).drop(columns="params")
        steps |= {name: part, f"{name}, without the chunk": alone}
    caption = (
        "One layer. Dotted: those who decode alone. The chunk is a prompt's first; a later one reads its prefix too."
    )
    y = "seconds", sweep.SECONDS
    yield from lines("mixed-step", "Time of a step", caption, steps, "chunk", *y, x, dashed=set(steps) - set(groups))
    caption, y = "One layer's step with the chunk over the same without it.", ("slowdown", sweep.TIMES)
    look = {"y_title": "Times as long", "even": "no chunk"}
    yield from lines("mixed-slowdown", "Slowdown", caption, groups, "chunk", *y, x, **look)
    caption, y = "The difference of the two steps over the chunk; none drawn below zero.", ("token", sweep.SECONDS)
    yield from lines("mixed-token", "Cost of a prompt token", caption, groups, "chunk", *y, x, y_title="Time per token")


def findings(view: RunView) -> Sentences:
    seen = chunked(view.rows)
    if seen.empty and len(usable(view.rows, "mixed")):
        yield "No step was measured both with a chunk and without one."
    for batch, part in seen.groupby("batch"):
        mild, first, last = part[part["slowdown"] <= _FELT], part["chunk"].idxmin(), part.loc[part["chunk"].idxmax()]
        text = f"Batch {batch:.0f}: decode takes {units.digits(last['slowdown'])} times as long"
        text += f" with {last['chunk']:,.0f} prompt tokens"
        if len(mild) and len(mild) < len(part):
            text += f", less than twice up to {mild['chunk'].max():,.0f}"
        elif mild.empty and len(part) > 1:
            text += f", {units.digits(part['slowdown'][first])} times already with {part['chunk'][first]:,.0f}"
        yield f"{text}."
    # the smallest of differences that are mostly noise would be no cost at all: the largest chunk says it best
    large = seen[seen["chunk"] == seen["chunk"].max()]
    if said := [f"{units.seconds(row.token)} at batch {row.batch:.0f}" for row in tidy.each(large) if row.token > 0]:
        yield f"In a chunk of {large['chunk'].iloc[0]:,.0f} each prompt token adds {listed(said, 2)}."
