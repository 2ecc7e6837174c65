"""What fits: the batch that sizes predict, and the one that was really allocated."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame
from bench.report.served import drawn
from bench.report.words import many
from bench.roofline import Roofline

TITLE = "What fits"
QUESTION = "Does the memory hold the batch that sizes predict, and what does reading all of it cost each step?"
_NOTED = ("predicted", "confirmed", "free_bytes", "total_bytes", "sizes_bytes", "counted_bytes", "largest")


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    seen = held(rows)
    places = [f"{row.model}, {row.context:,.0f} tokens" for row in frame.each(seen)]
    traces = {}
    for name, column in (("predicted", "predicted"), ("really allocated", "confirmed")):
        if seen[column].notna().any():
            hover = [
                f"<b>{name}</b><br>{place}<br>batch {value:.0f}"
                for place, value in zip(places, seen[column], strict=True)
            ]
            traces[name] = seen[column].tolist(), hover
    yield "The largest batch", "Within the share of the free memory that the probe may take.", (
        drawn.bars(places, traces, "Sequences", stacked=False) if traces else None
    )  # fmt: skip
    full = seen[seen["confirmed"].notna()]
    full = full.assign(all=full["seconds"] * full["confirmed"])
    places = [f"{row.model}, {row.context:,.0f} tokens" for row in frame.each(full)]
    hover = [
        f"<b>{place}</b><br>{units.seconds(row.all)} for {row.confirmed:.0f} sequences"
        for place, row in zip(places, frame.each(full), strict=True)
    ]
    traces = {"read": (full["all"].tolist(), hover)}
    yield "Reading all of it", "What a full memory adds to each step.", (
        drawn.bars(places, traces, "Time to read every sequence once", stacked=False, kind=drawn.SECONDS)
    )  # fmt: skip


def held(rows: pd.DataFrame) -> pd.DataFrame:
    """The measured cases, with `context`, `model`, and the numbers of their notes, NaN where one lacks."""
    seen = drawn.numbered(frame.sound(rows, "capacity"), "context")
    columns = {
        name: pd.Series([drawn.amount(notes.get(name)) for notes in seen["notes"]], index=seen.index, dtype=float)
        for name in _NOTED
    }
    return seen.assign(model=list(map(str, frame.param(seen, "model"))), **columns)


def words(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    for row in frame.each(held(rows)):
        where = f"of {row.context:,.0f} tokens of {row.model}"
        if not frame.has(row.confirmed):
            if frame.has(row.predicted):
                why = row.notes.get("stopped")
                yield (
                    f"{many(round(row.predicted), 'sequence')} {where} are predicted; nothing was allocated here"
                    + (f" ({why})." if why else ".")
                )
            continue
        text = f"{many(round(row.confirmed), 'sequence')} {where} really lie in memory"
        if frame.has(row.predicted):
            text += f", {'as' if row.confirmed == row.predicted else f'where {row.predicted:.0f} were'} predicted"
        if row.confirmed != row.predicted and row.notes.get("stopped"):
            text += f" ({row.notes['stopped']})"
        yield f"{text}; a step that reads them all spends {units.seconds(row.seconds * row.confirmed)} on it."
        # less than their sizes is counted where an allocator hands out again what it had kept
        if frame.has(row.counted_bytes) and row.sizes_bytes and row.counted_bytes > 1.02 * row.sizes_bytes:
            more = units.digits(row.counted_bytes / row.sizes_bytes)
            yield f"Counted from outside they take {more} times their size."
    seen = held(rows)
    for row in frame.each(seen[seen["largest"].notna()]):
        yield (
            f"In the share of all memory that engines take, {row.largest:.0f} of {row.context:,.0f} tokens are"
            " predicted to fit, which nothing here confirms."
        )
        break
    if len(seen) and frame.has(seen["total_bytes"].iloc[0]) and frame.has(seen["free_bytes"].iloc[0]):
        taken = seen["total_bytes"].iloc[0] - seen["free_bytes"].iloc[0]
        if taken > 0:
            yield f"{units.size(taken)} of {units.size(seen['total_bytes'].iloc[0])} were in use before."
