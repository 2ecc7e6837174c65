"""Attention: how near decode and prefill come to their roofs by which backend, and the variants that serving uses."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from bench import units
from bench.analysis import names, tidy
from bench.analysis import transformer_cases as cases
from bench.analysis.tidy import methods
from bench.report.phrases import listed, many
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, ProbeSection, Sentences, lines, of_roof, plot, span

OWN = "torch's choice"
_SLOWER = 1.05


@dataclass(frozen=True)
class _Phase:
    """What attention does for a token, in which words its rate and its length are told, and where backends compare."""

    name: str
    does: str
    text: Callable[[float], str]
    keys: str
    axis: str
    shape: Mapping[str, Any]

    def curve(self, params: Mapping[str, Any]) -> str:
        if self.name == cases.PREFILL:
            return "causal" if params.get("causal") else "full"
        return f"{str(params.get('layout')).upper()}, batch {params.get('batch')}"


_GQA, _CAUSAL = {"layout": "gqa", "batch": 8}, {"layout": "mha", "batch": 1, "causal": True}
_PHASES = (
    _Phase(cases.DECODE, "moves", units.bandwidth, "KV", "Keys and values in the cache", _GQA),
    _Phase(cases.PREFILL, "computes", units.flops, "prompt", "Prompt length", _CAUSAL),
)


class AttentionSection(ProbeSection):
    """How near decode and prefill attention come to their roofs, and which backend gets there."""

    probe, group = "attention", "Attention"

    @cached_property
    def phases(self) -> list[tuple[_Phase, pd.DataFrame, pd.DataFrame]]:
        """Each with its cases, which have the names of their curves, and those of them that backends compare by."""
        found = []
        for phase in _PHASES:
            seen = cases.attention(self.rows, self.fit, phase.name)
            seen = seen.assign(curve=list(map(phase.curve, seen["params"])))
            found.append((phase, seen, cases.rivals(seen, **phase.shape)))
        return found

    def plots(self) -> Plots:
        for phase, seen, rivals in self.phases:
            name, title = f"attention-{phase.name}", phase.name.capitalize()
            yield from _shares(name, title, "Backend: torch's choice.", cases.own(seen), "curve", phase)
            caption = f"{phase.curve(phase.shape)}; the same demand for every backend, so that a share compares."
            yield from _shares(f"{name}-backends", f"{title} by backend", caption, rivals, "backend", phase)

    def findings(self) -> Sentences:
        for phase, seen, rivals in self.phases:
            rate = cases.RATES[phase.name]
            for best in tidy.each(cases.own(seen).nlargest(1, rate)):
                share = f", {of_roof(best.attained, best.roof)}" if best.roof else ""
                most = f"{phase.text(getattr(best, rate))}{share} ({best.curve}, {phase.keys} {best.keys:,.0f})"
                yield f"{phase.name.capitalize()} {phase.does} at most {most}."
            worst = max(cases.fastest(rivals), default=None)
            if worst and worst.times > _SLOWER:
                times, at = units.digits(worst.times), f"{phase.name}, {phase.keys} {worst.keys:,.0f}"
                yield f"torch's own choice takes up to {times} times as long as {worst.name} ({at})."

    def notes(self) -> Sentences:
        decode, prefill = (cases.own(seen) for _, seen, _ in self.phases)
        if len(decode) and prefill.empty:
            yield "No prefill was measured."
        yield from _near(decode[decode["attained"].notna()])
        ran = Counter(given["backend"] for given in [*decode["notes"], *prefill["notes"]] if "backend" in given)
        if said := [f"{name} in {many(count, 'case')}" for name, count in ran.most_common()]:
            yield f"Left alone, torch chose {listed(said, 3)}."
        for phase, _, rivals in self.phases:
            yield from _fastest(rivals, f"{phase.name} ({phase.curve(phase.shape)})")
        refusals = self.rows[(self.rows["probe"] == "attention") & self.rows["skip"].str.contains("refuses")]
        refused = Counter((str(row.params.get("phase")), row.skip) for row in tidy.each(refusals))
        for (phase, why), count in refused.items():
            yield f"{phase.capitalize()}, {many(count, 'case')}: {why}."
        for keys, times in cases.unfused(self.phases[1][1]):
            took = f"{units.digits(times)} times as long"
            yield f"Unfused, with its scores in memory, prefill of {keys:,.0f} takes {took}."


def _shares(id: str, title: str, caption: str, seen: pd.DataFrame, by: str, phase: _Phase) -> Plots:
    """A line per group, torch's own choice first."""
    found = sorted(seen.groupby(by, sort=False), key=lambda group: group[0] != cases.OWN)
    groups = {OWN if name == cases.OWN else name: part for name, part in found}
    roof = f"measured {names.roof(next(filter(None, seen['roof']), ''))} roof"
    axes = "keys", "attained", sweep.PERCENT, phase.axis, f"Percent of {roof}"
    return lines(id, title, caption, groups, *axes, even=roof)


def _near(seen: pd.DataFrame) -> Sentences:
    """From which length on decode stays near the roof, for the smallest batch of each layout."""
    for _, part in seen.groupby([str(params.get("layout")) for params in seen["params"]], sort=False):
        part = part[part["batch"] == part["batch"].min()]
        slow, later = cases.slow_until(part)
        where = f"from KV {later:,.0f} on" if tidy.has(later) else "at every length"
        if tidy.has(slow) and not tidy.has(later):
            where = f"from no length on; best {units.percent(part['attained'].max())}"
        of = f"{units.percent(cases.NEAR, 2)} of the {names.roof(part['roof'].iloc[0])} roof"
        yield f"{part['curve'].iloc[0]}: above {of} {where}."


