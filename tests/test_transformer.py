"""What a step asks: worked tables to the digit, every model's rows against its parameters, what must always hold."""

import doctest
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import transformer, work
from bench.models import model, models
from bench.roofline import Roof, Roofline
from bench.transformer import (
    FORMATS,
    Format,
    Model,
    Precision,
    Ranks,
    Step,
    UnknownFormat,
    distinct_experts,
    distinct_ranks,
    format_named,
    kv_on_rank,
    operations,
    read_keys,
    resident_weights,
    streamed_weights,
    visible_keys,
    visible_pairs,
)

BF16, FP8 = FORMATS["bf16"], FORMATS["fp8"]
EXACT = {"rel": 1e-9, "abs": 0}
ALL = pytest.mark.parametrize("shape", models(), ids=lambda shape: shape.name)

# The machine of the worked steps: prefill attention has a roof of its own, every launch costs 3 us.
X = Roofline(
    "X",
    (
        Roof("dram", 2.8e12),
        Roof("tensor.bfloat16.library", 700e12),
        Roof("tensor.bfloat16.attention.library", 300e12),
    ),
    overhead=3e-6,
)
DECODE = Step(decode=((8, 1024),))
PREFILL = Step(prefill=((2048, 0, True),))
MIXED = Step(decode=((8, 1024),), prefill=((512, 0, False),))

# Llama-3.1-8B in bfloat16, one device: (operation, count, FLOP, bytes, what binds, us of one) of each step.
WORKED = {
    DECODE: (
        ("embedding gather", 1, 0, 131072, "overhead", 3.0468),
        ("norm + residual (first)", 32, 0, 270336, "overhead", 3.0965),
        ("QKV", 32, 402653184, 50495488, "dram", 21.0341),
        ("rotary + KV append", 32, 0, 196608, "overhead", 3.0702),
        ("decode attention", 32, 134217728, 33685504, "dram", 15.0305),
        ("O", 32, 268435456, 33685504, "dram", 15.0305),
        ("norm + residual (second)", 32, 0, 270336, "overhead", 3.0965),
        ("gate-up", 32, 1879048192, 235405312, "dram", 87.0733),
        ("gated activation", 32, 0, 688128, "overhead", 3.2458),
        ("down", 32, 939524096, 117735424, "dram", 45.0484),
        ("final norm", 1, 0, 270336, "overhead", 3.0965),
        ("LM head", 1, 8405385216, 1054842880, "dram", 379.7296),
        ("sampling", 1, 0, 4104192, "overhead", 4.4658),
    ),
    PREFILL: (
        ("embedding gather", 1, 0, 33554432, "dram", 14.9837),
        ("norm + residual (first)", 32, 0, 67117056, "dram", 26.9704),
        ("QKV", 32, 103079215104, 92274688, "tensor.bfloat16.library", 150.2560),
        ("rotary + KV append", 32, 0, 50331648, "dram", 20.9756),
        ("prefill attention", 32, 34376515584, 41943040, "tensor.bfloat16.attention.library", 117.5884),
        ("O", 32, 68719476736, 67108864, "tensor.bfloat16.library", 101.1707),
        ("norm + residual (second)", 32, 0, 67117056, "dram", 26.9704),
        ("gate-up", 32, 481036337152, 369098752, "tensor.bfloat16.library", 690.1948),
        ("gated activation", 32, 0, 176160768, "dram", 65.9146),
        ("down", 32, 240518168576, 192937984, "tensor.bfloat16.library", 346.5974),
        ("final norm", 1, 0, 40960, "overhead", 3.0146),
        ("LM head", 1, 1050673152, 1051194368, "dram", 378.4266),
        ("sampling", 1, 0, 513024, "overhead", 3.1832),
    ),
    MIXED: (
        ("embedding gather", 1, 0, 8519680, "dram", 6.0427),
        ("norm + residual (first)", 32, 0, 17047552, "dram", 9.0884),
        ("QKV", 32, 26172456960, 60981248, "tensor.bfloat16.library", 40.3892),
        ("rotary + KV append", 32, 0, 12779520, "dram", 7.5641),
        ("decode attention", 32, 134217728, 33685504, "dram", 15.0305),
        ("prefill attention", 32, 2151677952, 10485760, "tensor.bfloat16.attention.library", 10.1723),
        ("O", 32, 17448304640, 42074112, "tensor.bfloat16.library", 27.9261),
        ("norm + residual (second)", 32, 0, 17047552, "dram", 9.0884),
        ("gate-up", 32, 122138132480, 268959744, "tensor.bfloat16.library", 177.4830),
        ("gated activation", 32, 0, 44728320, "dram", 18.9744),
        ("down", 32, 61069066240, 136609792, "tensor.bfloat16.library", 90.2415),
        ("final norm", 1, 0, 270336, "overhead", 3.0965),
        ("LM head", 1, 8405385216, 1054842880, "dram", 379.7296),
        ("sampling", 1, 0, 4104192, "overhead", 4.4658),
    ),
}
SECONDS = {DECODE: 6.653568914e-3, PREFILL: 49.892028675e-3, MIXED: 13.383993152e-3}


