"""Compute peaks: the headline, the winner's shape, the quoted cubes, and what claims no roof."""

import pytest

from bench import work
from bench.schema import SUSTAINED
from bench.work import Work
from tests.report.runs import by_hand, gpu, measured, rounds
from tests.report.sections.conftest import drawn, findings, notes, points, said

FIGURE = "Compute peaks by unit and dtype"


def gemm(shape, seconds, dtype="bfloat16", **more):
    m, n, k = {"cube-4096": (4096,) * 3, "cube-8192": (8192,) * 3}.get(shape, (1024, 4096, 8192))
    params = {"kind": "gemm", "dtype": dtype, "shape": shape, "m": m, "n": n, "k": k} | more.pop("about", {})
    return rounds("peak", params, work.gemm(m, n, k, dtype, "tensor"), seconds, **more)


def best(rate, dtype="bfloat16", key="", **more):
    flops = 2 * 1024 * 4096 * 8192
    return gemm("mamf-x", flops / rate, dtype, saturates=key or f"tensor.{dtype}.library", **more)


def peaks():
    loop = {"kind": "tensor loop", "dtype": "bfloat16", "steps": 8}
    tile = work.tile_loop(64, 256, 64, 264, 1 << 14, "bfloat16", "float32")
    full = {**loop, "instruction": "wgmma.m64n256k16.f32.bf16"}
    lesser = {**loop, "instruction": "mma.sync.m16n8k16.f32.bf16"}
    lacking = {"kind": "tensor loop", "dtype": "float4"}
    return [
        *gemm("cube-4096", 4096**3 * 2 / 7e14),
        *gemm("cube-8192", 8192**3 * 2 / 8e14),
        *best(9e14),
        *rounds("peak", full, tile, tile.flops / 9.5e14, saturates="tensor.bfloat16.loop"),
        *rounds("peak", lesser, tile, tile.flops / 6e14),
        measured("peak", lacking, Work(unit="tensor", dtype="float4"), (), skip="no loop: none is written"),
    ]


def test_the_headline_and_the_highest_rate_lead():
    found = [*peaks(), *best(1.8e15, "float8_e4m3")]
    assert findings(by_hand(found, gpu()), "peak") == [
        "BF16 GEMM reaches 900 TFLOP/s (95 % interval 900–900 TFLOP/s), 91.0 % of the datasheet's 989 TFLOP/s.",
        "Highest rate: FP8 GEMM, 1.80 PFLOP/s, 2.00 times BF16 GEMM.",
    ]


def test_without_a_headline_nothing_leads():
    assert findings(by_hand(best(1.8e15, "float8_e4m3"), gpu()), "peak") == []


def test_small_print_names_the_winner_the_quoted_cubes_and_what_claims_nothing():
    fast = gemm("cube-4096", 1e-4, about={"variant": "fast_accum"})
    text = said(by_hand([*peaks(), *fast], gpu()), "peak")
    assert "Best BF16 shape: mamf-x (1024×4096×8192); beside it 4096³ 700 TFLOP/s and 8192³ 800 TFLOP/s." in text
    assert "Best GEMM as a share of the same unit's instruction loop: BF16 tensor 94.7 %." in text
    lesser = "mma.sync.m16n8k16.f32.bf16, not the full-rate path, claims no roof: 600 TFLOP/s, 63.2 % of the full-rate"
    assert lesser in text
    assert "FP4: no loop: none is written." in text
    assert "less precisely" not in text


def test_fast_accumulation_stands_beside_the_exact_sums():
    fast = best(1.8e15, "float8_e4m3", "tensor.float8_e4m3.fast_accum.library", about={"variant": "fast_accum"})
    run = by_hand([*best(1.5e15, "float8_e4m3"), *fast], gpu())
    assert "FP8 fast GEMM, whose sums are kept less precisely, reaches 1.20 times FP8 GEMM." in notes(run, "peak")


def test_a_lost_roof_says_why():
    lost = measured(
        "peak", {"kind": "gemm"}, Work(1.0, "tensor", "int8"), (), skip="no memory", saturates="tensor.int8.library"
    )
    assert findings(by_hand([*peaks(), lost], gpu()), "peak")[-1] == "No roof for INT8 GEMM: no memory."


def settled(after, before=1.8e9):
    found = [*best(9e14, clock_hz=(before,)), *best(7.2e14, regime=SUSTAINED, clock_hz=(after,))]
    return findings(by_hand(found, gpu()), "peak")[1]


def test_what_lasting_load_leaves_is_said_with_its_clock():
    kept = "Sustained, BF16 GEMM keeps 720 TFLOP/s, 80.0 % of its burst, at"
    assert settled(1.5e9) == f"{kept} 1.50 GHz instead of 1.80 GHz."
    assert settled(1.79e9) == f"{kept} 1.79 GHz as in the burst."
    late = [*best(9e14), *best(7.2e14, regime=SUSTAINED, clock_hz=(1.5e9,))]
    assert findings(by_hand(late, gpu()), "peak")[1] == f"{kept} 1.50 GHz."
    unclocked = by_hand([*best(9e14), *best(7.2e14, regime=SUSTAINED)], gpu())
    assert findings(unclocked, "peak")[1] == f"{kept[:-4]}."
    figure = drawn(unclocked, "peak")[FIGURE]
    assert points(figure, "sustained") == ([pytest.approx(7.2e14)], ["BF16 tensor"])
    assert points(figure, "best GEMM")[0] == [pytest.approx(9e14)]


def test_a_row_per_quantity_holds_loop_gemm_claim_and_what_claims_no_roof():
    figure = drawn(by_hand(peaks(), gpu()), "peak")[FIGURE]
    assert {trace.name for trace in figure.data} == {
        "datasheet", "instruction loop", "best GEMM", "GEMM 4096³", "GEMM 8192³", "loop of a lesser instruction"
    }  # fmt: skip
    low, high = (10**end for end in figure.layout.xaxis.range)
    assert all(low < rate < high for trace in figure.data for rate in trace.x)
    assert points(figure, "best GEMM") == ([pytest.approx(9e14)], ["BF16 tensor"])
    assert points(figure, "datasheet")[0] == [pytest.approx(989.4e12, rel=1e-3)]
    side = next(trace for trace in figure.data if trace.name == "loop of a lesser instruction")
    assert list(side.y) == ["BF16 tensor"]
    assert "mma.sync.m16n8k16.f32.bf16, not the full-rate path: claims no roof" in side.customdata[0]
    gemm_hover = next(trace for trace in figure.data if trace.name == "best GEMM").customdata[0]
    assert "91.0 % of datasheet" in gemm_hover
    assert "shape mamf-x" in gemm_hover


def test_a_roof_that_is_suspect_is_open():
    doubt = {"validity": "suspect", "reasons": ("hot",)}
    (claim, trace) = drawn(by_hand(best(9e14, **doubt), gpu()), "peak")[FIGURE].data
    assert claim.name == "datasheet"
    assert trace.marker.symbol == ("square-open",)
