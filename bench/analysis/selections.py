"""The cases that a question about memory, links or products is answered from: a frame per question, without words."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from statistics import median

import numpy as np
import pandas as pd

from bench.analysis.fit import Fit, Ridge, RoofFit
from bench.analysis.knee import smooth_minimum
from bench.analysis.tidy import noted, numbered, texts, usable
from bench.roofline import MissingRoof
from bench.schema import DeviceInfo

# Notes of the capacity probe: sequences that sizes predict and that were allocated, and bytes.
NOTED = ("predicted", "confirmed", "free_bytes", "total_bytes", "sizes_bytes", "counted_bytes", "largest")


def streams(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the bandwidth probe, with `bytes`, `mix` and `plain` stores; of several settings the fastest."""
    seen = texts(numbered(usable(rows, "bandwidth"), "bytes"), "mix", "store")
    seen = seen[seen["byte_rate"].notna()].assign(plain=seen["store"] == "plain")
    fastest = seen.sort_values("byte_rate", ascending=False).drop_duplicates(["mix", "bytes", "cache", "plain"])
    return fastest.sort_index()


def cold_copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Of them the copies that touch more than the last cache holds, without plain stores."""
    seen = streams(rows)
    return seen[(seen["cache"] == "cold") & (seen["mix"] == "copy") & ~seen["plain"]]


def plain_copy(rows: pd.DataFrame) -> float | None:
    """The rate of a cold copy with plain stores over that of the same one with streaming stores; None without both."""
    found = [usable(rows, "bandwidth", store=s, cache="cold", mix="copy")[:1] for s in ("plain", "streaming")]
    if not all(map(len, found)) or len({part["work"].iloc[0] for part in found}) > 1:
        return None
    plain, streaming = (part["byte_rate"].iloc[0] for part in found)
    return plain / streaming


def mixes(dram: RoofFit) -> dict[str, float]:
    """The best rate of each mix of reads and writes that stood for the DRAM roof."""
    found: dict[str, float] = {}
    for case, rate in [(dram.winner, dram.roof.rate), *dram.rivals]:
        mix = str(case.params.get("mix"))
        found[mix] = max(rate, found.get(mix, 0.0))
    return found


def copies(rows: pd.DataFrame) -> pd.DataFrame:
    """Over the host link, with `path`, `memory`, `bytes` and `kind`: waited for, in company, or alone on the link."""
    seen = texts(numbered(usable(rows, "hostcopy"), "bytes"), "path", "memory").sort_values("bytes", kind="stable")
    kinds = [next((kind for kind in ("waited", "company") if params.get(kind)), "alone") for params in seen["params"]]
    return seen.assign(kind=kinds)


def from_pageable(copies: pd.DataFrame) -> dict[str, float]:
    """Of each path that was tried with both, the best rate from pageable memory over that from pinned memory."""
    best = copies[copies["kind"] == "alone"].groupby(["memory", "path"])["byte_rate"].max()
    both = [path for memory, path in best.index if memory == "pageable" and ("pinned", path) in best]
    return {path: best["pageable", path] / best["pinned", path] for path in both}


def half_from(seen: pd.DataFrame, rate: str, most: float) -> float | None:
    """From which size on a rate has half of `most`; None where its smallest has."""
    half = seen.loc[seen[rate] >= most / 2, "bytes"].min()
    return half if half > seen["bytes"].min() else None


def bus_bandwidth(size: float, ranks: float, seconds: float) -> float:
    """B/s by NCCL-tests' convention, the same for every algorithm: 2 (n-1)/n * size / time."""
    return 2 * (ranks - 1) / ranks * size / seconds


def reductions(rows: pd.DataFrame) -> pd.DataFrame:
    """All-reduces of two ranks or more with `algorithm`, `bytes`, `ranks` and `bus`, their bus bandwidth."""
    seen = texts(numbered(usable(rows, "allreduce"), "bytes", "ranks"), "algorithm")
    seen = seen[seen["ranks"] > 1].sort_values("bytes", kind="stable")
    return seen.assign(bus=bus_bandwidth(seen["bytes"], seen["ranks"], seen["seconds"]))


def plateau(reductions: pd.DataFrame) -> tuple[pd.Series, float | None]:
    """(the largest of the arrays whose bus bandwidth is the best within noise, from which size on its algorithm has
    half of that; None where its smallest has).
    """
    best = reductions[reductions["bus"] >= 0.97 * reductions["bus"].max()].iloc[-1]
    return best, half_from(reductions[reductions["algorithm"] == best["algorithm"]], "bus", best["bus"])


