"""The closed forms of serving: ridges, floors, crossovers, speculation, collectives. Numbers in, a number out.

The planner sums per operator (step.py); these are for checks, for plots and for saying why. Rates are FLOP/s and B/s,
sizes bytes, times seconds. Sources stand beside each.
"""

import math


def ridge(compute: float, memory: float) -> float:
    """FLOP per byte from which on the compute roof binds."""
    return compute / memory


def critical(compute: float, memory: float, weight_bytes: float) -> float:
    """Tokens per step from which on a linear operator is compute-bound: (bytes per weight / 2) x ridge."""
    return weight_bytes / 2 * ridge(compute, memory)


def knee(single: float, compute: float, k: float, n: float) -> float:
    """Rows where the flat line through a measured t(1) meets the compute line of a K x N weight: no fit needed."""
    return single * compute / (2 * k * n)


def kv_equals_weights(weights: float, batch: int, kv: float) -> float:
    """Context (tokens) where a step reads as many bytes of KV as of weights."""
    return weights / (batch * kv)


def kv_equals_compute(linear: float, intensity: float, kv: float) -> float:
    """Context where reading one sequence's KV takes as long as its linear FLOP; beyond, a larger batch buys little.

    linear: weights that multiply a token.
    """
    return 2 * linear / (intensity * kv)


def batching_gain(weights: float, context: float, kv: float, linear: float, compute: float, memory: float) -> float:
    """Cost per token at batch 1 over cost per token in an endless batch."""
    read = context * kv / memory
    return (weights / memory + read) / (2 * linear / compute + read)


def rate_limit(linear: float, context: float, kv: float, compute: float, memory: float) -> float:
    """Tokens/s of one device in an endless batch, kernels one after the other."""
    return 1 / (2 * linear / compute + context * kv / memory)


def drain(memory_bytes: float, bandwidth: float) -> float:
    """Seconds to read the whole memory once: the longest interval between two steps of a full, memory-bound device."""
    return memory_bytes / bandwidth


def speculated(acceptance: float, drafts: int) -> float:
    """Tokens per verify step, the bonus token included (Leviathan et al., arXiv 2211.17192)."""
    if acceptance >= 1:
        return drafts + 1.0
    return (1 - acceptance ** (drafts + 1)) / (1 - acceptance)


def tree_steps(ranks: int) -> int:
    """Steps of an all-reduce up and down a tree."""
    return 2 * math.ceil(math.log2(ranks))


def tensor_efficiency(ranks: int, layers: int, reduce: float, single: float) -> float:
    """t(1)/(n t(n)) of equally efficient kernels: what the latency of two all-reduces per layer alone leaves."""
    return 1 / (1 + ranks * 2 * layers * reduce / single)


def usd_per_million(price_per_hour: float, devices: int, rate: float) -> float:
    """USD per 1e6 tokens at `rate` tokens/s of the whole system."""
    return price_per_hour * devices / (3600 * rate) * 1e6


def joules_per_token(watts: float, step: float, batch: int) -> float:
    return watts * step / batch
