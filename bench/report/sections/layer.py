"""A transformer layer: beside the sum of its parts, with a prompt's chunk, and what fusion, cache and packing save."""

from collections import Counter
from functools import cached_property

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis import names, tidy
from bench.analysis import transformer_cases as cases
from bench.analysis.tidy import LOSS, ends, usable
from bench.report.phrases import listed, many
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, ProbeSection, Sentences, lines, plot, span

REST = "all others"
_PHASES = {"decode": ("batch", "Sequences in the batch"), "prefill": ("tokens", "Tokens of the prompt")}
_MOST = 24  # bars
_SIDES = {-1: "below 1", 1: "above 1"}
# What could explain a whole that is not the sum of its parts; a simulated device has no cache to explain it by.
_WHY = {
    -1: "a part may find its input in the cache, or launches overlap; alone buffers are cold",
    1: "parts may evict each other's data, or the clock falls",
}
_WHY_SIMULATED = {-1: "simulated, a whole is bound once, by memory or arithmetic, and each part by its own"}
# Times as long as without the chunk: a reader feels that.
_FELT = 2.0


class LayerSection(ProbeSection):
    """One transformer layer: the whole beside the sum of its parts, and where its time goes."""

    probe, group = "layer", "Transformer layer"

    @cached_property
    def wholes(self) -> pd.DataFrame:
        """Whole layers, with `line` and `point` in words."""
        seen = cases.layers(self.rows)
        line, point = (list(map(words, tidy.each(seen))) for words in (_line, _point))
        return seen.assign(line=line, point=point)

    @property
    def known(self) -> pd.DataFrame:
        """Those whose parts were all measured."""
        return self.wholes[self.wholes["parts"].notna()]

    def plots(self) -> Plots:
        seen = self.wholes
        caption = "Solid: the layer. Dotted, crosses: the sum of its parts, each measured alone on cold buffers."
        for phase, (over, title) in _PHASES.items():
            groups, sums = {}, []
            for line, part in seen[seen["phase"] == phase].groupby("line", sort=False):
                sums.append(f"{line}: its parts")
                groups |= {line: part, sums[-1]: part.assign(seconds=part["parts"]).drop(columns="params")}
            axes = over, "seconds", sweep.SECONDS, title, "Time of one layer"
            yield from lines(f"layer-{phase}", phase.capitalize(), caption, groups, *axes, dashed=sums)
        groups = {f"{line}, {phase}": part for (line, phase), part in seen.groupby(["line", "phase"], sort=False)}
        axes = "tokens", "factor", sweep.FACTOR, "Tokens in the step", "Whole over parts"
        caption = "Time of the whole over the sum of its parts."
        yield from lines("layer-composition", "Composition", caption, groups, *axes, even="sum of the parts")
        caption = "Shares of the sum of its parts."
        yield from plot("layer-parts", "Where a layer's time goes", _shares(self.known), caption)

    def findings(self) -> Sentences:
        known = self.known
        if len(known):
            sides = Counter(filter(None, known["side"]))
            counted = [many(len(known), "point"), *(f"{n} clearly {_SIDES[side]}" for side, n in sides.items())]
            yield f"A layer takes {span(known['factor'], units.digits)} times its parts' sum ({', '.join(counted)})."
        for phase, mine in known.groupby("phase"):
            rows = tidy.each(ends(mine.sort_values("seconds")))
            shares = [units.percent(row.split[row.largest] / row.parts, 2) for row in rows]
            said = [f"{row.largest} {share} ({row.point})" for row, share in zip(rows, shares, strict=True)]
            yield f"{phase.capitalize()}'s largest part: {' to '.join(said)}."

    def notes(self) -> Sentences:
        seen, why = self.wholes, _WHY_SIMULATED if self.view.simulated else _WHY
        sides = sorted(self.known["side"].unique())
        if sides == [0]:
            yield f"No point is clearly more than {units.percent(cases.CLOSE, 1)} from 1: the parts predict the layer."
        yield from (f"{_SIDES[side].capitalize()}: {why[side]}." for side in sides if side in why)
        rated = seen[seen["share"].notna()].sort_values("share", ascending=False)
        for word, row in zip(("Best", "Worst"), tidy.each(ends(rated)), strict=False):
            yield f"{word}: {units.percent(row.share)} of {names.roof(row.limiter)}, {row.phase} {row.point}."
        if len(rated):
            yield "A layer's roof counts only weights, cache, inputs and outputs."


