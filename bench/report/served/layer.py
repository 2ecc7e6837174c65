"""One transformer layer: the whole beside the sum of its parts, and where its time goes."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.figures import style
from bench.report.served import drawn
from bench.report.words import many
from bench.roofline import Roofline

TITLE = "A transformer layer"
QUESTION = "Does a whole layer take as long as its parts do one by one, and which of them takes most?"
_SAME = ("model", "ranks", "dtype", "phase", "tokens")
_MOST = 24  # bars
_APART = 0.03  # nearer to 1 than this is as predicted


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    seen = wholes(rows)
    caption = "Solid: the layer. Dotted, crosses: the sum of its parts, each measured alone on cold buffers."
    yield "Decode", caption, _beside(seen[seen["phase"] == "decode"], "batch", "Sequences in the batch")
    yield "Prefill", caption, _beside(seen[seen["phase"] == "prefill"], "tokens", "Tokens of the prompt")
    caption = "Time of the whole over the sum of its parts."
    yield "Composition", caption, _composition(seen)
    yield "Where a layer's time goes", "Shares of the sum of its parts.", _shares(rows, seen)


def _beside(seen: pd.DataFrame, over: str, title: str) -> go.Figure | None:
    groups, sums = {}, []
    labels = [_label(row, over) for row in frame.each(seen)]
    for name in dict.fromkeys(labels):
        part = seen[[label == name for label in labels]]
        groups[name] = part
        whole = part[part["parts"].notna()]
        sums.append(f"{name}: its parts")
        groups[sums[-1]] = whole.assign(seconds=whole["parts"]).drop(columns="params")
    return drawn.sweep(groups, over, "seconds", drawn.SECONDS, title, "Time of one layer", dashed=sums)


def _composition(seen: pd.DataFrame) -> go.Figure | None:
    known = seen[seen["parts"].notna()]
    known = known.assign(factor=known["seconds"] / known["parts"])
    labels = [
        f"{_label(row, 'batch' if row.phase == 'decode' else 'tokens')}, {row.phase}" for row in frame.each(known)
    ]
    groups = {name: known[[label == name for label in labels]] for name in dict.fromkeys(labels)}
    title = "Tokens in the step"
    return drawn.sweep(groups, "tokens", "factor", drawn.FACTOR, title, "Whole over parts", even="sum of the parts")


def _label(row, over: str) -> str:
    ranks = f", 1 of {row.ranks:.0f} ranks" if row.ranks > 1 else ""
    context = f", {row.context:,.0f} tokens of context" if over == "batch" else ""
    return f"{row.model}{ranks}{context}"


def _shares(rows: pd.DataFrame, seen: pd.DataFrame) -> go.Figure | None:
    """The points from the smallest to the largest, as many as can be told apart."""
    known = seen[seen["parts"].notna()]
    step = max(1, -(-len(known) // _MOST))
    known = known.iloc[::step]
    found = _told_apart([parts(rows, row.params) for row in frame.each(known)])
    named = list(dict.fromkeys(_plain(name) for each in found for name in each))
    places = [_point(row) for row in frame.each(known)]
    traces = {}
    for name in named:
        values = [sum(s for part, s in each.items() if _plain(part) == name) for each in found]
        shares = [100 * value / sum(each.values()) for value, each in zip(values, found, strict=True)]
        hover = [
            f"<b>{name}</b><br>{place}<br>{units.seconds(value)}, {units.percent(share / 100, 2)}"
            for place, value, share in zip(places, values, shares, strict=True)
        ]
        traces[name] = shares, hover
    return drawn.bars(places, traces, "Share of the parts", stacked=True)


def _told_apart(found: list[dict[str, float]]) -> list[dict[str, float]]:
    """The same with the parts that are smallest everywhere as one, where there are more than colours."""
    most: dict[str, float] = {}
    for each in found:
        for name, seconds in each.items():
            most[_plain(name)] = max(most.get(_plain(name), 0.0), seconds / sum(each.values()))
    if len(most) <= len(style.SERIES):
        return found
    kept = sorted(most, key=most.get, reverse=True)[: len(style.SERIES) - 1]
    joined = []
    for each in found:
        large = {name: seconds for name, seconds in each.items() if _plain(name) in kept}
        joined.append(large | {"all others": sum(each.values()) - sum(large.values())})
    return joined


def _plain(name: str) -> str:
    return "attention" if name.endswith("attention") else name


def _point(row) -> str:
    what = f"batch {row.batch:.0f}, {row.context:,.0f} tokens" if row.phase == "decode" else f"{row.tokens:,.0f} tokens"
    size = row.model.rsplit("-", 1)[-1]
    return f"{size} {row.phase}, {what}"


def wholes(rows: pd.DataFrame) -> pd.DataFrame:
    """The whole layers, with columns for their params, and `parts`: the seconds of their parts, NaN where one lacks."""
    seen = drawn.numbered(frame.sound(rows, "layer", part="layer"), "ranks", "tokens", "batch", "context")
    model, phase = (list(map(str, frame.param(seen, name))) for name in ("model", "phase"))
    seen = seen.assign(model=model, phase=phase)
    sums = [sum(found.values()) if (found := parts(rows, params)) else None for params in seen["params"]]
    seen = seen.assign(parts=pd.Series(sums, index=seen.index, dtype=float))
    return seen.sort_values(["ranks", "phase", "batch", "context"])


def parts(rows: pd.DataFrame, whole: dict) -> dict[str, float]:
    """Seconds of each part of a whole, all its launches; empty where one of them has no sound time."""
    same = {name: whole.get(name) for name in _SAME}
    alone = rows[rows["probe"] == "layer"]
    found: dict[str, float] = {}
    for params, seconds in zip(alone["params"], alone["seconds"], strict=True):
        part = str(params.get("part"))
        if part == "layer" or any(params.get(name) != value for name, value in same.items()):
            continue
        if part.endswith("attention") and any(params.get(name) != whole.get(name) for name in ("batch", "context")):
            continue
        count = params.get("count", 1)
        if not frame.has(seconds) or not drawn.countable(count):
            return {}
        found[part] = seconds * count
    return found if any(name.endswith("attention") for name in found) and len(found) > 1 else {}


def words(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    seen = wholes(rows)
    known = seen[seen["parts"].notna()]
    if len(known):
        composed = known["seconds"] / known["parts"]
        low, high = composed.min(), composed.max()
        span = units.digits(low) if high / low < 1.005 else f"{units.digits(low)} to {units.digits(high)}"
        yield f"A whole layer takes {span} times the sum of its parts measured alone, over {many(len(known), 'point')}."
        yield from _meant(known, fit.info.simulated)
    for phase in ("decode", "prefill"):
        mine = known[known["phase"] == phase]
        if mine.empty:
            continue
        small, large = mine.loc[mine["seconds"].idxmin()], mine.loc[mine["seconds"].idxmax()]
        first, last = (_largest(parts(rows, each["params"])) for each in (small, large))
        more = f", the longest ({_point(large)}) {last}" if len(mine) > 1 else ""
        yield f"Of {phase} the shortest point ({_point(small)}) spends {first}{more}."
    rated = seen[seen["share"].notna()]
    if len(rated):
        best, worst = rated.loc[rated["share"].idxmax()], rated.loc[rated["share"].idxmin()]
        yield (
            f"Nearest to its roof, {names.limiter(best['limiter'])}, comes {_point(best)}"
            f" ({units.percent(best['share'])}, counting only weights, cache, inputs and outputs), furthest"
            f" {_point(worst)} ({units.percent(worst['share'])})."
            if len(rated) > 1
            else f"{_point(best)} reaches {units.percent(best['share'])} of its roof, {names.limiter(best['limiter'])}."
        )


def _meant(known: pd.DataFrame, simulated: bool) -> Iterator[str]:
    """What could explain a factor away from 1; of a simulated device the arithmetic alone."""
    composed = known["seconds"] / known["parts"]
    # the whole's own interval has to lie there too
    below = int(((composed < 1 - _APART) & (known["high"] < known["parts"])).sum())
    above = int(((composed > 1 + _APART) & (known["low"] > known["parts"])).sum())
    if not below and not above:
        yield f"None is clearly more than {units.percent(_APART, 1)} from 1: adding its parts predicts it."
    # a simulated device has no cache to explain it by
    if below and simulated:
        yield (
            f"{many(below, 'point')} below 1: here a whole is bound once, by memory or arithmetic, and each part by its"
            " own."
        )
    elif below:
        yield (
            f"{many(below, 'point')} clearly below 1, as where a part finds in the cache what the one before it left,"
            " or launches overlap; alone each was measured on cold buffers."
        )
    if above:
        yield (
            f"{many(above, 'point')} clearly above 1"
            + (
                "."
                if simulated
                else ", as where parts are in each other's way: they evict each other's data, or the clock falls."
            )
        )


def _largest(found: dict[str, float]) -> str:
    name = max(found, key=found.get)
    return f"{units.percent(found[name] / sum(found.values()), 2)} in {_plain(name)}"
