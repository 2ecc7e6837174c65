"""The numbers of 'inference bottlenecks, part 2', recomputed."""

import math

from bench.analysis.serving import queueing
from bench.analysis.serving.capacity import USABLE
from bench.analysis.serving.claims.reference import anchors
from bench.analysis.serving.claims.reference.anchors import A100, H100, H200, PLAIN
from bench.analysis.serving.formulas import drain, usd_per_million
from bench.analysis.serving.step import decoding, mixing, prefilling, timed
from bench.transformer import Model, Operation, Step, operations, visible_pairs

_KB = 1000  # tokens of the example prompt
_LONG = 100_000
_MILLION = 1_000_001


def numbers() -> dict[str, tuple[float, ...]]:
    return _metrics() | _naive() | _cache() | _batching() | _prefill() | _decode()


def _metrics() -> dict[str, tuple[float, ...]]:
    together = queueing.closed(32, 128, 0.0, 0.1, in_phase=True)
    alone = 0.5 + 100 * 0.02
    return {
        "P2-01": (together.ttft,),
        "P2-02": (1 / 0.02, 64 / 0.02),
        "P2-03": (alone, alone / 101, 0.02),
        "P2-04": (usd_per_million(2, 1, 1000),),
    }


def _naive() -> dict[str, tuple[float, ...]]:
    big = anchors.llama("405B")
    by_eleven, linear = anchors.eleven(big, _KB), 2 * _KB * anchors.layer_weights(big)
    exact = linear + 2 * big.head_weights + anchors.attention_flops(big, visible_pairs(_KB))
    rounded = 2 * _KB * anchors.ROUNDED
    weights = big.params_total * 2
    square = anchors.attention_flops(big, _LONG**2)
    long_causal = 2 * _MILLION * anchors.layer_weights(big)
    long_causal += anchors.attention_flops(big, visible_pairs(_MILLION))
    # the text: 11 d^2 for every token of a million, and the full square of a million
    million = 1_000_000
    long_linear, long_square = anchors.eleven(big, million), anchors.attention_flops(big, million**2)
    mask = anchors.attention_flops(big, visible_pairs(million))
    per_layer = big.layers * big.heads * big.head_dim
    # where 4 L H e pairs equals 2 N s: s = N / (L H e) with the mask, half of it without
    equal = anchors.layer_weights(big) / per_layer
    return {
        "P2-05": (3 + 4 + 5, 3 + 1 + 1, sum(range(1000, 2000)) / 1999),
        "P2-06": (equal, equal / 2),
        "P2-07": (big.heads * _KB**2 * 2, big.heads * _LONG**2 * 2),
        "P2-08": (1 / anchors.ridge(H100),),
        "P2-09": (by_eleven, linear, exact, anchors.layer_weights(big) / (big.layers * big.width**2)),
        "P2-10": (rounded, rounded / by_eleven),
        "P2-11": (anchors.peak(H100),),
        "P2-12": (by_eleven / 1e15, exact / 760e12, exact / 897e12, math.ceil(weights / 85.52e9)),
        "P2-13": (1 / (by_eleven / 1e15),),
        "P2-14": ((long_linear + long_square) / 1e15, long_causal / 1e15),
        "P2-15": (long_square / (long_linear + long_square), mask / (2 * million * anchors.layer_weights(big) + mask)),
        "P2-32": (2 * _LONG * anchors.ROUNDED, 2 * _LONG * anchors.layer_weights(big)),
        "P2-33": (square, anchors.attention_flops(big, visible_pairs(_LONG))),
        "P2-34": (
            2 * _LONG * anchors.ROUNDED + square,
            2 * _LONG * anchors.ROUNDED + anchors.attention_flops(big, visible_pairs(_LONG)),
            equal,
        ),
    }


def _cache() -> dict[str, tuple[float, ...]]:
    big = anchors.llama("405B")
    hypothetical = anchors.mha(big)
    own, full = anchors.kv(big), anchors.kv(hypothetical)
    middle = anchors.llama("70B")
    user, memory = sla_batches(), memory_batches()
    return {
        "P2-17": (own / anchors.bandwidth(H100),),
        "P2-18": (full / own,),
        "P2-19": (full / big.layers, full / big.layers),
        "P2-20": (full, full / 1024),
        "P2-21": (big.width, big.layers, big.heads, big.kv_heads, big.ffn),
        "P2-22": (full / own, anchors.kv(anchors.mha(middle)) / anchors.kv(middle)),
        "P2-23": (full * 1e6, full / 1024 * 1000 * 1e6),
        "P2-24": (user, memory),
    }


