"""The cases that a question about memory, links or products is answered from: a frame per question, without words."""

from collections.abc import Iterable

import pandas as pd

from bench.analysis.fit import Fit, Ridge, RoofFit
from bench.analysis.hockney import Line, line
from bench.analysis.rows import noted, numbered, texts, usable

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


def reduction_lines(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame, Line | None]]:
    """Every algorithm with its all-reduces and the line through their sizes."""
    groups = reductions(rows).groupby("algorithm")
    return [(name, part, line(list(zip(part["bytes"], part["seconds"], strict=True)))) for name, part in groups]


def products(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the GEMM sweep with `dtype`, `batch`, `n` and `k`, without the strided ones."""
    seen = numbered(usable(rows, "gemm"), "batch", "n", "k")
    kept = [isinstance(params.get("dtype"), str) and not params.get("strided") for params in seen["params"]]
    return texts(seen[pd.Series(kept, index=seen.index, dtype=bool)], "dtype").sort_values("batch", kind="stable")


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