def _line(row) -> str:
    ranks = f", 1 of {row.ranks:.0f} ranks" if row.ranks > 1 else ""
    return f"{row.model}{ranks}" + (f", {row.context:,.0f} tokens of context" if row.phase == "decode" else "")


def _point(row) -> str:
    what = f"batch {row.batch:.0f}, {row.context:,.0f} tokens" if row.phase == "decode" else f"{row.tokens:,.0f} tokens"
    return f"{row.model.rsplit('-', 1)[-1]}, {what}"


def _shares(known: pd.DataFrame) -> go.Figure | None:
    """The points from the smallest to the largest, as many as can be told apart; the smallest parts as one, where
    there are more than colours.
    """
    spent = cases.shares_of_layers(known, _MOST, len(theme.SERIES), REST)
    places, whole = [f"{row.phase} {row.point}" for row in tidy.each(known.loc[spent.index])], spent.sum(axis=1)
    traces = {}
    for name in spent.columns:
        shares, head = spent[name] / whole, f"<b>{theme.safe(name)}</b><br>"
        times = [f"{units.seconds(s)}, {units.percent(share, 2)}" for s, share in zip(spent[name], shares, strict=True)]
        hover = [f"{head}{theme.safe(place)}<br>{time}" for place, time in zip(places, times, strict=True)]
        traces[name] = list(100 * shares), hover
    return sweep.bars(places, traces, "Share of the parts", stacked=True)


class MixedSection(ProbeSection):
    """Chunked prefill: how much a chunk of a prompt slows the step of those who decode."""

    probe, group = "mixed", "Transformer layer"

    def plots(self) -> Plots:
        over, steps = "Tokens of the prompt in the step", {}
        groups = {f"batch {batch:.0f}": part for batch, part in cases.chunked(self.rows).groupby("batch")}
        for name, part in groups.items():
            alone = part.assign(seconds=part["seconds_base"]).drop(columns="params")
            steps |= {name: part, f"{name}, without the chunk": alone}
        first, alone = "The chunk is a prompt's first; a later one reads its prefix too.", set(steps) - set(groups)
        caption, axes = f"One layer. Dotted: those who decode alone. {first}", ("chunk", "seconds", sweep.SECONDS, over)
        yield from lines("mixed-step", "Time of a step", caption, steps, *axes, dashed=alone)
        caption = "One layer's step with the chunk over the same without it."
        axes = "chunk", "slowdown", sweep.TIMES, over, "Times as long"
        yield from lines("mixed-slowdown", "Slowdown", caption, groups, *axes, even="no chunk")
        caption = "The difference of the two steps over the chunk; none drawn below zero."
        axes = "chunk", "token", sweep.SECONDS, over, "Time per token"
        yield from lines("mixed-token", "Cost of a prompt token", caption, groups, *axes)

    def findings(self) -> Sentences:
        seen = cases.chunked(self.rows)
        if seen.empty and len(usable(self.rows, "mixed")):
            yield "No step was measured both with a chunk and without one."
        for batch, part in seen.groupby("batch"):
            mild, chunks = part[part["slowdown"] <= _FELT], part["chunk"]
            first, last = chunks.idxmin(), part.loc[chunks.idxmax()]
            text = f"Batch {batch:.0f}: decode takes {units.digits(last['slowdown'])} times as long"
            text += f" with {last['chunk']:,.0f} prompt tokens"
            if len(mild) and len(mild) < len(part):
                text += f", less than twice up to {mild['chunk'].max():,.0f}"
            elif mild.empty and len(part) > 1:
                text += f", {units.digits(part['slowdown'][first])} times already with {chunks[first]:,.0f}"
            yield f"{text}."
        # the smallest of differences that are mostly noise would be no cost at all: the largest chunk says it best
        large = seen[(seen["chunk"] == seen["chunk"].max()) & (seen["token"] > 0)]
        if said := [f"{units.seconds(row.token)} at batch {row.batch:.0f}" for row in tidy.each(large)]:
            yield f"In a chunk of {large['chunk'].iloc[0]:,.0f} each prompt token adds {listed(said, 2)}."


