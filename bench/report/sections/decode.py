"""Attention variants of serving: kinds of heads and of caches, ragged batches, a cached prefix, and what follows."""

from collections.abc import Iterator

import pandas as pd

from bench import units
from bench.analysis import tidy
from bench.analysis import transformer_cases as cases
from bench.analysis.rows import methods, ratio
from bench.report import names
from bench.report.document import Plot
from bench.report.phrases import listed
from bench.report.plots import sweep, theme
from bench.report.sections import RunView, lines, plot, span

GROUP = "Attention"


def _narrow(view: RunView) -> pd.DataFrame:
    seen = cases.narrow_decodes(view.rows)
    return seen.assign(cache=list(map(names.dtype, seen["cache"])))


def plots(view: RunView) -> Iterator[Plot]:
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


def findings(view: RunView) -> Iterator[str]:
    seen = cases.wide_decodes(view.rows)
    rated = seen[seen["share"].notna()].sort_values("share").drop_duplicates("layout", keep="last").sort_index()
    said = []
    for limiter, part in rated.groupby("limiter", sort=False):
        shares = [f"{row.layout} {units.percent(row.share)}" for row in tidy.each(part)]
        said.append(f"{', '.join(shares)} of {names.roof(limiter)}")
    if said:
        yield f"At best {'; '.join(said)}."
    yield from _against_mha(seen)
    for cache, part in _narrow(view).groupby("cache", sort=False):
        times = span(part["times"], units.digits)
        ideal = f" (bytes alone: up to {units.digits(part['lighter'].max())})" if part["lighter"].notna().any() else ""
        yield f"A cache of {cache} is {times} times as fast as the wide one{ideal}."


def _against_mha(seen: pd.DataFrame) -> Iterator[str]:
    """At the point where most kinds were measured."""
    mha, point = seen["layout"] == "MHA", list(cases.DECODE_POINT)
    pairs = ratio(seen[~mha], seen[mha], point)
    if pairs.empty:
        return
    batch, context = pairs.groupby(point).size().idxmax()
    same = pairs[(pairs["batch"] == batch) & (pairs["context"] == context)]
    ideals = [f" ({units.digits(ideal)})" if tidy.has(ideal) else "" for ideal in same["lighter"]]
    said = [
        f"{row.layout} {units.digits(row.times)}{ideal}" for row, ideal in zip(tidy.each(same), ideals, strict=True)
    ]
    yield f"Speed over MHA (bytes alone) at batch {batch:.0f}, {context:,.0f} tokens: {', '.join(said)}."


def notes(view: RunView) -> Iterator[str]:
    for cache, part in _narrow(view).groupby("cache", sort=False):
        yield from (f"Cache of {cache}: {method}." for method in methods(part))
    uneven, prefix, after = (select(view.rows) for select in (cases.ragged, cases.prefixed, cases.decode_tail))
    if said := [f"{row.spread} {units.digits(row.longer)}" for row in tidy.each(uneven) if row.spread != "equal"]:
        yield f"Times as long as equal lengths of as many keys: {listed(said)}."
    bare, most = prefix[prefix["prefix"] == 0], prefix[prefix["prefix"] > 0].nlargest(1, "prefix")
    for row in tidy.each(most) if len(bare) else ():
        times = units.digits(row.seconds / bare["seconds"].iloc[0])
        yield f"{row.new:.0f} new tokens take {times} times as long after {row.prefix:,.0f} cached ones, still read."
    last = after[after["rows"] == after["rows"].max()]
    if said := [f"{row.name} {units.seconds(row.seconds)}" for row in tidy.each(last)]:
        yield f"For {last['rows'].iloc[0]:.0f} rows: {listed(said)}."
