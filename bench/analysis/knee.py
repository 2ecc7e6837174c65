"""Where a batch of rows stops being a memory question: by the fitted roofs, and by the curve itself."""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import pandas as pd

from bench.analysis.fit import Fit, smooth_minimum
from bench.roofline import MissingRoof


@dataclass(frozen=True)
class GemmKnee:
    """A dtype and weight matrix: predicted, the batch where memory time equals compute time by the fitted roofs;
    measured, where the two asymptotes of the curve cross. None where the sweep does not reach it or lacks points."""

    dtype: str
    n: int
    k: int
    predicted: float | None
    measured: float | None


def gemm_knees(rows: pd.DataFrame, fit: Fit) -> tuple[GemmKnee, ...]:
    """One per dtype and weight matrix of the gemm probe, the headline dtype and the larger matrix first.

    rows: cases with their probe, params, work, seconds and intensity.
    """
    seen = rows[(rows["probe"] == "gemm") & rows["seconds"].notna()]
    groups: dict[tuple, list] = {}
    for row in seen[["params", "work", "seconds", "intensity"]].itertuples():
        if not row.params.get("strided") and "batch" in row.params:
            groups.setdefault((row.params.get("dtype"), row.params.get("n"), row.params.get("k")), []).append(row)
    lead = fit.info.headline.dtype
    order = sorted(groups, key=lambda group: (group[0] != lead, -(group[1] or 0) * (group[2] or 0)))
    return tuple(GemmKnee(*group, _predicted(groups[group], fit), _measured(groups[group], fit)) for group in order)


def _predicted(rows: list, fit: Fit) -> float | None:
    ordered = sorted(rows, key=lambda row: row.params["batch"])
    try:
        ratios = [fit.roofline.compute_seconds(row.work) / fit.roofline.memory_seconds(row.work) for row in ordered]
    except MissingRoof:
        return None
    return _crossing([(row.params["batch"], ratio) for row, ratio in zip(ordered, ratios, strict=True)], 1.0)


def _measured(rows: list, fit: Fit) -> float | None:
    if len(rows) < 6 or not all(row.seconds > fit.roofline.overhead for row in rows):
        return None
    compute, memory, _ = _asymptotes(
        tuple((row.work.flops, row.work.bytes, row.seconds - fit.roofline.overhead) for row in rows)
    )
    curve = sorted((row.params["batch"], row.intensity) for row in rows)
    return _crossing(curve, compute / memory)


# a page asks for its plot and for its findings
_asymptotes = lru_cache(maxsize=256)(smooth_minimum)


def _crossing(points: list[tuple[float, float]], level: float) -> float | None:
    """Where a rising curve passes a level, on logarithms between its points."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 <= level <= y1 and y1 > y0:
            part = (math.log(level) - math.log(y0)) / (math.log(y1) - math.log(y0))
            return x0 * (x1 / x0) ** part
    return None
