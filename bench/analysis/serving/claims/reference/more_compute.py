"""The numbers of 'why more compute cannot fix inference lag', recomputed."""

from bench.analysis.serving import formulas
from bench.analysis.serving.claims.reference import anchors
from bench.analysis.serving.claims.reference.anchors import A100, H100, H200, PLAIN
from bench.analysis.serving.step import decoding, prefilling, timed
from bench.models import model, models

_BETWEEN_NODES, _INSIDE = 50e9, 450e9  # B/s: a 400 Gb/s port, NVLink one way


def numbers() -> dict[str, tuple[float, ...]]:
    deep, middle, small = model("DeepSeek-V3"), anchors.llama("70B"), anchors.llama("8B")
    ridge = anchors.ridge(H100)
    price, speed = 6, 2.5
    ratio = price * speed
    fast = (speed - 1) / (ratio - speed)
    # weights and KV alone, as the text counts: 512 users of 2048 tokens
    users, context = 512, 2048
    weights, cache = (
        b / anchors.bandwidth(H100) for b in (anchors.streamed(middle), users * anchors.kv(middle, context))
    )
    multiply = 2 * users * middle.matmul_params_token / anchors.peak(H100)
    attend = anchors.attention_flops(middle, users * context) / anchors.peak(H100)
    whole, each = max(multiply + attend, weights + cache), max(multiply, weights) + max(attend, cache)
    alone = timed(small, anchors.example(), PLAIN, decoding(8, 1024))
    prompt = timed(small, anchors.example(), PLAIN, prefilling(2048))
    sparsity = deep.experts / deep.active_experts, deep.matmul_params_all / deep.matmul_params_token
    # dispatch in FP8, combine in BF16 (DeepEP)
    sent = formulas.expert_traffic(deep.moe_layers, deep.active_experts, deep.width, 1, 2)
    compute = 2 * deep.matmul_params_token / anchors.peak(H100, "float8_e4m3")
    turns = sorted(formulas.kv_equals_compute(m.matmul_params_token, ridge, anchors.kv(m)) for m in models())
    ours = [
        formulas.kv_equals_compute(m.matmul_params_token, ridge, anchors.kv(m))
        for m in (middle, deep, anchors.llama("405B"))
    ]
    return {
        "RP-01": (ratio, fast * ratio, fast),
        "RP-03": (deep.matmul_params_token / deep.matmul_params_all,),
        "RP-04": (each, whole),
        "RP-05": (alone.shares["memory"],),
        "RP-06": (alone.shares["compute"], prompt.shares["compute"]),
        "RP-07": (
            ridge,
            1 + deep.matmul_params_token / (anchors.kv(deep, 8192)),
            1 + anchors.streamed(middle) / anchors.kv(middle, 8192),
        ),
        "RP-08": (*(ridge * share for share in sparsity), ridge, anchors.ridge(H200), anchors.ridge(A100)),
        "RP-10": (2 * 100e9 / (ridge * 200e3), *ours, 200e3 / turns[-1]),
        "RP-11": (deep.width * 2,),
        "RP-12": (sent, sent / _BETWEEN_NODES, compute, sent / _INSIDE),
        "RP-13": (deep.params_active / deep.params_total,),
    }
