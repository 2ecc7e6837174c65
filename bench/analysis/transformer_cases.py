"""The cases that a question about a transformer's parts is answered from: a frame per question, without words."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from bench.analysis.fit import Fit
from bench.analysis.tidy import countable, noted, numbered, ratio, texts, usable

OWN, UNFUSED = "default", "unfused"  # torch's own choice of a backend of attention, and none at all
DECODE, PREFILL = "decode", "prefill"
RATES = {DECODE: "byte_rate", PREFILL: "flop_rate"}
NEAR = 0.8  # from this share on attention is near its roof
ALIKE = 1.03  # times that differ by less are one: no interval stands behind a case measured once
DECODE_POINT = ("batch", "context")
CLOSE = 0.03  # a layer nearer than this to the sum of its parts is as predicted
_ROUTED = ("tokens", "experts", "active")
# What a part of a layer shares with its whole; attention its batch and context as well.
_SAME = ("model", "ranks", "dtype", "phase", "tokens")


def decodes(rows: pd.DataFrame) -> pd.DataFrame:
    """Decode by `layout` (in capitals), `cache`, `batch` and `context`; wide: the cache is in the dtype of
    the computation.
    """
    seen = texts(numbered(usable(rows, "decode", part="attention"), *DECODE_POINT), "cache", "dtype", "layout")
    return seen.assign(wide=seen["cache"] == seen["dtype"], layout=[name.upper() for name in seen["layout"]])


def wide_decodes(rows: pd.DataFrame) -> pd.DataFrame:
    """Of several methods for a layout the fastest."""
    seen = decodes(rows)
    return seen[seen["wide"]].sort_values("seconds").drop_duplicates(["layout", *DECODE_POINT]).sort_index()


def beside_mha(wide: pd.DataFrame) -> pd.DataFrame:
    """Of the wide decodes the other layouts beside MHA, at the point where most of them were measured."""
    mha, point = wide["layout"] == "MHA", list(DECODE_POINT)
    pairs = ratio(wide[~mha], wide[mha], point)
    if pairs.empty:
        return pairs
    batch, context = pairs.groupby(point).size().idxmax()
    return pairs[(pairs["batch"] == batch) & (pairs["context"] == context)]


def narrow_decodes(rows: pd.DataFrame) -> pd.DataFrame:
    """With a narrow cache, beside the wide one of the same layout, batch and context."""
    seen = decodes(rows)
    return ratio(seen[~seen["wide"]], wide_decodes(rows), ("layout", *DECODE_POINT))


def prefixed(rows: pd.DataFrame) -> pd.DataFrame:
    """Prefill after a cached prefix, with `new`, `prefix`, `context` (their sum) and `times`: as long as so many new
    tokens take without one, NaN where that was not measured.
    """
    seen = usable(rows, "decode", part="prefill attention")
    bare = numbered(usable(seen, prefix=0), "new").assign(prefix=0.0)
    every = pd.concat([bare, numbered(seen, "new", "prefix")])
    alone = bare.drop_duplicates("new").set_index("new")["seconds"]
    return every.assign(context=every["new"] + every["prefix"], times=every["seconds"] / every["new"].map(alone))


def decode_tail(rows: pd.DataFrame) -> pd.DataFrame:
    """Append, LM head and sampling, with `rows` and `name`: method and part."""
    found = [usable(rows, "decode", part=part) for part in ("KV append", "LM head", "sampling")]
    seen = numbered(pd.concat(found), "rows")
    named = [" ".join(str(given[key]) for key in ("method", "part") if key in given) for given in seen["params"]]
    return seen.assign(name=named)


def ragged(rows: pd.DataFrame) -> pd.DataFrame:
    """Batches of equal sums, with `spread` and `longer`: times as long as the even one."""
    seen = texts(usable(rows, "decode", part="ragged attention"), "spread")
    even = seen.loc[seen["spread"] == "equal", "seconds"]
    return seen.assign(longer=seen["seconds"] / even.iloc[0]) if len(even) else seen.iloc[:0].assign(longer=[])


def layers(rows: pd.DataFrame) -> pd.DataFrame:
    """Whole layers with their params, `split`: the seconds of each part, `parts`: their sum, NaN where one lacks,
    `largest`: its name, `factor`: the whole over the sum, and `side`: −1 or 1 where that is clearly below or above 1,
    the whole's own interval included.
    """
    seen = numbered(usable(rows, "layer", part="layer"), "ranks", "tokens", "batch", "context")
    split = [_split(rows[rows["probe"] == "layer"], params) for params in seen["params"]]
    parts = pd.Series([sum(each.values()) or None for each in split], seen.index, dtype=float)
    factor = seen["seconds"] / parts
    below = (factor < 1 - CLOSE) & (seen["high"] < parts)
    above = (factor > 1 + CLOSE) & (seen["low"] > parts)
    side = above.astype(int) - below.astype(int)
    largest = [max(each, key=each.get, default="") for each in split]
    about = {"split": split, "parts": parts, "largest": largest, "factor": factor, "side": side}
    seen = texts(seen, "model", "phase").assign(**about)
    return seen.sort_values(["ranks", "phase", "batch", "context"])


def shares_of_layers(layers: pd.DataFrame, most: int, parts: int, rest: str) -> pd.DataFrame:
    """The seconds of each part of some of these layers, from the smallest to the largest, `most` of them; the smallest
    parts as one, named `rest`, where there are more than `parts`.
    """
    layers = layers.iloc[:: max(1, -(-len(layers) // most))]
    spent = pd.DataFrame(layers["split"].tolist(), layers.index).fillna(0.0)
    if (more := len(spent.columns) - parts) > 0:
        small = spent.div(spent.sum(axis=1), axis=0).max().nsmallest(more + 1).index
        spent = spent.drop(columns=small).assign(**{rest: spent[small].sum(axis=1)})
    return spent


def _split(rows: pd.DataFrame, whole: dict) -> dict[str, float]:
    """Seconds of each part of a whole, all its launches; empty where one of them has no usable time."""
    found: dict[str, float] = {}
    for params, seconds in zip(rows["params"], rows["seconds"], strict=True):
        part, count = str(params.get("part")), params.get("count", 1)
        attends = part.endswith("attention")
        same = (*_SAME, "batch", "context") if attends else _SAME
        if part == "layer" or any(params.get(name) != whole.get(name) for name in same):
            continue
        if pd.isna(seconds) or not countable(count):
            return {}
        found["attention" if attends else part] = seconds * count
    return found if "attention" in found and len(found) > 1 else {}


def experts(rows: pd.DataFrame) -> pd.DataFrame:
    """Steps with `tokens`, `experts`, `active`, `distinct`, `routing`, `fullest` and `expected`: how many experts
    independent and uniform choices touch.
    """
    seen = numbered(usable(rows, "moe"), *_ROUTED, "distinct")
    seen = texts(seen[seen["active"] <= seen["experts"]], "routing")
    expected = seen["experts"] * (1 - (1 - seen["active"] / seen["experts"]) ** seen["tokens"])
    return seen.assign(expected=expected, fullest=noted(seen, "fullest"))


def skewed(rows: pd.DataFrame) -> pd.DataFrame:
    """Skewed steps beside uniform ones of as many tokens, with `distinct_base` and `fullest_base`."""
    seen = experts(rows)
    of = {routing: seen[seen["routing"] == routing] for routing in ("skewed", "uniform")}
    return ratio(of["skewed"], of["uniform"], _ROUTED, "distinct", "fullest")


def chunked(rows: pd.DataFrame) -> pd.DataFrame:
    """Steps with a chunk: `slowdown`, their time over the step without, and `token`, seconds more per prompt token."""
    seen = usable(rows, "mixed")
    found = ratio(numbered(seen, "batch", "chunk"), numbered(usable(seen, chunk=0), "batch"), ("batch",))
    more = found["seconds"] - found["seconds_base"]
    return found.assign(slowdown=1 / found["times"], token=more / found["chunk"])


def quantised(rows: pd.DataFrame) -> pd.DataFrame:
    """Quantised products beside unquantised ones of the same `batch` and shape."""
    seen = numbered(usable(rows, "quantised"), "batch", "n", "k")
    plain = usable(seen, quantised="unquantised")
    return ratio(seen.drop(plain.index), plain, ("batch", "n", "k"))


def fused(rows: pd.DataFrame) -> pd.DataFrame:
    """Fused attention beside three calls, by `tokens`."""
    return _beside(rows, "attention", "fused", "unfused")


def cached(rows: pd.DataFrame) -> pd.DataFrame:
    """A token by its cache beside a layer for all tokens again, by `tokens`."""
    return _beside(rows, "cache", "cached", "recomputed")


def _beside(rows: pd.DataFrame, part: str, good: str, bad: str) -> pd.DataFrame:
    one, other = (numbered(usable(rows, "fusion", part=part, form=form), "tokens") for form in (good, bad))
    return ratio(one.sort_values("tokens"), other, ("tokens",))


def packed(rows: pd.DataFrame) -> pd.DataFrame:
    """Packed batches beside padded ones of as many `sequences`, with `waste`: the rows of those over theirs."""
    seen = numbered(usable(rows, "fusion", part="padding"), "sequences", "rows").sort_values("sequences")
    own, padded = (usable(seen, form=form) for form in ("packed", "padded"))
    found = ratio(own, padded, ("sequences",), "rows")
    return found.assign(waste=found["rows_base"] / found["rows"])


def peaks(rows: pd.DataFrame) -> pd.DataFrame:
    """Attention with `tokens`, `form`, `peak` (bytes beyond its inputs) and `origin`: who counted them, or ""."""
    seen = texts(numbered(usable(rows, "fusion", part="attention"), "tokens"), "form")
    origin = [str(notes.get("peak", "")) for notes in seen["notes"]]
    seen = seen.assign(peak=noted(seen, "peak_bytes"), origin=origin)
    return seen[seen["peak"] > 0]


def attention(rows: pd.DataFrame, fit: Fit, phase: str) -> pd.DataFrame:
    """The cases of a phase with `keys`, `batch`, `backend`, `roof`: the key of the one that it lives under (or ""), and
    `attained`: its share of that. The probe's first version knew no backend but torch's own choice.
    """
    seen = numbered(usable(rows, "attention", phase=phase), "keys", "batch")
    seen = seen[seen[RATES[phase]].notna()]
    roofs = [fit.roofline.find(work.channel if phase == DECODE else work.compute) for work in seen["work"]]
    rates = pd.Series([roof.rate if roof else None for roof in roofs], index=seen.index, dtype=float)
    return seen.assign(
        backend=[str(params.get("backend", OWN)) for params in seen["params"]],
        roof=[roof.key if roof else "" for roof in roofs],
        attained=seen[RATES[phase]] / rates,
    )


def own(seen: pd.DataFrame) -> pd.DataFrame:
    """Without the cases that name a backend."""
    return seen[seen["backend"] == OWN]


def rivals(seen: pd.DataFrame, **shape: object) -> pd.DataFrame:
    """The cases at the shape where backends are compared; empty where no backend was named."""
    seen = usable(seen, **shape)
    seen = seen[seen["keys"] >= seen.loc[seen["backend"] != OWN, "keys"].min()]
    return seen if seen["backend"].nunique() > 1 else seen.iloc[:0]


@dataclass(frozen=True, order=True)
class Fastest:
    """At a length: torch's own time over that of the fastest named backend, its name, and all alike to it."""

    times: float
    name: str
    keys: float
    alike: frozenset[str]