@dataclass(frozen=True)
class HockneyLine:
    """Messages by size: seconds = alpha + bytes / beta (Hockney, Parallel Computing 20, 1994). alpha: seconds that a
    message of no bytes takes. beta: B/s of a message without end. misfit: the typical relative distance of the sizes
    from the line; libraries change protocol with size, so it is seldom small.
    """

    alpha: float
    beta: float
    misfit: float

    @property
    def half(self) -> float:
        """Bytes at which half of beta is reached."""
        return self.alpha * self.beta

    def seconds(self, size: float) -> float:
        return self.alpha + size / self.beta


def hockney_line(points: Sequence[tuple[float, float]]) -> HockneyLine | None:
    """Through (bytes, seconds) of four sizes or more, least squares of relative errors: every size counts alike. None
    where there are fewer, or where time does not grow with size.
    """
    if len({size for size, _ in points}) < 4:
        return None
    sizes, seconds = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    # in units of the largest, or the columns would differ by ten orders
    scale = sizes.max()
    from scipy.optimize import nnls

    (alpha, slope), _ = nnls(np.column_stack([1 / seconds, sizes / scale / seconds]), np.ones(len(sizes)))
    if slope <= 0:
        return None
    misfit = np.median(np.abs((alpha + slope * sizes / scale) / seconds - 1))
    return HockneyLine(float(alpha), float(scale / slope), float(misfit))


def reduction_lines(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame, HockneyLine | None]]:
    """Every algorithm with its all-reduces and the line through their sizes."""
    groups = reductions(rows).groupby("algorithm")
    return [(name, part, hockney_line(list(zip(part["bytes"], part["seconds"], strict=True)))) for name, part in groups]


