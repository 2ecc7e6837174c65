"""What fused attention, the KV cache and packing save, each against doing without."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame
from bench.report.served import drawn
from bench.report.words import many
from bench.roofline import Roofline

TITLE = "What fusion, caching and packing save"
QUESTION = "How much slower is attention without fusion, a token without its cache, and a batch with padding?"
_LOSS = 0.97  # slower by more than this is no noise


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    fused, cached = pairs(rows, "attention", "fused", "unfused"), pairs(rows, "cache", "cached", "recomputed")
    yield (
        "Fused attention", "Time of attention as three calls over that of one.",
        drawn.sweep({"fused": fused}, "tokens", "times", drawn.TIMES, "Tokens", even="no gain"),
    )  # fmt: skip
    yield "Memory beyond the inputs", "", _peaks(rows)
    yield (
        "A token by its cache", "Time of a layer for all tokens again over that of the newest one with its cache.",
        drawn.sweep({"cached": cached}, "tokens", "times", drawn.TIMES, "Tokens of context", even="no gain"),
    )  # fmt: skip
    packed = padding(rows)
    groups = {"time": packed}
    if len(packed):
        groups["rows"] = packed.assign(times=packed["waste"], validity="valid").drop(columns="params")
    yield (
        "Padding", "Padded over packed: what is paid, and (dotted) what the rows alone would ask.",
        drawn.sweep(
            groups, "sequences", "times", drawn.TIMES, "Sequences in the batch", "Times as long", even="no padding",
            dashed=["rows"],
        ),
    )  # fmt: skip


def pairs(rows: pd.DataFrame, part: str, good: str, bad: str) -> pd.DataFrame:
    """The good form at each number of tokens, with `times` as fast as the bad one."""
    one, other = (drawn.numbered(frame.sound(rows, "fusion", part=part, form=form), "tokens") for form in (good, bad))
    return drawn.ratio(one, other, ("tokens",))


def padding(rows: pd.DataFrame) -> pd.DataFrame:
    """Packed batches, with `sequences`, `times` the padded ones take, and `waste`: the rows of those over theirs."""
    packed, padded = (
        drawn.numbered(frame.sound(rows, "fusion", part="padding", form=form), "sequences", "rows")
        for form in ("packed", "padded")
    )
    found = drawn.ratio(packed, padded, ("sequences",))
    filled = dict(zip(padded["sequences"], padded["rows"], strict=True))
    return found.assign(waste=[filled[row.sequences] / row.rows for row in frame.each(found)])


def peaks(rows: pd.DataFrame) -> pd.DataFrame:
    """Attention, with `tokens`, `form` and `peak`: bytes beyond its inputs."""
    seen = drawn.numbered(frame.sound(rows, "fusion", part="attention"), "tokens")
    found = [drawn.amount(notes.get("peak_bytes")) for notes in seen["notes"]]
    seen = seen.assign(peak=found, form=list(map(str, frame.param(seen, "form"))))
    return seen[seen["peak"] > 0]


def _peaks(rows: pd.DataFrame) -> go.Figure | None:
    groups = dict(iter(peaks(rows).groupby("form", sort=False)))
    return drawn.sweep(groups, "tokens", "peak", drawn.BYTES, "Tokens", "Peak beyond the inputs")


def words(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    fused = pairs(rows, "attention", "fused", "unfused")
    if len(fused):
        first, last = fused.loc[fused["tokens"].idxmin()], fused.loc[fused["tokens"].idxmax()]
        text = f"At {last['tokens']:,.0f} tokens attention in one call {drawn.faster(last['times'])} in three"
        if len(fused) > 1:
            text += f" (at {first['tokens']:,.0f}: {units.digits(first['times'])} times the speed)"
        losses = fused[fused["times"] < _LOSS]
        if len(losses):
            worst = losses.loc[losses["times"].idxmin()]
            text += (
                f"; fusion loses at {len(losses)} of {many(len(fused), 'length')}, most at {worst['tokens']:,.0f}"
                f" ({units.digits(1 / worst['times'])} times as long)"
            )
        yield f"{text}."
    memory = peaks(rows)
    for tokens, part in memory[memory["tokens"] == memory["tokens"].max()].groupby("tokens"):
        by = part.set_index("form")["peak"]
        if {"fused", "unfused"} <= set(by.index):
            yield (
                f"Beyond its inputs it holds {units.size(by['fused'])} at {tokens:,.0f} tokens, in three calls"
                f" {units.size(by['unfused'])}."
            )
    cached = pairs(rows, "cache", "cached", "recomputed")
    if len(cached):
        last = cached.loc[cached["tokens"].idxmax()]
        yield (
            f"With its KV cache a token of one layer comes {units.digits(last['times'])} times as fast at"
            f" {last['tokens']:.0f} tokens of context as by computing all of them again."
        )
    packed = padding(rows)
    if len(packed):
        last = packed.loc[packed["sequences"].idxmax()]
        yield (
            f"Padding {last['sequences']:.0f} prompts to the longest multiplies the rows by"
            f" {units.digits(last['waste'])} and the time of a product by {units.digits(last['times'])}."
        )
