"""The numbers of 'how to reduce inference cost', recomputed."""

import math
from collections.abc import Callable

from bench.analysis.serving import formulas, queueing
from bench.analysis.serving.capacity import USABLE
from bench.analysis.serving.claims.reference import anchors
from bench.analysis.serving.claims.reference.anchors import A100, A100_40, FP8, H100, H200, INT4, NAMED
from bench.analysis.serving.claims.reference.bottlenecks import memory_batches, sla_batches
from bench.transformer import Model, Precision, Ranks, Step, operations, resident_weights, visible_pairs
from bench.work import all_reduce, attention

_DRAFT = 0.1  # a draft step over a step of the model
_KERNELS = 9  # of a layer


def numbers() -> dict[str, tuple[float, ...]]:
    return _latency() | _batches() | _techniques() | _speculation() | _size() | _parallel()


def _latency() -> dict[str, tuple[float, ...]]:
    seven = anchors.llama("7B")
    ridges = [anchors.ridge(sku) for sku in (A100, H100, H200)]
    return {
        "IL-02": (
            64 / ridges[0],
            64 / ridges[1],
            formulas.critical(anchors.peak(A100), anchors.bandwidth(A100), INT4.bytes),
            *ridges,
            formulas.critical(anchors.peak(H100), anchors.bandwidth(H100), INT4.bytes),
        ),
        "IL-03": (anchors.bandwidth(A100), anchors.bandwidth(A100_40)),
        "IL-04": (14e9 / 2e12, anchors.streamed(seven) / anchors.bandwidth(A100), seven.layers * _KERNELS * 3e-6),
        "IL-05": (1 / ridges[0],),
        "IL-13": (queueing.closed(32, 128, 0.0, 0.1, in_phase=True).tail,),
    }


def _batches() -> dict[str, tuple[float, ...]]:
    middle = anchors.llama("70B")
    gains = (1 + anchors.streamed(middle) / anchors.kv(middle, context) for context in (1024, 8192))
    prompt = 0.05
    meets = [b for b in range(1, 200) if queueing.closed(b, 128, 0.0, prompt, in_phase=True).tail <= 2 + 1e-9]
    return {
        "IL-14": (sla_batches(),),
        "IL-15": (memory_batches(), memory_batches(8192, FP8)),
        "IL-16": tuple(gains),
        "IL-17": (max(meets),),
    }


def _techniques() -> dict[str, tuple[float, ...]]:
    heads, tokens, dim = 32, 4096, 128
    scores = 4 * heads * tokens**2 * 2 / anchors.bandwidth(A100)
    full = attention(1, heads, heads, tokens, tokens, dim, "bfloat16", "tensor").flops
    causal = attention(1, heads, heads, tokens, tokens, dim, "bfloat16", "tensor", causal=True).flops
    seven, other = anchors.llama("7B"), 2e-3
    times = [anchors.streamed(seven, form) / anchors.bandwidth(A100) for form in (anchors.BF16, FP8, INT4)]
    lengths = (100, 200, 300, 400)
    kept = 3072
    return {
        # 178 TFLOP/s: what others measured of causal prefill attention on that GPU
        "IL-07": (scores, full / anchors.peak(A100), scores / (causal / 178e12), scores / (full / anchors.peak(A100))),
        "IL-09": (
            anchors.BF16.bytes / INT4.bytes,
            (times[0] + other) / (times[1] + other),
            (times[0] + other) / (times[2] + other),
        ),
        "IL-10": tuple(m.heads / m.kv_heads for m in (anchors.llama("70B"), anchors.llama("405B"))),
        "IL-12": (1 - sum(lengths) / len(lengths) / max(lengths),),
        "IL-34": (visible_pairs(4096 - kept, kept) / visible_pairs(4096), 1 - kept / 4096),
        "IL-39": (anchors.peak(H100, "float8_e4m3") / anchors.peak(H100),),
    }


def _speculation() -> dict[str, tuple[float, ...]]:
    def gain(acceptance: float, drafts: int, cost: float = _DRAFT) -> float:
        return formulas.speculated(acceptance, drafts) / (1 + drafts * cost)

    def best(acceptance: float) -> float:
        return max(gain(acceptance, drafts) for drafts in range(41))

    share = 1e9 / anchors.llama("70B").matmul_params_token
    ends = formulas.speculation_ends(0.8, 4, _DRAFT)
    return {
        "IL-08": (gain(0.8, 4), best(0.6), best(0.9), least(best, 2.0), least(best, 4.0)),
        "IL-35": (share, gain(0.8, 4, share)),
        "IL-37": (ends, ends * anchors.ridge(H100)),
    }


def least(best: Callable[[float], float], wanted: float) -> float:
    """The acceptance from which on the best draft length gains that much."""
    low, high = 0.0, 1 - 1e-9
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if best(middle) < wanted else (low, middle)
    return high


def _size() -> dict[str, tuple[float, ...]]:
    large, small = anchors.llama("2-70B"), anchors.llama("7B")
    weights = large.params_total * 2

    def moved(shape: Model) -> float:
        return anchors.streamed(shape) + anchors.kv(shape, 32 * 4096)

    packed = resident_weights(large, Precision(weights=INT4))
    sequence = anchors.kv(large, 2048)
    return {
        "IL-20": (weights, small.params_total * 2),
        "IL-21": (large.params_total / small.params_total,),
        "IL-22": (
            moved(large) / moved(small),
            anchors.kv(small) / anchors.kv(large),
            large.matmul_params_token / small.matmul_params_token,
        ),
        "IL-23": (math.ceil(weights / NAMED[A100_40]), math.ceil(weights / NAMED[A100])),
        "IL-31": (large.params_total / 2, math.floor((NAMED[A100] * USABLE - packed) / sequence), packed),
        "IL-33": (math.ceil(weights / NAMED[A100]), math.ceil(weights / NAMED[A100_40])),
    }


def _parallel() -> dict[str, tuple[float, ...]]:
    seven, eight, middle = anchors.llama("7B"), anchors.llama("8B"), anchors.llama("70B")
    ranks = Ranks(tensor=8)

    def message(tokens: int) -> float:
        rows = operations(seven, anchors.PLAIN, Step(decode=((tokens, 1),)), ranks)
        return next(row.params["bytes"] for row in rows if row.name == "all-reduce")

    claimed = 2 * message(8192)

    def kept(shape: Model, count: int, reduce: float) -> float:
        single = anchors.streamed(shape) / anchors.bandwidth(H100)
        return formulas.tensor_efficiency(count, shape.layers, reduce, single)

    layout = ((eight, 4), (eight, 8), (middle, 8))
    floor = anchors.streamed(seven) / anchors.bandwidth(A100)
    return {
        "IL-25": (ranks.heads(seven),),
        "IL-26": (_reduces(seven, ranks),),
        "IL-27": (all_reduce(1.0, 8).bytes,),
        "IL-28": (claimed, message(1), message(64), claimed / message(1), claimed / message(64)),
        # 225 GB/s: the bus bandwidth of large all-reduces that others measured on this GPU
        "IL-29": (
            seven.layers * all_reduce(claimed, 8).bytes / 225e9,
            2 * seven.layers * 6e-6,
            2 * seven.layers * 44e-6,
            floor / 8,
        ),
        "IL-30": (*(kept(*each, 5e-6) for each in layout), *(kept(*each, 20e-6) for each in layout)),
    }


def _reduces(shape: Model, ranks: Ranks) -> int:
    rows = operations(shape, anchors.PLAIN, Step(decode=((1, 1),)), ranks)
    return next(row.count for row in rows if row.name == "all-reduce")
