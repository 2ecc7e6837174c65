"""How near attention comes to the roof that it lives under, and which backend is fastest where: facts, no words."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from bench.analysis.fit import Fit
from bench.analysis.rows import numbered, usable

OWN, UNFUSED = "default", "unfused"  # torch's own choice of a backend, and none at all
DECODE, PREFILL = "decode", "prefill"
RATES = {DECODE: "byte_rate", PREFILL: "flop_rate"}
NEAR = 0.8
ALIKE = 1.03  # times that differ by less are one: no interval stands behind a case measured once


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
    for each in fastest(rivals):
        joined = found and found[-1][0] & each.alike
        before, first, _ = found.pop() if joined else (each.alike, each.keys, each.keys)
        found.append((before & each.alike, first, each.keys))
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