def _fastest(rivals: pd.DataFrame, where: str) -> Sentences:
    """Which backend is fastest over which lengths."""
    spans = cases.spans(rivals)
    if len(spans) == 1 and len(spans[0][0]) == rivals["backend"].nunique() - 1 > 1:
        yield f"No backend is clearly faster than another for {where}."
    elif spans:
        reach = [f"{first:,.0f}" + f"–{last:,.0f}" * (last > first) for _, first, last in spans]
        said = [f"{'/'.join(sorted(alike))} at {keys}" for (alike, *_), keys in zip(spans, reach, strict=True)]
        yield f"Fastest for {where}: {listed(said, 3)}."


class DecodeSection(ProbeSection):
    """Attention variants of serving: kinds of heads and caches, ragged batches, a cached prefix, and what follows."""

    probe, group = "decode", "Attention"

    @cached_property
    def narrow(self) -> pd.DataFrame:
        seen = cases.narrow_decodes(self.rows)
        return seen.assign(cache=list(map(names.dtype, seen["cache"])))

    def plots(self) -> Plots:
        rated, over = cases.wide_decodes(self.rows), "Tokens of context"
        groups, larger = _by_batch(rated[rated["share"].notna()], "layout")
        caption = "Dotted: the larger batch. Of several methods the fastest. MLA is absorbed."
        axes, look = ("context", "share", sweep.PERCENT, over), {"even": "the roof", "dashed": larger}
        yield from lines("decode-kinds", "Kinds of attention", caption, groups, *axes, **look)
        groups, larger = _by_batch(self.narrow, "cache")
        how = "; ".join(methods(self.narrow))
        caption = f"Time with the wide cache over time with the narrow one{how and f' ({how})'}."
        axes, look = ("context", "times", sweep.TIMES, over), {"even": "as fast as the wide", "dashed": larger}
        yield from lines("decode-cache", "A narrow cache", caption, groups, *axes, **look)
        uneven = cases.ragged(self.rows)
        hover = [f"<b>{theme.safe(row.spread)}</b><br>{units.seconds(row.seconds)}" for row in tidy.each(uneven)]
        traces = {"ragged": (list(uneven["longer"]), hover)}
        drawn = sweep.bars(list(uneven["spread"]), traces, "Times as long as equal lengths", stacked=False)
        caption = "Equal numbers of keys in all, spread over the sequences in three ways."
        yield from plot("decode-ragged", "Uneven lengths", drawn, caption)
        groups, axes = {"prefill": cases.prefixed(self.rows)}, ("context", "seconds", sweep.SECONDS)
        yield from lines("decode-prefix", "A cached prefix", "", groups, *axes, "Tokens seen, the new ones included")
        groups = dict(iter(cases.decode_tail(self.rows).groupby("name", sort=False)))
        axes = "rows", "seconds", sweep.SECONDS, "Rows (sequences in the batch)"
        yield from lines("decode-tail", "Append, LM head and sampling", "", groups, *axes)

    def findings(self) -> Sentences:
        seen = cases.wide_decodes(self.rows)
        best = seen[seen["share"].notna()].sort_values("share").drop_duplicates("layout", keep="last").sort_index()
        shares = [f"{row.layout} {units.percent(row.share)}" for row in tidy.each(best)]
        parts = best.assign(told=shares).groupby("limiter", sort=False)["told"]
        if said := [f"{', '.join(told)} of {names.roof(limiter)}" for limiter, told in parts]:
            yield f"At best {'; '.join(said)}."
        beside, said = tidy.each(cases.beside_mha(seen)), []
        for row in beside:
            ideal = f" ({units.digits(row.lighter)})" if tidy.has(row.lighter) else ""
            said.append(f"{row.layout} {units.digits(row.times)}{ideal}")
        if said:
            at = f"batch {beside[0].batch:.0f}, {beside[0].context:,.0f} tokens"
            yield f"Speed over MHA (bytes alone) at {at}: {', '.join(said)}."
        for cache, part in self.narrow.groupby("cache", sort=False):
            times, most = span(part["times"], units.digits), part["lighter"].max()
            ideal = f" (bytes alone: up to {units.digits(most)})" if tidy.has(most) else ""
            yield f"A cache of {cache} is {times} times as fast as the wide one{ideal}."

    def notes(self) -> Sentences:
        for cache, part in self.narrow.groupby("cache", sort=False):
            yield from (f"Cache of {cache}: {method}." for method in methods(part))
        uneven, prefix, after = (select(self.rows) for select in (cases.ragged, cases.prefixed, cases.decode_tail))
        if said := [f"{row.spread} {units.digits(row.longer)}" for row in tidy.each(uneven) if row.spread != "equal"]:
            yield f"Times as long as equal lengths of as many keys: {listed(said)}."
        for row in tidy.each(prefix[(prefix["prefix"] > 0) & prefix["times"].notna()].nlargest(1, "prefix")):
            after_cached = f"{units.digits(row.times)} times as long after {row.prefix:,.0f} cached ones, still read"
            yield f"{row.new:.0f} new tokens take {after_cached}."
        last = after[after["rows"] == after["rows"].max()]
        if said := [f"{row.name} {units.seconds(row.seconds)}" for row in tidy.each(last)]:
            yield f"For {last['rows'].iloc[0]:.0f} rows: {listed(said)}."


def _by_batch(seen: pd.DataFrame, what: str) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """(lines by kind and batch, those of any but the smallest batch of their kind, which share its colour)."""
    groups, larger = {}, []
    for name, part in seen.groupby(what, sort=False):
        found = {f"{name}, batch {batch:.0f}": mine for batch, mine in part.groupby("batch")}
        groups |= found
        larger += list(found)[1:]
    return groups, larger
