"""Attention variants of serving: kinds of heads and of caches, ragged batches, a cached prefix, and what follows."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.served import drawn
from bench.report.words import listed
from bench.roofline import Roofline

TITLE = "Attention variants of serving"
QUESTION = "What do the kind of attention, a narrow cache, uneven lengths and the sampling cost a step?"


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    seen = kinds(rows)
    seen = seen[seen["share"].notna()]
    groups, larger = _by_batch(seen, "kind")
    yield (
        "Kinds of attention", "Dotted: the larger batch. Of several methods the fastest. MLA is absorbed.",
        drawn.sweep(groups, "context", "share", drawn.PERCENT, "Tokens of context", even="the roof", dashed=larger),
    )  # fmt: skip
    thin = narrow(rows)
    groups, larger = _by_batch(thin, "cache")
    how = "; ".join(drawn.methods(thin))
    yield (
        "A narrow cache", f"Time with the wide cache over time with the narrow one{how and f' ({how})'}.",
        drawn.sweep(
            groups, "context", "times", drawn.TIMES, "Tokens of context", even="as fast as the wide", dashed=larger
        ),
    )  # fmt: skip
    yield "Uneven lengths", "Equal numbers of keys in all, spread over the sequences in three ways.", _ragged(rows)
    prefix = prefixed(rows)
    yield (
        "A cached prefix", "",
        drawn.sweep({"prefill": prefix}, "context", "seconds", drawn.SECONDS, "Tokens seen, the new ones included"),
    )  # fmt: skip
    groups = dict(iter(tail(rows).groupby("name", sort=False)))
    yield (
        "Append, LM head and sampling", "",
        drawn.sweep(groups, "rows", "seconds", drawn.SECONDS, "Rows (sequences in the batch)"),
    )  # fmt: skip


def _by_batch(seen: pd.DataFrame, what: str) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """(lines by kind and batch, those of any but the smallest batch of their kind, which share its colour)."""
    groups, larger = {}, []
    for name, part in seen.groupby(what, sort=False):
        for number, (batch, mine) in enumerate(part.groupby("batch")):
            label = f"{name}, batch {batch:.0f}"
            groups[label] = mine
            larger += [label] * bool(number)
    return groups, larger


def _attention(rows: pd.DataFrame) -> pd.DataFrame:
    seen = drawn.numbered(frame.sound(rows, "decode", part="attention"), "batch", "context")
    cache, dtype = frame.param(seen, "cache"), frame.param(seen, "dtype")
    kind = [str(layout).upper() for layout in frame.param(seen, "layout")]
    return seen.assign(cache=list(map(str, cache)), wide=[a == b for a, b in zip(cache, dtype, strict=True)], kind=kind)


def kinds(rows: pd.DataFrame) -> pd.DataFrame:
    """Decode with a cache in the dtype that is computed in; of several methods for a kind the fastest."""
    seen = _attention(rows)
    seen = seen[seen["wide"].astype(bool)].sort_values("seconds")
    return seen.drop_duplicates(["kind", "batch", "context"]).sort_index()


def narrow(rows: pd.DataFrame) -> pd.DataFrame:
    """Decode with a narrow cache, with `times` as fast as with the wide one of the same kind, batch and context."""
    seen = _attention(rows)
    found = drawn.ratio(seen[~seen["wide"].astype(bool)], kinds(rows), ("kind", "batch", "context"))
    return found.assign(cache=[names.dtype(cache) for cache in found["cache"]])


def prefixed(rows: pd.DataFrame) -> pd.DataFrame:
    """Prefill after a cached prefix, with `new`, `prefix` and `context`, their sum."""
    seen = frame.sound(rows, "decode", part="prefill attention")
    seen = drawn.numbered(seen, "new").assign(prefix=lambda found: frame.param(found, "prefix"))
    # 0 is a prefix too
    seen = seen[[prefix == 0 or drawn.countable(prefix) for prefix in seen["prefix"]]] if len(seen) else seen
    return seen.assign(context=seen["new"] + seen["prefix"].astype(float))


def tail(rows: pd.DataFrame) -> pd.DataFrame:
    """Append, LM head and sampling, with `rows` and `name`."""
    found = [frame.sound(rows, "decode", part=part) for part in ("KV append", "LM head", "sampling")]
    seen = drawn.numbered(pd.concat(found), "rows")
    name = [
        f"{params['method']} {params['part']}" if "method" in params else params["part"] for params in seen["params"]
    ]
    return seen.assign(name=name)


def ragged(rows: pd.DataFrame) -> pd.DataFrame:
    """Batches of equal sums, with `spread` and `longer`: times as long as the even one."""
    seen = frame.sound(rows, "decode", part="ragged attention")
    seen = seen.assign(spread=list(map(str, frame.param(seen, "spread"))))
    even = seen[seen["spread"] == "equal"]
    base = even["seconds"].iloc[0] if len(even) else float("nan")
    return seen.assign(longer=seen["seconds"] / base)


def _ragged(rows: pd.DataFrame) -> go.Figure | None:
    seen = ragged(rows)
    seen = seen[seen["longer"].notna()]
    hover = [f"<b>{row.spread}</b><br>{units.seconds(row.seconds)}" for row in frame.each(seen)]
    traces = {"ragged": (seen["longer"].tolist(), hover)}
    return drawn.bars(seen["spread"].tolist(), traces, "Times as long as equal lengths", stacked=False)


def words(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    yield from _kinds(kinds(rows))
    yield from _narrow(narrow(rows))
    uneven = ragged(rows)
    uneven = uneven[(uneven["spread"] != "equal") & uneven["longer"].notna()]
    if len(uneven):
        said = [f"{units.digits(row.longer)} times as long ({row.spread})" for row in frame.each(uneven)]
        yield f"Against even sequences of as many keys in all, uneven ones take {listed(said)}."
    prefix = prefixed(rows)
    bare, most = prefix[prefix["prefix"] == 0], prefix[prefix["prefix"] > 0]
    if len(bare) and len(most):
        longest = most.loc[most["prefix"].idxmax()]
        yield (
            f"{longest['new']:.0f} new tokens after {longest['prefix']:,.0f} cached ones take"
            f" {units.digits(longest['seconds'] / bare['seconds'].iloc[0])} times as long as without: a cached prefix"
            " saves its products, and is still read."
        )
    yield from _tail(tail(rows))


def _kinds(seen: pd.DataFrame) -> Iterator[str]:
    seen = seen[seen["share"].notna()]
    if seen.empty:
        return
    best = [part.loc[part["share"].idxmax()] for _, part in seen.groupby("kind", sort=False)]
    said = [f"{row['kind']} {units.percent(row['share'])} of {names.limiter(row['limiter'])}" for row in best]
    yield f"Of the roof that binds each they reach at best: {listed(said)}."
    point = seen.groupby(["batch", "context"])["kind"].nunique().idxmax()
    same = seen[_at(seen, point)].set_index("kind")["seconds"]
    bytes_ = dict(zip(same.index, (work.bytes for work in seen.loc[_at(seen, point), "work"]), strict=True))
    if "MHA" in same and len(same) > 1:
        said = [
            f"{kind} {units.digits(same['MHA'] / s)}"
            + (f" (bytes alone: {units.digits(bytes_['MHA'] / bytes_[kind])})" if bytes_[kind] else "")
            for kind, s in same.items()
            if kind != "MHA"
        ]
        yield f"At batch {point[0]:.0f} and {point[1]:,.0f} tokens, times as fast as MHA: {listed(said)}."


def _at(seen: pd.DataFrame, point: tuple[float, float]) -> pd.Series:
    return (seen["batch"] == point[0]) & (seen["context"] == point[1])


def _narrow(seen: pd.DataFrame) -> Iterator[str]:
    for cache, part in seen.groupby("cache", sort=False):
        low, high = part["times"].min(), part["times"].max()
        span = units.digits(high) if len(part) == 1 else f"{units.digits(low)} to {units.digits(high)}"
        text = f"A cache of {cache} is {span} times as fast as the wide one"
        ideal = max(drawn.lighter(part), default=float("nan"))
        if frame.has(ideal):
            text += f", where its bytes alone would give up to {units.digits(ideal)}"
        how = drawn.methods(part)
        yield f"{text} ({'; '.join(how)})." if how and high < 1 else f"{text}."


def _tail(seen: pd.DataFrame) -> Iterator[str]:
    if seen.empty:
        return
    most = seen["rows"].max()
    said = [
        f"{row.name_} {units.seconds(row.seconds)}"
        for row in frame.each(seen[seen["rows"] == most].rename(columns={"name": "name_"}))
    ]
    yield f"For {most:.0f} rows: {listed(said)}."