def rows(shape, step, precision=Precision(), ranks=Ranks(), **more):  # noqa: B008
    return operations(shape, precision, step, ranks, **more)


def named(found, name):
    return next(row for row in found if row.name == name)


def total(found, what, *kinds):
    return sum(row.count * getattr(row.work, what) for row in found if not kinds or row.kind in kinds)


def weights(found):
    """Elements of weights that the rows read."""
    linear = [row for row in found if row.kind in ("gemm", "experts")]
    return sum(row.count * row.params["matrices"] * row.params["n"] * row.params["k"] for row in linear)


def test_doctest():
    assert doctest.testmod(transformer).failed == 0


# worked steps


@pytest.mark.parametrize("step", WORKED, ids=("decode", "prefill", "mixed"))
def test_worked_step(step):
    found = rows(model("Llama-3.1-8B"), step)
    seen = [
        (row.name, row.count, row.work.flops, row.work.bytes, X.limit(row.work), round(X.seconds(row.work) * 1e6, 4))
        for row in found
    ]
    assert seen == list(WORKED[step])
    assert sum(row.count * X.seconds(row.work) for row in found) == pytest.approx(SECONDS[step], rel=1e-9)


def test_bounds_of_the_worked_steps():
    sums = {DECODE: (0.177670717e-3, 5.777568914e-3), PREFILL: (44.507332608e-3, 13.234349349e-3)}
    sums[MIXED] = (10.616933862e-3, 7.745895863e-3)
    for step, (compute, memory) in sums.items():
        found = rows(model("Llama-3.1-8B"), step)
        assert sum(row.count * X.compute_seconds(row.work) for row in found) == pytest.approx(compute, abs=1e-12)
        assert sum(row.count * X.memory_seconds(row.work) for row in found) == pytest.approx(memory, abs=1e-12)


# parameters and KV


def test_parameters_by_hand():
    assert model("Llama-3.1-8B").params_total == 8030261248
    assert model("Llama-3.1-70B").matmul_params_token == 69501714432
    big = model("Llama-3.1-405B")
    layers = big.matmul_params_token - big.head_weights
    assert layers == 401646551040
    assert layers / (126 * 16384**2) == 11.875
    assert model("DeepSeek-V3").attention_weights() == 187105280
    mixtral = model("Mixtral-8x7B")
    assert mixtral.params_total / mixtral.params_active == pytest.approx(3.62601426676, rel=1e-11)
    tied = Model("scaling book", 64, 4096, 32, 8, 256, 16384, 32128, tied=True)
    assert tied.params_total == 18385207296


def test_kv_by_hand():
    assert model("Llama-3.1-70B").kv_bytes_per_token(BF16) == 327680
    assert model("Llama-3.1-70B").kv_bytes_per_token(FP8) == 163840
    scaled = Format("fp8 with a scale per token and head", 8, "float8_e4m3", scale=2, group=128)
    assert model("Llama-3.1-70B").kv_bytes_per_token(scaled) == 166400
    assert model("Llama-3.1-405B").kv_bytes_per_token(BF16) == 516096
    assert Model("405B, MHA", 126, 16384, 128, 128, 128, 53248, 128256).kv_bytes_per_token(BF16) == 8257536
    assert model("DeepSeek-V3").kv_bytes_per_token(BF16) == 70272
    assert model("Llama-2-13B").resident_kv(BF16, 8192) == 6710886400
    windowed = model("gpt-oss-120b")
    assert windowed.resident_kv(BF16, 8192) == 306708480
    assert windowed.kv_bytes_per_token(BF16) * 8192 == 603979776
    page = kv_on_rank(model("Llama-3.1-8B"), BF16, 1000, block=16) / 131072
    assert page == 1008
    assert Ranks(tensor=16).kv_share(model("Llama-3.1-70B")) == 0.125
    scout = model("Llama-4-Scout")
    assert (scout.peak_kv(BF16, 20000) - scout.peak_kv(BF16, 10000)) / 10000 == 49152


