"""Chunked prefill: how far a chunk of a prompt stretches the step of those who decode."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame
from bench.report.served import drawn
from bench.report.words import listed
from bench.roofline import Roofline

TITLE = "Chunked prefill"
QUESTION = "How much longer do users who decode wait for a token when a prompt's chunk shares their step?"
_FELT = 2.0


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    seen = stretched(rows)
    over = "Tokens of the prompt in the step"
    groups = {f"batch {batch:.0f}": part for batch, part in seen.groupby("batch")}
    alone, bare = {}, []
    for name, part in groups.items():
        without = f"{name}, without the chunk"
        alone[name] = part
        alone[without] = part.assign(seconds=part["seconds_base"]).drop(columns="params")
        bare.append(without)
    yield (
        "Time of a step", "One layer. Dotted: the step of those who decode alone.",
        drawn.sweep(alone, "chunk", "seconds", drawn.SECONDS, over, dashed=bare),
    )  # fmt: skip
    yield (
        "Stretch", "One layer's step with the chunk over the same step without it.",
        drawn.sweep(groups, "chunk", "stretch", drawn.TIMES, over, "Times as long", even="no chunk"),
    )  # fmt: skip
    yield (
        "What a token of the prompt adds", "The difference of the two steps over the chunk; none drawn below zero.",
        drawn.sweep(groups, "chunk", "token", drawn.SECONDS, over, "Time per token"),
    )  # fmt: skip


def stretched(rows: pd.DataFrame) -> pd.DataFrame:
    """Steps with a chunk, with `stretch`, times as long as the step without, and `token`, seconds more per token."""
    seen = frame.sound(rows, "mixed")
    bare = [params.get("chunk") == 0 for params in seen["params"]]
    alone = drawn.numbered(seen[bare] if bare else seen, "batch")
    made = drawn.numbered(seen, "batch", "chunk")
    found = drawn.ratio(made, alone, ("batch",))
    more = found["seconds"] - found["seconds_base"]
    return found.assign(stretch=1 / found["times"], token=more / found["chunk"])


def words(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    seen = stretched(rows)
    if seen.empty:
        if len(frame.sound(rows, "mixed")):
            yield "No step was measured both with a chunk and without one."
        return
    for batch, part in seen.groupby("batch"):
        mild = part[part["stretch"] <= _FELT]
        last = part.loc[part["chunk"].idxmax()]
        text = (
            f"{batch:.0f} users who decode wait {units.digits(last['stretch'])} times as long with"
            f" {last['chunk']:.0f} tokens of a prompt in their step"
        )
        if len(mild) and len(mild) < len(part):
            text += f", and less than twice as long with up to {mild['chunk'].max():.0f}"
        elif mild.empty and len(part) > 1:
            first = part.loc[part["chunk"].idxmin()]
            text += f", and {units.digits(first['stretch'])} times already with {first['chunk']:.0f}"
        yield f"{text}."
    # the smallest of differences that are mostly noise would be no cost at all: the largest chunk says it best
    large = seen[seen["chunk"] == seen["chunk"].max()]
    said = [f"{units.seconds(row.token)} beside {row.batch:.0f}" for row in frame.each(large) if row.token > 0]
    if said:
        chunk = large["chunk"].iloc[0]
        yield f"In a chunk of {chunk:.0f} each token of the prompt adds {listed(said)} to a layer's step."
    yield "The chunk is a prompt's first; a later one reads the prefix before it too."
