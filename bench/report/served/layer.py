"""One transformer layer: the whole beside the sum of its parts, and where its time goes."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame
from bench.report.served import drawn
from bench.roofline import Roofline

TITLE = "A transformer layer"
QUESTION = "Does a whole layer take as long as its parts do one by one, and which of them takes most?"
_SAME = ("model", "ranks", "dtype", "phase", "tokens")
_MOST = 12  # bars


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    seen = wholes(rows)
    caption = "Solid: the layer. Dotted, crosses: the sum of its parts, each measured alone on cold buffers."
    yield "Decode", caption, _beside(seen[seen["phase"] == "decode"], "batch", "Sequences in the batch")
    yield "Prefill", caption, _beside(seen[seen["phase"] == "prefill"], "tokens", "Tokens of the prompt")
    yield "Where a layer's time goes", "Shares of the sum of its parts.", _shares(rows, seen)


def _beside(seen: pd.DataFrame, over: str, title: str) -> go.Figure | None:
    groups, sums = {}, []
    labels = [_label(row, over) for row in seen.itertuples()]
    for name in dict.fromkeys(labels):
        part = seen[[label == name for label in labels]]
        groups[name] = part
        whole = part[part["parts"].notna()]
        sums.append(f"{name}: its parts")
        groups[sums[-1]] = whole.assign(seconds=whole["parts"]).drop(columns="params")
    return drawn.sweep(groups, over, "seconds", drawn.SECONDS, title, "Time of one layer", dashed=sums)


def _label(row, over: str) -> str:
    ranks = f", 1 of {row.ranks:.0f} ranks" if row.ranks > 1 else ""
    context = f", {row.context:,.0f} tokens of context" if over == "batch" else ""
    return f"{row.model}{ranks}{context}"


def _shares(rows: pd.DataFrame, seen: pd.DataFrame) -> go.Figure | None:
    """The points from the smallest to the largest, as many as can be told apart."""
    known = seen[seen["parts"].notna()]
    step = max(1, -(-len(known) // _MOST))
    known = known.iloc[::step]
    found = [parts(rows, row.params) for row in known.itertuples()]
    names = list(dict.fromkeys(_plain(name) for each in found for name in each))
    places = [_point(row) for row in known.itertuples()]
    traces = {}
    for name in names:
        values = [sum(s for part, s in each.items() if _plain(part) == name) for each in found]
        shares = [100 * value / sum(each.values()) for value, each in zip(values, found, strict=True)]
        hover = [
            f"<b>{name}</b><br>{place}<br>{units.seconds(value)}, {units.percent(share / 100, 2)}"
            for place, value, share in zip(places, values, shares, strict=True)
        ]
        traces[name] = shares, hover
    return drawn.bars(places, traces, "Share of the sum of the parts", stacked=True)


def _plain(name: str) -> str:
    return "attention" if name.endswith("attention") else name


def _point(row) -> str:
    what = f"batch {row.batch:.0f}, {row.context:,.0f} tokens" if row.phase == "decode" else f"{row.tokens:,.0f} tokens"
    size = row.model.rsplit("-", 1)[-1]
    return f"{size} {row.phase}, {what}"


def wholes(rows: pd.DataFrame) -> pd.DataFrame:
    """The whole layers, with columns for their params, and `parts`: the seconds of their parts, NaN where one lacks."""
    seen = drawn.numbered(frame.sound(rows, "layer", part="layer"), "ranks", "tokens", "batch", "context")
    seen = seen.assign(model=list(map(str, frame.param(seen, "model"))), phase=frame.param(seen, "phase"))
    sums = [sum(found.values()) if (found := parts(rows, params)) else None for params in seen["params"]]
    seen = seen.assign(parts=pd.Series(sums, index=seen.index, dtype=float))
    return seen.sort_values(["ranks", "phase", "batch", "context"])


def parts(rows: pd.DataFrame, whole: dict) -> dict[str, float]:
    """Seconds of each part of a whole, all its launches; empty where one of them has no sound time."""
    same = {name: whole.get(name) for name in _SAME}
    alone = rows[(rows["probe"] == "layer")]
    found: dict[str, float] = {}
    for row in alone.itertuples():
        part = str(row.params.get("part"))
        if part == "layer" or any(row.params.get(name) != value for name, value in same.items()):
            continue
        if part.endswith("attention") and any(row.params.get(name) != whole.get(name) for name in ("batch", "context")):
            continue
        count = row.params.get("count", 1)
        if not frame.has(row.seconds) or not isinstance(count, int | float):
            return {}
        found[part] = row.seconds * count
    return found if any(name.endswith("attention") for name in found) and len(found) > 1 else {}


def words(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    seen = wholes(rows)
    known = seen[seen["parts"].notna()]
    if len(known):
        composed = known["seconds"] / known["parts"]
        low, high = composed.min(), composed.max()
        span = units.digits(low) if high / low < 1.005 else f"{units.digits(low)} to {units.digits(high)}"
        yield f"A whole layer takes {span} times the sum of its parts measured alone, over {len(known)} points."
        if low < 0.97:
            yield (
                "Below 1 a part finds in the cache what the part before it left there, or its launch overlaps; alone it"
                " was measured on cold buffers."
            )
        if high > 1.03:
            yield "Above 1 the parts are in each other's way: they evict each other's data, or the clock falls."
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
        best = rated.loc[rated["share"].idxmax()]
        yield (
            f"Nearest to its roof ({units.percent(best['share'])}) comes {_point(best)}; of a layer only weights,"
            " cache, inputs and outputs have to move."
        )


def _largest(found: dict[str, float]) -> str:
    name = max(found, key=found.get)
    return f"{units.percent(found[name] / sum(found.values()), 2)} in {_plain(name)}"