# FLOP, bytes, intensity


def test_pairs_by_hand():
    assert visible_pairs(4) == 10
    assert visible_pairs(2, 2) == 7
    assert visible_pairs(4, window=2) == 7
    assert visible_pairs(4, window=2, kind="chunked") == 6
    assert sum(visible_pairs(512, 512 * j) for j in range(4)) == visible_pairs(2048)
    assert visible_pairs(1024, 3072) / visible_pairs(4096) == pytest.approx(0.437454234806, rel=1e-11)


def test_flops_of_a_long_prompt():
    big = model("Llama-3.1-405B")
    found = rows(big, Step(prefill=((1000, 0, True),)))
    assert total(found, "flops", "gemm") - named(found, "LM head").work.flops == 803293102080000
    assert total(found, "flops", "attention prefill") == 4132896768000
    assert total(found, "flops") == 807430201540608
    long = rows(big, Step(prefill=((100_000, 0, True),)))
    assert total(long, "flops", "attention prefill") == 41288092876800000
    linear = (big.matmul_params_token - big.head_weights) / big.layers
    assert linear / (big.heads * big.head_dim) == 194560


def test_bytes_of_a_long_prompt():
    big = model("Llama-3.1-405B")
    short, long = (rows(big, Step(prefill=((length, 0, True),))) for length in (1000, 2000))
    once = ("embedding gather", "final norm", "LM head", "sampling")
    grown = [b.work.bytes - a.work.bytes for a, b in zip(short, long, strict=True) if a.name not in once]
    assert sum(grown) / 1000 == 1245184
    found = rows(big, Step(prefill=((100_000, 0, True),)))
    moved = 126 * 10**5 * sum(grown) / 1000 + streamed_weights(big, Precision(), 1)
    assert total(found, "flops") / moved == pytest.approx(7372.17536988, rel=1e-11)


@pytest.mark.parametrize(
    ("name", "kv", "intensity"),
    [
        ("Llama-3.1-405B", BF16, 16),
        ("Llama-3.1-70B", FP8, 16),
        ("Llama-2-7B", BF16, 1),
        ("DeepSeek-V3", BF16, 241.777777778),
        ("DeepSeek-V3", FP8, 483.555555556),
    ],
)
def test_intensity_of_decode_attention_is_that_of_its_cache(name, kv, intensity):
    """Between two contexts, so that queries and results cancel."""
    first, second = (
        named(rows(model(name), Step(decode=((4, keys),)), Precision(kv=kv)), "decode attention").work
        for keys in (1000, 3000)
    )
    assert (second.flops - first.flops) / (second.bytes - first.bytes) == pytest.approx(intensity, rel=1e-11)


def test_flops_of_latent_decode():
    row = named(rows(model("DeepSeek-V3"), Step(decode=((1, 1000),))), "decode attention")
    assert row.work.flops == 278528 * 1000


def test_bytes_of_a_gemv():
    row = named(rows(model("Llama-3.1-8B"), Step(decode=((1, 1),))), "O")
    assert row.work.bytes == 33570816
    assert row.work.intensity == pytest.approx(0.999511957052, rel=1e-11)


def test_cache_against_recomputing():
    recomputed = sum(Step(prefill=((length, 0, True),)).tokens for length in range(1000, 2000))
    cached = PREFILL.tokens - 1048 + sum(Step(decode=((1, length),)).tokens for length in range(1001, 2000))
    assert (recomputed, cached) == (1499500, 1999)


def test_intensity_of_prefill_attention():
    found = named(rows(model("Llama-3.1-8B"), PREFILL), "prefill attention").work
    # the diagonal: a query sees itself, so that half of S x S is half of S (S + 1)
    assert found.intensity == pytest.approx(819.2 * 2049 / 2048, rel=1e-12)


# experts and ranks


