"""What fused attention, the KV cache and packing save, each against doing without."""

from bench import units
from bench.analysis import transformer_cases as cases
from bench.analysis.rows import LOSS
from bench.report.phrases import listed, many
from bench.report.plots import sweep
from bench.report.sections import Plots, RunView, Sentences, lines

GROUP = "Transformer layer"


def plots(view: RunView) -> Plots:
    held, packed, y = cases.peaks(view.rows), cases.packed(view.rows), ("times", sweep.TIMES)
    groups, caption = {"fused": cases.fused(view.rows)}, "Time of attention as three calls over that of one."
    yield from lines("fusion-attention", "Fused attention", caption, groups, "tokens", *y, "Tokens", even="no gain")
    groups, look = dict(iter(held.groupby("form", sort=False))), {"y_title": "Peak beyond the inputs"}
    caption = f"By {listed([origin or 'an unnamed source' for origin in dict.fromkeys(held['origin'])])}."
    axes = "tokens", "peak", sweep.BYTES, "Tokens"
    yield from lines("fusion-peak", "Memory beyond the inputs", caption, groups, *axes, **look)
    groups, over = {"cached": cases.cached(view.rows)}, "Tokens of context"
    caption = "Time of a layer for all tokens again over that of the newest one with its cache."
    yield from lines("fusion-cache", "A token by its cache", caption, groups, "tokens", *y, over, even="no gain")
    groups = {"time": packed, "rows": packed.assign(times=packed["waste"], validity="valid").drop(columns="params")}
    caption = "Padded over packed: what is paid, and (dotted) what the rows alone would ask."
    look, over = {"y_title": "Times as long", "even": "no padding", "dashed": ["rows"]}, "Sequences in the batch"
    yield from lines("fusion-padding", "Padding", caption, groups, "sequences", *y, over, **look)


def findings(view: RunView) -> Sentences:
    one = cases.fused(view.rows)
    for last in one.iloc[-1:].itertuples():
        losses = int((one["times"] < LOSS).sum())
        lost = f"; it loses at {losses} of {many(len(one), 'length')}" if losses else ""
        yield f"Fused attention {sweep.faster(last.times)} unfused at {last.tokens:,.0f} tokens{lost}."
    for last in cases.cached(view.rows).iloc[-1:].itertuples():
        yield f"With the KV cache a token {sweep.faster(last.times)} recomputed at {last.tokens:,.0f} tokens."
    for last in cases.packed(view.rows).iloc[-1:].itertuples():
        waste, times = units.digits(last.waste), units.digits(last.times)
        yield f"Padding {last.sequences:.0f} prompts to the longest multiplies rows by {waste} and time by {times}."


def notes(view: RunView) -> Sentences:
    one, memory = cases.fused(view.rows), cases.peaks(view.rows)
    if len(one) > 1:
        first, worst = one.iloc[0], one.loc[one["times"].idxmin()]
        yield f"At {first['tokens']:,.0f} tokens fused attention has {units.digits(first['times'])} times the speed."
        if worst["times"] < LOSS:
            yield f"It loses most at {worst['tokens']:,.0f} tokens: {units.digits(1 / worst['times'])} times as long."
    last = memory[memory["tokens"] == memory["tokens"].max()]
    held = dict(zip(last["form"], map(units.size, last["peak"]), strict=True))
    if {"fused", "unfused"} <= set(held):
        at = f"{last['tokens'].iloc[0]:,.0f} tokens"
        yield f"At {at} fused attention holds {held['fused']} beyond its inputs, unfused {held['unfused']}."
