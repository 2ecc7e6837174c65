"""Chunked prefill: how far a chunk of a prompt stretches the step of those who decode."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame
from bench.report.served import drawn
from bench.roofline import Roofline

TITLE = "Chunked prefill"
QUESTION = "How much longer do users who decode wait for a token when a prompt's chunk shares their step?"
_FELT = 2.0


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    seen = stretched(rows)
    groups = {f"batch {batch:.0f}": part for batch, part in seen.groupby("batch")}
    caption = "One layer's step with the chunk over the same step without it."
    figure = drawn.sweep(
        groups, "chunk", "stretch", drawn.TIMES, "Tokens of the prompt in the step", "Times as long", even="no chunk"
    )
    yield "", caption, figure


def stretched(rows: pd.DataFrame) -> pd.DataFrame:
    """Steps with a chunk, with `stretch`, times as long as the step without, and `token`, seconds more per token."""
    seen = frame.sound(rows, "mixed")
    bare = [params.get("chunk") == 0 for params in seen["params"]]
    alone = drawn.numbered(seen[bare] if bare else seen, "batch")
    made = drawn.numbered(seen, "batch", "chunk")
    found = drawn.ratio(made, alone, ("batch",))
    stretch = 1 / found["times"]
    return found.assign(stretch=stretch, token=found["seconds"] * (1 - 1 / stretch) / found["chunk"])


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
        elif mild.empty:
            text += f", and twice as long already with {part['chunk'].min():.0f}"
        yield f"{text}."
    cheap = seen.loc[seen["token"].idxmin()]
    yield (
        f"A prompt's token costs at least {units.seconds(max(cheap['token'], 0.0))} of a layer beside them"
        f" (batch {cheap['batch']:.0f}, chunk {cheap['chunk']:.0f})."
    )
    yield "The chunk is a prompt's first; a later one reads the prefix before it too."