@pytest.mark.parametrize(
    ("experts", "active", "tokens", "routing", "distinct"),
    [
        (8, 2, 2, "uniform", 3.5),
        (8, 2, 4, "uniform", 5.46875),
        (256, 8, 1, "uniform", 8),
        (256, 8, 32, "uniform", 163.31384595),
        (256, 8, 128, "uniform", 251.601145966),
        (128, 4, 16, "uniform", 50.9810811607),
        (256, 8, 32, "balanced", 256),
        (8, 2, 4, (1 / 3,) * 4 + (1 / 6,) * 4, 5.28086419753),
    ],
)
def test_distinct_experts(experts, active, tokens, routing, distinct):
    assert distinct_experts(experts, active, tokens, routing) == pytest.approx(distinct, rel=1e-11)


def test_distinct_ranks():
    assert distinct_ranks(256, 8, 8) == pytest.approx(5.29465200038, rel=1e-11)
    assert distinct_ranks(256, 8, 1) == 1


def test_experts_of_a_rank():
    found = rows(model("DeepSeek-V3"), Step(decode=((64, 1024),)), ranks=Ranks(expert=8))
    assert named(found, "expert gate-up").params["distinct"] == pytest.approx(27.8053109607, rel=1e-11)
    assert named(found, "expert gate-up").params["m"] == 64 * 8 / 8
    assert named(found, "QKV down").params["m"] == 8
    assert not [row for row in found if row.name == "all-reduce"]


@pytest.mark.parametrize(("batch", "message"), [(1, 8192), (64, 524288)])
def test_all_reduce_messages(batch, message):
    row = named(rows(model("Llama-3.1-8B"), Step(decode=((batch, 100),)), ranks=Ranks(tensor=8)), "all-reduce")
    assert row.params == {"collective": "all_reduce", "bytes": message, "ranks": 8}
    assert row.count == 64
    assert row.work.channel == "link"


def test_bytes_on_the_wire():
    assert work.all_reduce(8192, 8).bytes == 14336
    assert work.all_reduce(2 * 8192 * 4096 * 2, 8).bytes / 225e9 == pytest.approx(0.00104391566222, rel=1e-11)
    assert 2 * 7 * 1e-6 + work.all_reduce(8192, 8).bytes / 300e9 == pytest.approx(1.40477866667e-05, rel=1e-11)
    assert work.all_gather(800, 8).bytes == work.all_to_all(800, 8).bytes == 700


@pytest.mark.parametrize(
    ("name", "seconds", "efficiency"),
    [
        ("Llama-3.1-8B", 5e-6, 0.636383939658),
        ("Llama-3.1-8B", 20e-6, 0.304366402799),
        ("Llama-3.1-70B", 5e-6, 0.866370345287),
    ],
)
def test_efficiency_that_collectives_leave(name, seconds, efficiency):
    shape = model(name)
    count = named(rows(shape, Step(decode=((1, 1),)), ranks=Ranks(tensor=8)), "all-reduce").count
    alone = streamed_weights(shape, Precision(), 1) / 3.35e12
    assert 1 / (1 + 8 * count * seconds / alone) == pytest.approx(efficiency, rel=1e-11)


def test_dispatch_and_combine():
    """8 tokens on 8 ranks: the message of a rank is that of one token."""
    found = rows(model("DeepSeek-V3"), Step(decode=((8, 10),)), Precision(weights=FP8), Ranks(expert=8))
    sent = sum(named(found, name).count * named(found, name).params["bytes"] for name in ("dispatch", "combine"))
    assert sent == 9977856


def test_a_pipeline_hands_over_rows():
    found = rows(model("DeepSeek-V3"), Step(decode=((3, 10),)), ranks=Ranks(pipeline=4))
    row = named(found, "pipeline send")
    assert (row.count, row.work.bytes) == (3, 3 * 14336)


# every model


@ALL
@pytest.mark.parametrize("step", [Step(decode=((1, 77),)), Step(prefill=((1, 0, True),))], ids=("decode", "prefill"))
def test_rows_of_one_token_read_its_weights_once(shape, step):
    found = rows(shape, step)
    assert weights(found) == shape.matmul_params_token
    assert total(found, "flops", "gemm", "experts") == 2 * shape.matmul_params_token
    assert streamed_weights(shape, Precision(), 1) == 2 * shape.matmul_params_token