def fastest(rivals: pd.DataFrame) -> Iterator[Fastest]:
    for keys, part in rivals.groupby("keys"):
        times = part.groupby("backend")["seconds"].min()
        named = times.drop(OWN, errors="ignore")
        if len(named):
            alike = frozenset(named.index[named <= ALIKE * named.min()])
            yield Fastest(times.get(OWN, 0.0) / named.min(), named.idxmin(), keys, alike)


def spans(rivals: pd.DataFrame) -> list[tuple[frozenset[str], float, float]]:
    """(backends that are fastest, from this length, to this one): neighbours that share some are one span."""
    found: list[tuple[frozenset[str], float, float]] = []
    for best in fastest(rivals):
        joined = found and found[-1][0] & best.alike
        before, first, _ = found.pop() if joined else (best.alike, best.keys, best.keys)
        found.append((before & best.alike, first, best.keys))
    return found


def unfused(seen: pd.DataFrame) -> Iterator[tuple[float, float]]:
    """(length, times as long as torch's own choice takes for the same) where the scores lie in memory."""
    for bare in seen[seen["backend"] == UNFUSED].itertuples():
        shape = {name: value for name, value in bare.params.items() if name != "backend"}
        same = usable(own(seen), **shape)["seconds"]
        if len(same):
            yield bare.keys, bare.seconds / same.iloc[0]


def slow_until(seen: pd.DataFrame) -> tuple[float, float]:
    """(the longest that is not near its roof, the shortest beyond it), NaN where there is none."""
    slow = seen.loc[seen["attained"] < NEAR, "keys"].max()
    return slow, seen.loc[seen["keys"] > slow, "keys"].min()
