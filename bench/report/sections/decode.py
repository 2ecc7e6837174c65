"""Attention variants of serving: kinds of heads and of caches, ragged batches, a cached prefix, and what follows."""

import pandas as pd

from bench import units
from bench.analysis import names, tidy
from bench.analysis import transformer_cases as cases
from bench.analysis.rows import methods
from bench.report.phrases import listed
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, RunView, Sentences, lines, plot, span

GROUP = "Attention"


def _narrow(view: RunView) -> pd.DataFrame:
    seen = cases.narrow_decodes(view.rows)
    return seen.assign(cache=list(map(names.dtype, seen["cache"])))


def plots(view: RunView) -> Plots:
    rated, narrow, over = cases.wide_decodes(view.rows), _narrow(view), "Tokens of context"
    groups, larger = _by_batch(rated[rated["share"].notna()], "layout")
    caption, y = "Dotted: the larger batch. Of several methods the fastest. MLA is absorbed.", ("share", sweep.PERCENT)
    look = {"even": "the roof", "dashed": larger}
    yield from lines("decode-kinds", "Kinds of attention", caption, groups, "context", *y, over, **look)
    groups, larger = _by_batch(narrow, "cache")
    how, y = "; ".join(methods(narrow)), ("times", sweep.TIMES)
    caption = f"Time with the wide cache over time with the narrow one{how and f' ({how})'}."
    look = {"even": "as fast as the wide", "dashed": larger}
    yield from lines("decode-cache", "A narrow cache", caption, groups, "context", *y, over, **look)
    uneven = cases.ragged(view.rows)
    hover = [f"<b>{theme.safe(row.spread)}</b><br>{units.seconds(row.seconds)}" for row in tidy.each(uneven)]
    traces = {"ragged": (list(uneven["longer"]), hover)}
    drawn = sweep.bars(list(uneven["spread"]), traces, "Times as long as equal lengths", stacked=False)
    caption = "Equal numbers of keys in all, spread over the sequences in three ways."
    yield from plot("decode-ragged", "Uneven lengths", drawn, caption)
    groups, over = {"prefill": cases.prefixed(view.rows)}, "Tokens seen, the new ones included"
    yield from lines("decode-prefix", "A cached prefix", "", groups, "context", "seconds", sweep.SECONDS, over)
    groups, over = dict(iter(cases.decode_tail(view.rows).groupby("name", sort=False))), "Rows (sequences in the batch)"
    title = "Append, LM head and sampling"
    yield from lines("decode-tail", title, "", groups, "rows", "seconds", sweep.SECONDS, over)


def _by_batch(seen: pd.DataFrame, what: str) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """(lines by kind and batch, those of any but the smallest batch of their kind, which share its colour)."""
    groups, larger = {}, []
    for name, part in seen.groupby(what, sort=False):
        found = {f"{name}, batch {batch:.0f}": mine for batch, mine in part.groupby("batch")}
        groups |= found
        larger += list(found)[1:]
    return groups, larger


def findings(view: RunView) -> Sentences:
    seen = cases.wide_decodes(view.rows)
    best = seen[seen["share"].notna()].sort_values("share").drop_duplicates("layout", keep="last").sort_index()
    shares = [f"{row.layout} {units.percent(row.share)}" for row in tidy.each(best)]
    parts = best.assign(told=shares).groupby("limiter", sort=False)["told"]
    if said := [f"{', '.join(told)} of {names.roof(limiter)}" for limiter, told in parts]:
        yield f"At best {'; '.join(said)}."
    beside = tidy.each(cases.beside_mha(seen))
    ideals = [f" ({units.digits(row.lighter)})" if tidy.has(row.lighter) else "" for row in beside]
    if said := [f"{row.layout} {units.digits(row.times)}{ideal}" for row, ideal in zip(beside, ideals, strict=True)]:
        at = f"batch {beside[0].batch:.0f}, {beside[0].context:,.0f} tokens"
        yield f"Speed over MHA (bytes alone) at {at}: {', '.join(said)}."
    for cache, part in _narrow(view).groupby("cache", sort=False):
        times = span(part["times"], units.digits)
        ideal = f" (bytes alone: up to {units.digits(part['lighter'].max())})" if part["lighter"].notna().any() else ""
        yield f"A cache of {cache} is {times} times as fast as the wide one{ideal}."


def notes(view: RunView) -> Sentences:
    for cache, part in _narrow(view).groupby("cache", sort=False):
        yield from (f"Cache of {cache}: {method}." for method in methods(part))
    uneven, prefix, after = (select(view.rows) for select in (cases.ragged, cases.prefixed, cases.decode_tail))
    if said := [f"{row.spread} {units.digits(row.longer)}" for row in tidy.each(uneven) if row.spread != "equal"]:
        yield f"Times as long as equal lengths of as many keys: {listed(said)}."
    for row in tidy.each(prefix[(prefix["prefix"] > 0) & prefix["times"].notna()].nlargest(1, "prefix")):
        after_cached = f"{units.digits(row.times)} times as long after {row.prefix:,.0f} cached ones, still read"
        yield f"{row.new:.0f} new tokens take {after_cached}."
    last = after[after["rows"] == after["rows"].max()]
    if said := [f"{row.name} {units.seconds(row.seconds)}" for row in tidy.each(last)]:
        yield f"For {last['rows'].iloc[0]:.0f} rows: {listed(said)}."
