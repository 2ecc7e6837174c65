"""The worked numbers of serving: steps, floors, ridges, crossovers, capacity, experts, ranks, drafts, load, cost.

Each value was computed from its formula by hand; the JAX ones are the worked examples of the scaling book
(https://jax-ml.github.io/scaling-book/), with the numbers it rounds to beside them.
"""

import math
from dataclasses import replace

import pytest

from bench import models
from bench.analysis.serving import formulas, queueing
from bench.analysis.serving.planner import largest_batch
from bench.analysis.serving.step import decoding, mixing, prefilling, timed
from bench.transformer import (
    FORMATS,
    Model,
    Precision,
    Ranks,
    Step,
    distinct_experts,
    distinct_ranks,
    kv_on_rank,
    operations,
    resident_weights,
    streamed_weights,
    visible_pairs,
)
from bench.work import all_reduce, linear
from tests.analysis.serving.flat import flat

B8, B70, B405, V3 = (models.model(n) for n in ("Llama-3.1-8B", "Llama-3.1-70B", "Llama-3.1-405B", "DeepSeek-V3"))
L7, L13, MIXTRAL = (models.model(n) for n in ("Llama-2-7B", "Llama-2-13B", "Mixtral-8x7B"))
L70, SCOUT = models.model("Llama-2-70B"), models.model("Llama-4-Scout")
INT4 = Precision(weights=FORMATS["int4-g128"])
BF16, FP8, INT8 = FORMATS["bf16"], FORMATS["fp8"], FORMATS["int8"]
H100, H200, A100, V5E = (989.4e12, 3.35e12), (989.4e12, 4.8e12), (312e12, 2.039e12), (1.97e14, 8.2e11)
N8, N70, N405, NV3 = (model.matmul_params_token for model in (B8, B70, B405, V3))
KV70 = B70.kv_bytes_per_token(BF16)
X = flat(700e12, 2.8e12, attention=300e12, start=3e-6)


def step(kind: Step) -> float:
    return timed(B8, X, Precision(), kind).seconds


STEP_A, STEP_B, STEP_C = decoding(8, 1024), prefilling(2048), mixing(8, 1024, 512)
LOOP, BURST = (queueing.closed(32, 128, 0.02, 0.1, phase) for phase in (False, True))
POOLS = queueing.pools(100e-3 / 3, 256, lambda b: (15 + 0.1 * b) * 1e-3, 150e-3, 4096, KV70 * 8192, 50e9)
LOOSE = queueing.pools(1.0, 256, lambda b: (15 + 0.1 * b) * 1e-3, 150e-3, 64, 0.0, math.inf)


def attention_intensity(model: Model, kv: str) -> float:
    """FLOP of the cache's pairs over its bytes alone."""
    row = next(
        each for each in operations(model, Precision(kv=FORMATS[kv]), decoding(1, 1)) if each.kind == "attention decode"
    )
    return row.work.flops / (model.kv_elements * FORMATS[kv].bytes)


def pairs_flops(model: Model, tokens: int) -> float:
    rows = operations(model, Precision(), prefilling(tokens))
    return sum(row.count * row.work.flops for row in rows if row.kind == "attention prefill")


def layers_flops(model: Model, tokens: int) -> float:
    rows = operations(model, Precision(), prefilling(tokens))
    return sum(row.count * row.work.flops for row in rows if row.kind == "gemm" and row.name != "LM head")


def reduced(model: Model, batch: int) -> float:
    """The message of a decode step's all-reduce."""
    rows = operations(model, Precision(), decoding(batch, 1024), Ranks(tensor=2))
    return next(row.params["bytes"] for row in rows if row.name == "all-reduce")


def sent(model: Model, batch: int) -> float:
    """What one pipeline stage sends to the next."""
    rows = operations(model, Precision(), decoding(batch, 1024), Ranks(pipeline=2))
    return next(row.params["bytes"] for row in rows if row.name == "pipeline send")


def jax13(batch: int, kv: float = 6.7e9) -> float:
    return (26e9 + batch * kv) / 6.56e12 * 1e3