@ALL
def test_rows_of_many_tokens_read_the_experts_they_meet(shape):
    found = rows(shape, Step(decode=((100, 77),)))
    assert 2 * weights(found) == pytest.approx(streamed_weights(shape, Precision(), 100), **EXACT)
    assert total(found, "flops", "gemm", "experts") == pytest.approx(200 * shape.matmul_params_token, **EXACT)
    balanced = rows(shape, Step(decode=((10_000, 77),)), routing="balanced")
    assert weights(balanced) == shape.matmul_params_all


@ALL
def test_resident_weights_are_the_parameters(shape):
    assert resident_weights(shape, Precision()) == 2 * shape.params_total
    assert resident_weights(shape, Precision(weights=FP8, head=FP8)) == shape.params_total


@ALL
@pytest.mark.parametrize("tensor", [2, 4])
def test_ranks_share_the_work(shape, tensor):
    step = Step(decode=((4, 300),), prefill=((64, 32, True),))
    alone, shared = rows(shape, step), rows(shape, step, ranks=Ranks(tensor=tensor))
    for kind in ("attention decode", "attention prefill"):
        assert tensor * total(shared, "flops", kind) == total(alone, "flops", kind)
    whole = {"router", "QKV down"}  # on each rank
    for row in alone:
        if row.kind in ("gemm", "experts") and row.name not in whole and shape.kv_heads >= tensor:
            assert tensor * named(shared, row.name).work.flops == pytest.approx(row.work.flops, **EXACT)
    assert named(shared, "norm + residual (first)") == named(alone, "norm + residual (first)")


@ALL
def test_one_device_communicates_nothing(shape):
    assert not [row for row in rows(shape, MIXED) if row.kind == "collective"]


def test_kv_heads_are_copied_beyond_their_number():
    shape = model("Llama-3.1-70B")
    row = named(rows(shape, DECODE, ranks=Ranks(tensor=16)), "decode attention")
    assert (row.params["heads"], row.params["kv_heads"]) == (4, 1)
    assert kv_on_rank(shape, BF16, 100, Ranks(tensor=16)) == kv_on_rank(shape, BF16, 100, Ranks(tensor=8))
    latent = model("DeepSeek-V3")
    assert kv_on_rank(latent, BF16, 100, Ranks(tensor=8)) == latent.resident_kv(BF16, 100)


def test_windowed_layers_are_rows_of_their_own():
    found = rows(model("gpt-oss-120b"), Step(decode=((2, 1000),), prefill=((512, 0, True),)))
    full, near = named(found, "decode attention"), named(found, "decode attention (sliding window)")
    assert (full.count, near.count) == (18, 18)
    assert (full.params["keys"], near.params["keys"]) == (1000, 128)
    near = named(found, "prefill attention (sliding window)")
    assert near.work.flops == 4 * 64 * 64 * visible_pairs(512, window=128)


def test_a_cached_latent_prefix_is_expanded_again():
    shape = model("DeepSeek-V3")
    fresh, cached = (rows(shape, Step(prefill=((100, before, True),))) for before in (0, 900))
    more = named(cached, "KV up").work.flops - named(fresh, "KV up").work.flops
    assert more == 2 * 900 * 512 * 128 * (128 + 128)


def test_quantised_weights_scale_their_rows():
    shape, step = model("Llama-3.1-8B"), Step(decode=((1, 10),))
    for name, size in (("fp8", 1), ("fp8-block", 1.000244140625), ("int4-g128", 0.53125), ("nvfp4", 0.5625)):
        row = named(rows(shape, step, Precision(weights=FORMATS[name])), "O")
        assert row.work.bytes == size * 4096 * 4096 + 2 * 2 * 4096
        assert row.work.dtype == FORMATS[name].math
        alone = rows(shape, step, Precision(weights=FORMATS[name], math=False))
        assert named(alone, "O").work.dtype == "bfloat16"
        assert named(alone, "LM head").work == named(rows(shape, step), "LM head").work
    experts = rows(model("gpt-oss-20b"), step, Precision(experts=FORMATS["mxfp4"]))
    assert named(experts, "expert down").params["weights"] == "mxfp4"
    assert named(experts, "O").params["weights"] == "bf16"


def test_drafted_tokens_share_a_cache_read():
    shape = model("Llama-3.1-8B")
    one, four = (named(rows(shape, Step(decode=((8, 500),), queries=q)), "decode attention").work for q in (1, 4))
    assert four.flops == 4 * one.flops
    assert four.bytes - one.bytes == 3 * 8 * 2 * 32 * 128 * 2
    assert Step(decode=((8, 500),), queries=4).sampled == 32