def _batching() -> dict[str, tuple[float, ...]]:
    lengths = (100, 200, 300, 400)
    return {
        "P2-25": (1 / anchors.ridge(H100), 1 / anchors.ridge(A100)),
        "P2-26": (anchors.ridge(H100), anchors.ridge(A100)),
        "P2-28": (anchors.intensity(64, 8192), anchors.intensity(1, 8192)),
        "P2-29": (1 - sum(lengths) / len(lengths) / max(lengths),),
    }


def _prefill() -> dict[str, tuple[float, ...]]:
    big = anchors.llama("405B")
    square, causal = _LONG**2, visible_pairs(_LONG)
    linear = 2 * _LONG * anchors.ROUNDED
    cache = anchors.kv(big, _LONG)
    # the text's own: 810 GB of weights and the cache once
    traffic = 2 * anchors.ROUNDED + cache
    moved = activations(big)
    full = linear + anchors.attention_flops(big, square)
    masked = linear + anchors.attention_flops(big, causal)
    exact = 2 * _LONG * anchors.layer_weights(big) + 2 * big.head_weights + anchors.attention_flops(big, causal)
    step = timed(anchors.llama("8B"), anchors.example(), PLAIN, prefilling(2048))
    return {
        "P2-30": (causal / square,),
        "P2-31": (big.layers * _LONG * moved, traffic, moved),
        "P2-35": (big.params_total * 2, big.matmul_params_token * 2),
        "P2-36": (cache, anchors.kv(anchors.mha(big), _LONG)),
        "P2-37": (
            full / traffic,
            masked / traffic,
            full / (2 * anchors.ROUNDED + anchors.kv(anchors.mha(big), _LONG)),
            exact / (big.layers * _LONG * moved + anchors.streamed(big)),
        ),
        "P2-38": (
            anchors.ridge(H100),
            anchors.ridge(H100, "float8_e4m3"),
            anchors.ridge(H200),
            anchors.ridge(A100),
        ),
        "P2-39": (step.shares["compute"],),
    }


def _decode() -> dict[str, tuple[float, ...]]:
    big, small = anchors.llama("405B"), anchors.llama("8B")
    linear, attention = 2 * anchors.ROUNDED, anchors.attention_flops(big, _LONG)
    traffic = 2 * anchors.ROUNDED + anchors.kv(big, _LONG)
    wide = 2 * anchors.ROUNDED + anchors.kv(anchors.mha(big), _LONG)
    memory, compute = drain(traffic, 8 * anchors.bandwidth(H100)), (linear + attention) / (8 * anchors.peak(H100))
    alone, mixed, prompt = (
        timed(small, anchors.example(), PLAIN, step).seconds
        for step in (decoding(8, 1024), mixing(8, 1024, 512), prefilling(2048))
    )
    group = 4 * big.heads * big.head_dim / (2 * big.kv_heads * big.head_dim * 2)
    return {
        "P2-40": (anchors.intensity(1, 4096),),
        "P2-41": (linear, attention, linear + attention),
        "P2-42": (traffic, anchors.streamed(big) + anchors.kv(big, _LONG)),
        "P2-43": ((linear + attention) / traffic, group, (linear + attention) / wide),
        "P2-44": (memory, compute),
        "P2-45": (compute / memory,),
        "P2-47": (alone, alone + prompt, mixed),
        "P2-48": (anchors.kv(big) / anchors.kv(big, _LONG), anchors.kv(big), anchors.kv(big, _LONG)),
    }


def sla_batches() -> int:
    """Users of 70B at 30 tokens/s each by the bandwidth of one H200: FP8 weights, BF16 KV, 2048 tokens of context."""
    shape = anchors.llama("70B")
    weights = anchors.streamed(shape, anchors.FP8)
    return math.floor((anchors.bandwidth(H200) / 30 - weights) / anchors.kv(shape, 2048))


def memory_batches(context: int = 2048, form=anchors.BF16) -> int:
    """Sequences of the same that fit its memory."""
    shape = anchors.llama("70B")
    room = anchors.NAMED[H200] * USABLE - shape.params_total * anchors.FP8.bytes
    return math.floor(room / anchors.kv(shape, context, form))


def activations(shape: Model) -> float:
    """Bytes per token that pass between the kernels of one layer, K and V as attention reads them included."""
    rows = operations(shape, PLAIN, Step(prefill=((_LONG, 0, False),)))
    moved = sum(row.work.bytes - _weights(row, shape) for row in rows if row.count == shape.layers)
    return moved / _LONG


def _weights(row: Operation, shape: Model) -> float:
    if row.name.startswith("norm"):
        return shape.width * 2
    return row.params["n"] * row.params["k"] * 2 if row.kind == "gemm" else 0.0