def products(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the GEMM sweep with `dtype`, `batch`, `n` and `k`, without the strided ones."""
    seen = numbered(usable(rows, "gemm"), "batch", "n", "k")
    kept = [isinstance(params.get("dtype"), str) and not params.get("strided") for params in seen["params"]]
    return texts(seen[pd.Series(kept, index=seen.index, dtype=bool)], "dtype").sort_values("batch", kind="stable")


@dataclass(frozen=True)
class GemmKnee:
    """Where a batch of rows stops being a memory question, of a dtype and weight matrix: predicted, the batch where
    memory time equals compute time by the fitted roofs; measured, where the two asymptotes of the curve cross. None
    where the sweep does not reach it or lacks points.
    """

    dtype: str
    n: int
    k: int
    predicted: float | None
    measured: float | None


def gemm_knees(rows: pd.DataFrame, fit: Fit) -> tuple[GemmKnee, ...]:
    """One per dtype and weight matrix of the gemm probe, the headline dtype and the larger matrix first."""
    # in the order they were planned
    groups = products(rows).sort_index().groupby(["dtype", "n", "k"], sort=False)
    lead = fit.info.headline.dtype
    order = sorted(groups, key=lambda group: (group[0][0] != lead, -group[0][1] * group[0][2]))
    return tuple(GemmKnee(d, int(n), int(k), _predicted(part, fit), _measured(part, fit)) for (d, n, k), part in order)


def _predicted(part: pd.DataFrame, fit: Fit) -> float | None:
    part, roofs = part.sort_values("batch", kind="stable"), fit.roofline
    try:
        ratios = [roofs.compute_seconds(work) / roofs.memory_seconds(work) for work in part["work"]]
    except MissingRoof:
        return None
    return _crossing(list(zip(part["batch"], ratios, strict=True)), 1.0)


def _measured(part: pd.DataFrame, fit: Fit) -> float | None:
    seconds = part["seconds"] - fit.roofline.overhead
    if len(part) < 6 or not (seconds > 0).all():
        return None
    points = zip(part["work"], seconds, strict=True)
    compute, memory, _ = _asymptotes(tuple((work.flops, work.bytes, each) for work, each in points))
    return _crossing(sorted(zip(part["batch"], part["intensity"], strict=True)), compute / memory)


# a page asks for its plot and for its findings
_asymptotes = lru_cache(maxsize=256)(smooth_minimum)


def _crossing(points: list[tuple[float, float]], level: float) -> float | None:
    """Where a rising curve passes a level, on logarithms between its points."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 <= level <= y1 and y1 > y0:
            return x0 * (x1 / x0) ** ((math.log(level) - math.log(y0)) / (math.log(y1) - math.log(y0)))
    return None


def gemms(rows: pd.DataFrame, shapes: Iterable[str]) -> pd.DataFrame:
    """Products of the peak probe of these shapes, with `shape`."""
    seen = texts(usable(rows, "peak", kind="gemm"), "shape")
    return seen[seen["shape"].isin(shapes)]


def gemms_over_loops(fit: Fit) -> dict[str, float]:
    """Of each best GEMM whose unit has an instruction loop of the same dtype too, its rate over that loop's."""
    roofs = {key: each.roof for key, each in fit.roofs.items()}
    pairs = {roof: roofs.get(f"{roof.quantity}.loop") for roof in roofs.values() if roof.method == "library"}
    return {roof.key: roof.rate / loop.rate for roof, loop in pairs.items() if loop}


def lesser_loops(rows: pd.DataFrame) -> pd.DataFrame:
    """Tensor loops that claim no roof: instructions that are not the full-rate path of the chip."""
    seen = texts(usable(rows, "peak", kind="tensor loop"), "dtype", "instruction")
    return seen[seen["saturates"] == ""]


def held(rows: pd.DataFrame) -> pd.DataFrame:
    """Memory filled with sequences: `model`, `context`, the numbers of NOTED, and `all`, the seconds to read it."""
    seen = texts(numbered(usable(rows, "capacity"), "context"), "model")
    seen = seen.assign(**{name: noted(seen, name) for name in NOTED})
    return seen.assign(all=seen["seconds"] * seen["confirmed"].astype(float))


def intensities(rows: pd.DataFrame) -> pd.DataFrame:
    """Points of the FMA sweep by intensity, with `dtype`: the probe's first version had float32 and did not say so."""
    seen = usable(rows, "intensity")
    seen = seen.assign(dtype=[str(params.get("dtype", "float32")) for params in seen["params"]])
    return seen[seen["intensity"] > 0].sort_values("intensity")


def loop_ridge(fit: Fit, dtype: str) -> Ridge | None:
    """Where the separate roofs of a dtype's loop and of DRAM meet."""
    return next((ridge for ridge in fit.ridges if ridge.compute == f"vector.{dtype}.loop"), None)


@dataclass(frozen=True)
class MemoryLevel:
    """Bytes that one thread reaches in it, at_least where more may be there; DRAM has no end."""

    name: str
    bytes: float
    at_least: bool = False


@dataclass(frozen=True)
class Plateau:
    """The median latency of the working sets well inside a level; cycles where the clock was seen."""

    level: MemoryLevel
    seconds: float
    cycles: float | None
    points: int


def levels(info: DeviceInfo) -> list[MemoryLevel]:
    """From the inside out, DRAM last. info counts a level over the whole device. A CPU's core has its own part of every
    level but the last; what a GPU's multiprocessor has to itself is known as a lower bound only.
    """
    cores = int(info.facts.get("cores", "1") or 1)
    inner = [MemoryLevel(cache.name, cache.bytes / (1 if info.sms else cores)) for cache in info.caches[:-1]]
    own = [MemoryLevel("l1", info.onchip["l1"], at_least=True)] if "l1" in info.onchip else []
    last = [MemoryLevel(cache.name, cache.bytes) for cache in info.caches[-1:]]
    return [*own, *inner, *last, MemoryLevel("dram", math.inf)]


def chases(rows: pd.DataFrame) -> pd.DataFrame:
    """The pointer chases of the latency probe by `size`, with `load`, the seconds of one load."""
    seen = numbered(usable(rows, "latency"), "bytes", "hops")
    return seen.assign(size=seen["bytes"], load=seen["seconds"] / seen["hops"]).sort_values("size")


def plateaus(rows: pd.DataFrame, info: DeviceInfo) -> list[Plateau]:
    """One per level that the sweep meets: from four times the level below to half of the level itself."""
    seen, found, below = chases(rows), [], 0.0
    for level in levels(info):
        inside = seen[(seen["size"] >= 4 * below) & (seen["size"] <= level.bytes / 2)]
        if len(inside):
            cycles = (inside["load"] * inside["clock_hz"]).dropna()
            middle = float(cycles.median()) if len(cycles) else None
            found.append(Plateau(level, float(median(inside["load"])), middle, len(inside)))
        below = level.bytes
    return found