def test_replicas_are_dealt_the_sequences():
    step = Step(decode=((5, 100), (4, 900)), prefill=((10, 0, True), (70, 0, False), (50, 5, True)))
    mine = step.share(4)
    assert mine.decode == ((1, 900), (2, 100))
    assert mine.prefill == ((70, 0, False),)
    assert step.share(1) is step


# properties

SMALL = st.integers(1, 300)
KINDS = st.sampled_from(("sliding", "chunked"))


def mask(tokens, window, kind):
    """Which (query, key) pairs a causal, windowed layer sees, one by one."""
    for query in range(tokens):
        for key in range(query + 1):
            near = not window or (query - key < window if kind == "sliding" else query // window == key // window)
            if near:
                yield query, key


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 20), KINDS)
def test_pairs_and_keys_are_those_of_the_mask(new, cached, window, kind):
    seen = [(query, key) for query, key in mask(cached + new, window, kind) if query >= cached]
    assert visible_pairs(new, cached, window, kind) == len(seen)
    assert read_keys(new, cached, window, kind) == len({key for _, key in seen})
    last = cached + new - 1
    assert visible_keys(cached + new, window, kind) == sum(query == last for query, _ in seen)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=8), st.integers(0, 5000), st.integers(0, 3000), KINDS)
def test_chunks_add_up_to_the_prompt(chunks, cached, window, kind):
    found, at = 0, cached
    for chunk in chunks:
        found += visible_pairs(chunk, at, window, kind)
        at += chunk
    assert found == visible_pairs(sum(chunks), cached, window, kind)


@given(st.integers(0, 20000), st.integers(1, 9000), KINDS)
def test_a_window_never_keeps_more(tokens, window, kind):
    full = Model("full", 4, 256, 8, 2, 32, 512, 1000)
    near = Model("near", 4, 256, 8, 2, 32, 512, 1000, window=window, window_layers=3, window_kind=kind)
    assert near.resident_kv(BF16, tokens) <= near.peak_kv(BF16, tokens) <= full.resident_kv(BF16, tokens)
    assert near.peak_kv(BF16, tokens) <= near.peak_kv(BF16, tokens + 1)
    assert full.resident_kv(BF16, tokens) == tokens * full.kv_bytes_per_token(BF16)


@given(st.integers(0, 5), st.integers(0, 4), st.integers(1, 64), st.integers(1, 4000))
def test_kv_goes_by_kv_heads_and_flops_by_heads(heads, kv_heads, batch, context):
    """From MHA to MQA."""
    heads, kv_heads = 2**heads, 2 ** min(kv_heads, heads)
    shape = Model("m", 3, 256, heads, kv_heads, 64, 512, 1000)
    row = named(rows(shape, Step(decode=((batch, context),))), "decode attention").work
    assert row.flops == 4 * heads * 64 * batch * context
    assert row.bytes == 2 * kv_heads * 64 * 2 * batch * context + 2 * batch * heads * 64 * 2
    assert shape.kv_bytes_per_token(BF16) == 3 * 2 * kv_heads * 64 * 2
    same = work.attention(batch, heads, kv_heads, 1, context, 64, "bfloat16", "tensor")
    assert (row.flops, row.bytes) == (same.flops, same.bytes)


@given(st.integers(1, 384), st.integers(1, 384), st.integers(1, 5000))
def test_distinct_experts_are_bounded_rise_and_flatten(experts, active, tokens):
    active = min(experts, active)
    before, here, after = (distinct_experts(experts, active, t) for t in (tokens - 1, tokens, tokens + 1))
    assert active <= here <= min(experts, active * tokens)
    assert distinct_experts(experts, active, 1) == active
    assert before <= here <= after
    assert after - here <= here - before + 1e-9
    assert here <= distinct_experts(experts, active, tokens, "balanced")


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=64), st.integers(1, 1000))
def test_skew_reads_fewer_experts(shares, tokens):
    # no expert can be chosen more often than always
    active = max(1, math.floor(sum(shares) / max(shares)))
    skewed = tuple(min(1.0, share * active / sum(shares)) for share in shares)
    found = distinct_experts(len(shares), active, tokens, skewed)
    assert min(active, tokens) <= found * (1 + 1e-9)
    assert found <= distinct_experts(len(shares), active, tokens) * (1 + 1e-9)