class FusionSection(ProbeSection):
    """What fused attention, the KV cache and packing save, each against doing without."""

    probe, group = "fusion", "Transformer layer"

    def plots(self) -> Plots:
        held, packed = cases.peaks(self.rows), cases.packed(self.rows)
        groups, caption = {"fused": cases.fused(self.rows)}, "Time of attention as three calls over that of one."
        axes = "tokens", "times", sweep.TIMES
        yield from lines("fusion-attention", "Fused attention", caption, groups, *axes, "Tokens", even="no gain")
        groups = dict(iter(held.groupby("form", sort=False)))
        caption = f"By {listed([origin or 'an unnamed source' for origin in dict.fromkeys(held['origin'])])}."
        peak = "tokens", "peak", sweep.BYTES, "Tokens", "Peak beyond the inputs"
        yield from lines("fusion-peak", "Memory beyond the inputs", caption, groups, *peak)
        groups, over = {"cached": cases.cached(self.rows)}, "Tokens of context"
        caption = "Time of a layer for all tokens again over that of the newest one with its cache."
        yield from lines("fusion-cache", "A token by its cache", caption, groups, *axes, over, even="no gain")
        rows = packed.assign(times=packed["waste"], validity="valid").drop(columns="params")
        caption = "Padded over packed: what is paid, and (dotted) what the rows alone would ask."
        axes, look = ("sequences", "times", sweep.TIMES), {"even": "no padding", "dashed": ["rows"]}
        titles = "Sequences in the batch", "Times as long"
        yield from lines("fusion-padding", "Padding", caption, {"time": packed, "rows": rows}, *axes, *titles, **look)

    def findings(self) -> Sentences:
        one = cases.fused(self.rows)
        for last in one.iloc[-1:].itertuples():
            losses = int((one["times"] < LOSS).sum())
            lost = f"; it loses at {losses} of {many(len(one), 'length')}" if losses else ""
            yield f"Fused attention {sweep.faster(last.times)} unfused at {last.tokens:,.0f} tokens{lost}."
        for last in cases.cached(self.rows).iloc[-1:].itertuples():
            yield f"With the KV cache a token {sweep.faster(last.times)} recomputed at {last.tokens:,.0f} tokens."
        for last in cases.packed(self.rows).iloc[-1:].itertuples():
            waste, times = units.digits(last.waste), units.digits(last.times)
            yield f"Padding {last.sequences:.0f} prompts to the longest multiplies rows by {waste} and time by {times}."

    def notes(self) -> Sentences:
        one, memory = cases.fused(self.rows), cases.peaks(self.rows)
        if len(one) > 1:
            first, worst = one.iloc[0], one.loc[one["times"].idxmin()]
            times, longer = units.digits(first["times"]), units.digits(1 / worst["times"])
            yield f"At {first['tokens']:,.0f} tokens fused attention has {times} times the speed."
            if worst["times"] < LOSS:
                yield f"It loses most at {worst['tokens']:,.0f} tokens: {longer} times as long."
        last = memory[memory["tokens"] == memory["tokens"].max()]
        held = dict(zip(last["form"], map(units.size, last["peak"]), strict=True))
        if {"fused", "unfused"} <= set(held):
            at = f"{last['tokens'].iloc[0]:,.0f} tokens"
            yield f"At {at} fused attention holds {held['fused']} beyond its inputs, unfused {held['unfused']}."