GOLDEN = {
    # metrics
    "MET-1": (0.5 + 100 * 0.02, 2.5),
    "MET-4": (64 / 0.02, 3200),
    "MET-5": (13.0e9 / (0.01 * A100[1]), 0.637567435017),
    "MET-6": (1 / formulas.ridge(*H100), 0.00338589043865),
    # parameters and KV
    "PAR-1": (B8.params_total, 8030261248),
    "PAR-2": (N70, 69501714432),
    "PAR-3": (N405 - B405.head_weights, 401646551040),
    "PAR-4": ((N405 - B405.head_weights) / (126 * 16384**2), 11.875),
    "PAR-5": (V3.attention_weights(), 187105280),
    "PAR-6": (MIXTRAL.params_total / MIXTRAL.params_active, 3.62601426676),
    "PAR-7": (Model("book", 64, 4096, 32, 8, 256, 16384, 32128, tied=True).params_total, 18385207296),
    "KV-1": (KV70, 327680),
    "KV-2": (B70.kv_bytes_per_token(FP8), 163840),
    "KV-4": (B405.kv_bytes_per_token(BF16), 516096),
    "KV-7": (V3.kv_bytes_per_token(BF16), 70272),
    "KV-8": (L13.kv_bytes_per_token(BF16) * 8192, 6710886400),
    "KV-9": (models.model("gpt-oss-120b").resident_kv(BF16, 8192), 306708480),
    "KV-10": (models.model("gpt-oss-120b").kv_bytes_per_token(BF16) * 8192, 603979776),
    "KV-12": (Ranks(tensor=16).kv_share(B405), 0.125),
    # FLOP, bytes, intensity
    "FLOP-1": (visible_pairs(4), 10),
    "FLOP-2": (visible_pairs(2, 2), 7),
    "FLOP-3": (visible_pairs(4, 0, 2, "sliding"), 7),
    "FLOP-4": (visible_pairs(4, 0, 2, "chunked"), 6),
    "FLOP-5": (sum(visible_pairs(512, 512 * j) for j in range(4)) - visible_pairs(2048), 0),
    "FLOP-7": (layers_flops(B405, 1000), 803293102080000),
    "FLOP-9": (pairs_flops(B405, 1000), 4132896768000),
    "FLOP-10": (sum(r.count * r.work.flops for r in operations(B405, Precision(), prefilling(1000))), 807430201540608),
    "FLOP-12": (pairs_flops(B405, 100000), 41288092876800000),
    "FLOP-18": (attention_intensity(B405, "bf16"), 16),
    "FLOP-19": (attention_intensity(B70, "fp8"), 16),
    "FLOP-21": (attention_intensity(V3, "bf16"), 241.777777778),
    "FLOP-22": (linear(1, 4096, 4096, "bfloat16", "tensor", weight=2, activation=2, out=2).bytes, 33570816),
    "FLOP-23": (linear(1, 4096, 4096, "bfloat16", "tensor", weight=2, activation=2, out=2).intensity, 0.999511957052),
    "FLOP-28": (visible_pairs(1024, 3072) / visible_pairs(4096), 0.437454234806),
    # step, floor, ridge
    "STEP-5": (step(STEP_A), 0.00665356891429),
    "STEP-6": (step(STEP_B), 0.0498920286749),
    "STEP-7": (step(STEP_C), 0.0133839931524),
    "STEP-8": (step(STEP_C) - step(STEP_A), 0.00673042423808),
    "FLR-3": (streamed_weights(L7, Precision(), 1) / A100[1] * 1e3, 6.48070365473),
    "FLR-4": (streamed_weights(B8, Precision(), 1) / H100[1] * 1e3, 4.48039309373),
    "FLR-5": (streamed_weights(B70, Precision(), 1) / (8 * H100[1]) * 1e3, 5.18669510687),
    "FLR-6": (streamed_weights(MIXTRAL, Precision(), 1) / H100[1] * 1e3, 7.61109672119),
    "FLR-7": (streamed_weights(MIXTRAL, Precision(), 4, "balanced") / H100[1] * 1e3, 27.8038534113),
    "RDG-1": (formulas.ridge(*H100), 295.343283582),
    "RDG-2": (formulas.ridge(*H200), 206.125),
    "RDG-3": (formulas.ridge(*A100), 153.016184404),
    "RDG-5": (formulas.ridge(1978.9e12, H100[1]), 590.71641791),
    "RDG-6": (formulas.critical(*H100, FORMATS["int4-g128"].bytes), 78.4505597015),
    "RDG-10": (formulas.critical(*H100, 2) * V3.experts / V3.active_experts, 9450.98507463),
    "RDG-11": (formulas.critical(*H100, 2) * V3.matmul_params_all / NV3, 5403.72242059),
    "RDG-12": (formulas.knee(50e-6, 700e12, 8192, 8192), 260.770320892),
    # throughput, crossovers, capacity, drain
    "CRS-1": (formulas.kv_equals_weights(N70, 1, KV70), 212102.4),
    "CRS-2": (formulas.kv_equals_weights(N70, 32, KV70), 6628.2),
    "CRS-3": (formulas.kv_equals_compute(N70, formulas.ridge(*H100), KV70), 1436.31097635),
    "CRS-4": (formulas.kv_equals_compute(N405, formulas.ridge(*H100), 516096), 5297.64286196),
    "CRS-5": (formulas.kv_equals_compute(NV3, formulas.ridge(*H100), 70272), 3529.33950292),
    "CRS-7": (formulas.batching_gain(2 * N70, 1024, KV70, 0, *H100), 415.2625),
    "CRS-8": (formulas.batching_gain(2 * N70, 8192, KV70, 0, *H100), 52.7828125),
    "CRS-9": (formulas.batching_gain(NV3, 8192, 70272, 0, *H100), 64.6210154827),
    "CRS-10": (formulas.batching_gain(2 * N70, 8192, KV70, N70, *H100), 44.9088943079),
    "CRS-11": (formulas.batching_gain(2 * N70, 0, KV70, N70, *H100), 295.343283582),
    "CRS-12": (formulas.rate_limit(N70, 2048, KV70, *H100), 2934.12061704),
    "CAP-1": (largest_batch(141e9 * 0.9, B70.params_total, 8192 * 163840), 41),
    "CAP-2": (largest_batch(141e9 * 0.9, 2 * B70.params_total, 8192 * KV70), 0),
    "CAP-3": (Ranks(tensor=16).kv_share(B70) / Ranks(tensor=8).kv_share(B70), 1),
    "DRN-1": (formulas.drain(80e9, H100[1]) * 1e3, 23.8805970149),
    "DRN-2": (formulas.drain(81559 * 2**20, H100[1]) * 1e3, 25.5285999952),
    "DRN-3": (formulas.drain(141e9, H200[1]) * 1e3, 29.375),
    "DRN-4": (formulas.drain(80e9, A100[1]) * 1e3, 39.234919078),
    "DRN-5": (formulas.drain(16e9, V5E[1]) * 1e3, 19.512195122),
    "DRN-7": (formulas.drain(80e9, 2.85e12) * 1e3, 28.0701754386),
    # experts, parallelism
    "MOE-1": (distinct_experts(8, 2, 2), 3.5),
    "MOE-2": (distinct_experts(8, 2, 4), 5.46875),
    "MOE-3": (distinct_experts(256, 8, 1), 8),
    "MOE-4": (distinct_experts(256, 8, 32), 163.31384595),
    "MOE-5": (distinct_experts(256, 8, 128), 251.601145966),
    "MOE-6": (distinct_experts(128, 4, 16), 50.9810811607),
    "MOE-7": (distinct_experts(256, 8, 32, "balanced"), 256),
    "MOE-8": (distinct_experts(256, 8, 64) / 8, 27.8053109607),
    "MOE-9": (distinct_experts(8, 2, 4, [1 / 3] * 4 + [1 / 6] * 4), 5.28086419753),
    "TP-8": (formulas.tensor_efficiency(8, 32, 5e-6, N8 * 2 / H100[1]), 0.636383939658),
    "TP-9": (formulas.tensor_efficiency(8, 32, 20e-6, N8 * 2 / H100[1]), 0.304366402799),
    "TP-10": (formulas.tensor_efficiency(8, 80, 5e-6, N70 * 2 / H100[1]), 0.866370345287),
    "EP-3": (2 * NV3 / 1978.9e12 * 1e6, 37.0151063641),
    "EP-4": (distinct_ranks(256, 8, 8), 5.29465200038),
    # speculation, quantisation, load, cost
    "SPC-1": (formulas.speculated(0.8, 4), 3.3616),
    "SPC-2": (formulas.speculated(0.8, 4) / (1 + 4 * 0.1), 2.40114285714),
    "SPC-4": (formulas.speculated(0.8, 4) / (4 * 0.1 + 5), 0.622518518519),
    "SPC-6": (max(range(13), key=lambda g: formulas.speculated(0.8, g) / (1 + g * 0.1)), 6),
    "SPC-7": (max(range(13), key=lambda g: formulas.speculated(0.6, g) / (1 + g * 0.1)), 3),
    "SPC-8": (distinct_experts(256, 8, 32) / distinct_experts(256, 8, 8), 2.84415679319),
    "SPC-9": (max(formulas.speculated(0.9, g) / (1 + g * 0.1) for g in range(41)), 3.43094701955),
    "QNT-1": (FORMATS["int4-g128"].bytes, 0.53125),
    "QNT-2": (FORMATS["fp8-block"].bytes, 1.000244140625),
    "QNT-3": (FORMATS["nvfp4"].bytes, 0.5625),
    "LOAD-1": (LOOP.latency, 5.74),
    "LOAD-2": (LOOP.rate, 5.57491289199),
    "LOAD-3": (LOOP.tpot, 0.0444094488189),
    "LOAD-4": (BURST.tpot, 0.0322047244094),
    "LOAD-5": (BURST.ttft, 1.65),
    "LOAD-6": (BURST.tail, 3.1),
    "LOAD-7": (queueing.md1_mean(0.8, 0.2), 0.4),
    "LOAD-8": (queueing.md1_wait(0.95, 0.8, 0.2), 1.32406499937),
    "LOAD-9": (POOLS.apart, 183),
    "LOAD-10": (POOLS.together, 27),
    "LOAD-11": (POOLS.gain, 1.61488808202),
    "LOAD-12": (LOOSE.gain, 1),
    "LOAD-14": (POOLS.transfer * 1e3, 53.6870912),
    "COST-1": (formulas.usd_per_million(2, 1, 1000), 0.555555555556),
    "COST-2": (formulas.joules_per_token(700, 0.02, 64), 0.21875),
    "SLA-1": (queueing.largest(lambda b: (N70 + b * 2048 * KV70) / H200[1] <= 100e-3 / 3, 4096), 134),
    "SLA-2": (largest_batch(141e9 * 0.9, B70.params_total, 2048 * KV70), 83),
    # rounding, pages and formats of the cache
    "MET-2": ((2.5 - 0.5) / 100, 0.02),
    "KV-5": (replace(B405, kv_heads=B405.heads).kv_bytes_per_token(BF16), 8257536),
    "KV-6": (replace(B405, kv_heads=B405.heads).kv_bytes_per_token(BF16) / 1024, 8064),
    "KV-11": (kv_on_rank(B70, BF16, 1000, block=16) / KV70, 1008),
    "KV-13": ((SCOUT.resident_kv(BF16, 65536) - SCOUT.resident_kv(BF16, 32768)) / 32768, 49152),
    "FLOP-20": (attention_intensity(V3, "bf16") * 576 * 2, 278528),
    "FLOP-26": ((N405 - B405.head_weights) / (126 * 128 * 128), 194560),
    "FLOP-30": (32 * 2048 / (2 * (8 + 32)), 819.2),
    "FLOP-31": (formulas.ridge(*H100) * 2 * (8 + 32) / 32, 738.358208955),
    "STEP-1": (2 * N70 * 512 / 989e12, 0.0719613302107),
    "STEP-2": (512 * 2048 * KV70 / H100[1], 0.102566383188),
    "FLR-2": (L7.params_total * 2 / A100[1] * 1e3, 6.60952978519),
    "FLR-8": (sum(r.count for r in operations(B8, Precision(), STEP_A) if r.count == 32) * 3e-3, 0.864),
    "RDG-4": (formulas.ridge(312e12, 1.555e12), 200.643086817),
    "CRS-6": (2 * 100e9 / (formulas.ridge(*H100) * 200e3), 3385.89043865),
    "TP-1": (reduced(B8, 1), 8192),
    "TP-2": (reduced(B8, 64), 524288),
    "TP-5": (all_reduce(8192, 8).bytes, 14336),
    "TP-12": (sum(1 / i for i in range(1, 9)), 2.71785714286),
    "PP-1": (sent(V3, 1), 14336),
    "SPC-3": ((formulas.speculated(0.8, 4) - 1) / (1 + 4 * 0.1), 1.68685714286),
    "QNT-4": (
        resident_weights(replace(L70, extra_total=0), INT4) / 1e9 + L70.extra_total * 0.53125 / 1e9,
        37.413892352,
    ),
    "QNT-5": ((L7.matmul_params_token * 2 / A100[1] + 2e-3) / (L7.matmul_params_token / A100[1] + 2e-3), 1.61834623592),
    # the scaling book
    "JAX-6": (jax13(16), 20.3048780488),
    "JAX-7": (jax13(32), 36.6463414634),
    "JAX-9": (jax13(240), 249.085365854),
    "JAX-12": (jax13(64, 1.34e9), 17.0365853659),
    "JAX-18": (formulas.drain(112e9, 8 * 8.1e11) * 1e3, 17.2839506173),
    "JAX-1": (formulas.ridge(*V5E), 240.243902439),
    "JAX-2": (formulas.critical(*V5E, 1), 120.12195122),
    "JAX-3": (formulas.critical(3.94e14, 8.1e11, 1), 243.209876543),
    "JAX-4": (jax13(1), 4.98475609756),
    "JAX-5": (jax13(8), 12.1341463415),
    "JAX-8": (jax13(64), 69.3292682927),
    "JAX-10": (240 / jax13(240) * 1e3, 963.525091799),
    "JAX-11": (jax13(1, 1.34e9), 4.16768292683),
    "JAX-13": (jax13(240, 1.34e9), 52.987804878),
    "JAX-16": (B70.kv_bytes_per_token(INT8), 163840),
    "JAX-19": (largest_batch(116e9, 0, 8192 * KV70), 43),
    "JAX-20": (formulas.drain(16e9, 8.2e11) * 1e3, 19.512195122),
    "JAX-27": (formulas.ridge(1e15, 3.35e12), 298.507462687),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_worked_number_comes_out(name):
    found, expected = GOLDEN[name]
    if isinstance(expected, int):
        # a whole number is exact, but for the rounding of a quotient or a product of floats
        assert found == expected or math.isclose(found, expected, rel_tol=1e-12)
    else:
        # the values are printed with 12 digits
        assert found == pytest.approx(expected, rel=1e-11 if len(str(expected)) < 9 else 1e-9)


# Operators of the three worked steps of Llama-3.1-8B on machine X: label and microseconds of one.
WORKED = {
    "A": (STEP_A, {
        "embedding gather": ("fixed", 3.0468), "norm + residual (first)": ("fixed", 3.0965), "QKV": ("memory", 21.0341),
        "rotary + KV append": ("fixed", 3.0702), "decode attention": ("memory", 15.0305), "O": ("memory", 15.0305),
        "norm + residual (second)": ("fixed", 3.0965), "gate-up": ("memory", 87.0733),
        "gated activation": ("fixed", 3.2458), "down": ("memory", 45.0484), "final norm": ("fixed", 3.0965),
        "LM head": ("memory", 379.7296), "sampling": ("fixed", 4.4658)}, (0.0, 0.8683, 0.1317),
        (0.177670717, 5.777568914)),
    "B": (STEP_B, {
        "embedding gather": ("memory", 14.9837), "norm + residual (first)": ("memory", 26.9704),
        "QKV": ("compute", 150.2560), "rotary + KV append": ("memory", 20.9756),
        "prefill attention": ("compute", 117.5884), "O": ("compute", 101.1707),
        "norm + residual (second)": ("memory", 26.9704), "gate-up": ("compute", 690.1948),
        "gated activation": ("memory", 65.9146), "down": ("compute", 346.5974), "final norm": ("fixed", 3.0146),
        "LM head": ("memory", 378.4266), "sampling": ("fixed", 3.1832)}, (0.8920, 0.0904, 0.0176),
        (44.507332608, 13.234349349)),
    "C": (STEP_C, {
        "embedding gather": ("memory", 6.0427), "norm + residual (first)": ("memory", 9.0884),
        "QKV": ("compute", 40.3892), "rotary + KV append": ("memory", 7.5641), "decode attention": ("memory", 15.0305),
        "prefill attention": ("compute", 10.1723), "O": ("compute", 27.9261),
        "norm + residual (second)": ("memory", 9.0884), "gate-up": ("compute", 177.4830),
        "gated activation": ("memory", 18.9744), "down": ("compute", 90.2415), "final norm": ("fixed", 3.0965),
        "LM head": ("memory", 379.7296), "sampling": ("fixed", 4.4658)}, (0.7919, 0.1355, 0.0726),
        (10.616933862, 7.745895863)),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKED)
def test_a_worked_step_comes_out_operator_by_operator(name):
    asked, rows, shares, sums = WORKED[name]
    found = timed(B8, X, Precision(), asked)
    assert {row.operation.name: (row.timed.label, round(row.timed.seconds * 1e6, 4)) for row in found.rows} == rows
    named = tuple(round(found.shares[label], 4) for label in ("compute", "memory", "fixed"))
    assert named == shares
    compute = sum(row.operation.count * row.timed.compute for row in found.rows) * 1e3
    memory = sum(row.operation.count * row.timed.memory for row in found.rows) * 1e3
    assert (compute, memory) == pytest.approx(sums, rel=1e-8)
