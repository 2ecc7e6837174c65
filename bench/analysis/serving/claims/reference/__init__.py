"""The numbers of the reference column, recomputed from model shapes and datasheets: claim -> values, SI base units."""

from functools import cache

from bench.analysis.serving.claims.reference import bottlenecks, inference_cost, insights, mlperf, more_compute


@cache
def numbers() -> dict[str, tuple[float, ...]]:
    """In the order in which the claims' reference texts name them; claims without a number are absent."""
    found: dict[str, tuple[float, ...]] = {}
    for document in (bottlenecks, inference_cost, more_compute, insights, mlperf):
        found |= document.numbers()
    return found
