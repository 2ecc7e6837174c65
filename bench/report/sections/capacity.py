"""What fits into memory: the batch that sizes predict, the one that was really allocated, and what reading it costs."""

from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis import tidy
from bench.analysis.selections import held
from bench.report.document import has
from bench.report.phrases import listed, many
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, RunView, Sentences, plot

GROUP = "Memory"


def findings(view: RunView) -> Sentences:
    for row in tidy.each(held(view.rows)):
        expected = f"{row.predicted:.0f} predicted" if has(row.predicted) else ""
        if has(row.confirmed):
            expected = "as predicted" if row.confirmed == row.predicted else expected
            found = ", ".join(filter(None, [f"{many(round(row.confirmed), 'sequence')} allocated", expected]))
            yield f"{_place(row)}: {found}; reading all of them takes {units.seconds(row.all)} a step."
        elif expected:
            yield f"{_place(row)}: {many(round(row.predicted), 'sequence')} predicted, none allocated."


def _place(row) -> str:
    return f"{row.model}, {row.context:,.0f} tokens"


def notes(view: RunView) -> Sentences:
    seen, stopped = held(view.rows), {}
    for row in tidy.each(seen[seen["confirmed"] != seen["predicted"]]):
        if why := row.notes.get("stopped"):
            stopped.setdefault(why, []).append(_place(row))
    yield from (f"{listed(places, 2)}: {why}." for why, places in stopped.items())
    for row in tidy.each(seen):
        # less than their sizes is counted where an allocator hands out again what it had kept
        if row.counted_bytes > 1.02 * row.sizes_bytes > 0:
            times = units.digits(row.counted_bytes / row.sizes_bytes)
            yield f"{_place(row)}: counted from outside, they take {times} times their size."
    for row in tidy.each(seen[seen["largest"].notna()].head(1)):
        share = f"{many(round(row.largest), 'sequence')} of {row.context:,.0f} tokens"
        yield f"In the share of memory that engines take, {share} would fit: predicted, not confirmed."
    for row in tidy.each(seen[seen["total_bytes"] > seen["free_bytes"]].head(1)):
        yield f"{units.size(row.total_bytes - row.free_bytes)} of {units.size(row.total_bytes)} were in use before."


def plots(view: RunView) -> Plots:
    seen, columns = held(view.rows), {"predicted": "predicted", "really allocated": "confirmed"}
    drawn = _bars(seen, columns, "Sequences", sweep.COUNT, "{:.0f}".format)
    caption = "Within the share of the free memory that the probe may take."
    yield from plot("capacity-0", "The largest batch", drawn, caption)
    seen, title = seen[seen["all"].notna()], "Time to read every sequence once"
    drawn = _bars(seen, {"read": "all"}, title, sweep.SECONDS, units.seconds)
    yield from plot("capacity-1", "Reading all of it", drawn, "What a full memory adds to each step.")


def _bars(
    seen: pd.DataFrame, columns: dict[str, str], title: str, kind: str, text: Callable[[float], str]
) -> go.Figure | None:
    places, traces = list(map(_place, tidy.each(seen))), {}
    for name, key in columns.items():
        head = [f"<b>{name}</b><br>{theme.safe(place)}<br>" for place in places]
        if seen[key].notna().any():
            traces[name] = list(seen[key]), [at + text(value) for at, value in zip(head, seen[key], strict=True)]
    return sweep.bars(places, traces, title, stacked=False, kind=kind) if traces else None