@given(st.integers(1, 500), st.integers(1, 16), st.integers(1, 64))
def test_one_expert_of_one_is_dense(tokens, width, ffn):
    width, ffn = 64 * width, 16 * ffn
    dense = Model("dense", 2, width, 4, 2, 32, ffn, 500)
    routed = Model("routed", 2, width, 4, 2, 32, 0, 500, 1, 1, 0, ffn, moe_layers=2)
    step = Step(decode=((tokens, 20),))
    one, other = rows(dense, step), rows(routed, step)
    for plain, expert in (("gate-up", "expert gate-up"), ("down", "expert down")):
        assert named(one, plain).work == named(other, expert).work
    assert named(one, "gated activation").work == named(other, "expert activation").work
    assert routed.matmul_params_all - dense.matmul_params_all == 2 * width  # the router


@given(st.integers(1, 512), st.integers(1, 30000), st.sampled_from(models()))
def test_demand_rises_with_batch_and_context(batch, context, shape):
    here = total(rows(shape, Step(decode=((batch, context),))), "bytes")
    assert here < total(rows(shape, Step(decode=((batch + 1, context),))), "bytes")
    if shape.window_kind != "chunked":  # whose cache empties at the end of a chunk
        assert here < total(rows(shape, Step(decode=((batch, context + 1),))), "bytes")


@given(st.lists(st.tuples(st.integers(1, 40), SMALL), min_size=1, max_size=4), st.integers(1, 16))
def test_hands_of_all_replicas_are_the_step(decode, replicas):
    step = Step(decode=tuple(decode))
    mine = step.share(replicas)
    assert mine.sequences == -(-step.sequences // replicas)
    assert max(context for _, context in mine.decode) == max(context for _, context in decode)


# refusals


@pytest.mark.parametrize(
    ("ranks", "name", "message"),
    [
        (Ranks(tensor=3), "Llama-3.1-8B", "3 tensor-parallel ranks cannot share its 32 heads and 8 KV heads; possible"),
        (Ranks(tensor=256), "DeepSeek-V3", "possible: 1, 2, 4, 8, 16, 32, 64, 128"),
        (Ranks(expert=2), "Llama-3.1-8B", "no experts"),
        (Ranks(expert=3), "Mixtral-8x7B", "cannot share its 8 experts"),
        (Ranks(pipeline=33), "Llama-3.1-8B", "32 layers, fewer than 33"),
    ],
)
def test_ranks_that_do_not_divide(ranks, name, message):
    with pytest.raises(ValueError, match=message):
        rows(model(name), DECODE, ranks=ranks)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(), "needs a sequence"),
        (lambda: Step(decode=((0, 5),)), "batch must be"),
        (lambda: Step(decode=((1, -5),)), "context must be"),
        (lambda: Step(prefill=((1, -1, True),)), "cached prefix must be"),
        (lambda: Step(prefill=((2.5, 0, True),)), "prompt length must be"),
        (lambda: Ranks(tensor=0), "tensor-parallel ranks must be"),
        (lambda: Ranks(tensor=3, expert=8), "do not divide into groups"),
        (lambda: Ranks(expert=8, imbalance=0.5), "at least 1"),
        (lambda: Model("m", 2, 64, 6, 4, 16, 64, 100), "6 heads do not divide into 4 KV heads"),
        (lambda: Model("m", 2, 64, 4, 0, 16, 64, 100), "kv heads must be at least 1"),
        (lambda: Model("m", 2, 64, 4, 4, 16, 0, 100, 4, 8, 0, 32, moe_layers=2), "8 experts per token of only 4"),
        (lambda: Model("m", 2, 64, 4, 4, 16, 0, 100), "feed-forward width"),
        (lambda: Model("m", 2, 64, 4, 4, 16, 64, 100, window_layers=1), "need a window"),
        (lambda: distinct_experts(8, 2, 4, (0.25,) * 7), "7 probabilities for 8 experts"),
        (lambda: distinct_experts(8, 2, 4, (0.5,) * 8), "add up to the 2"),
        (lambda: distinct_experts(8, 2, 4, "random"), "use uniform, balanced"),
    ],
)
def test_contradictions_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_formats_by_name():
    assert format_named(" FP8 ") is FP8
    with pytest.raises(UnknownFormat, match="no number format 'fp9'; did you mean fp8"):
        format_named("fp9")
