"""GEMM over the batch: where the weights pay for their own reading, by the roofs and by the curve."""

from dataclasses import replace

import pytest

from bench import work
from tests.report.runs import by_hand, gpu, rounds
from tests.report.sections.conftest import drawn, findings, notes, points, said

BATCHES = (1, 4, 16, 64, 256, 1024, 4096, 16384)
MEMORY, PEAK = 4e12, 8e14


def products(dtype="bfloat16", n=4096, k=4096, batches=BATCHES, peak=PEAK):
    found = []
    for batch in batches:
        demand = work.gemm(batch, n, k, dtype, "tensor")
        params = {"dtype": dtype, "batch": batch, "n": n, "k": k, "strided": 0}
        seconds = max(demand.bytes / MEMORY, demand.flops / peak)
        found += rounds("gemm", params, demand, seconds)
    return found


def roofs(dtype="bfloat16", peak=PEAK):
    copy, demand = work.stream("copy", 2**27), work.gemm(8192, 8192, 8192, dtype, "tensor")
    about = {"kind": "gemm", "dtype": dtype, "shape": "cube-8192", "m": 8192, "n": 8192, "k": 8192}
    return [
        *rounds("bandwidth", {"mix": "copy", "bytes": 2**30}, copy, copy.bytes / MEMORY, saturates="dram"),
        *rounds("peak", about, demand, demand.flops / peak, saturates=f"tensor.{dtype}.library"),
    ]


def test_both_ends_and_the_knee_batch_are_said():
    told = findings(by_hand([*roofs(), *products()], gpu()), "gemm")
    assert told[0] == "BF16, weights 4096×4096: at batch 1 the weights stream at 4.00 TB/s, 100 % of the DRAM roof."
    assert told[1] == "At batch 16384 it computes 800 TFLOP/s, 100 % of the BF16 GEMM roof."
    # flops / bytes = 200 FLOP/B where 2 m n k = 200 x 2 (m k + n k + m n) bytes: m = 221.6
    assert told[2].startswith("By the roofs it turns compute-bound at batch 22")
    assert "the curve bends at 2" in told[2]


def test_the_headline_and_the_larger_matrix_lead_and_others_are_small_print():
    found = [*roofs(), *roofs("float16", PEAK / 2), *products("float16", peak=PEAK / 2), *products(n=8192), *products()]
    run = by_hand(found, gpu(units={"float16": "tensor", "bfloat16": "tensor"}))
    assert findings(run, "gemm")[0].startswith("BF16, weights 8192×4096")
    assert notes(run, "gemm") == []
    found += products("float16", n=8192, peak=PEAK / 2)
    run = by_hand(found, gpu(units={"float16": "tensor", "bfloat16": "tensor"}))
    assert notes(run, "gemm")[0].startswith("Compute-bound on the same weights, by the roofs, from batch: FP16 10")


def test_a_sweep_that_does_not_reach_the_knee_says_so():
    assert "the roofs do not cross" in said(by_hand([*roofs(), *products(batches=(1, 4, 16))], gpu()), "gemm")
    short = products(batches=(64, 256, 1024))
    assert "the curve shows no bend" in said(by_hand([*roofs(), *short], gpu()), "gemm")


def test_a_line_per_dtype_and_matrix_with_the_knee_of_the_headline():
    figure = drawn(by_hand([*roofs(), *products(), *products(n=8192)], gpu()), "gemm")[
        "GEMM performance over the batch"
    ]
    assert [trace.name for trace in figure.data] == ["BF16 4096×4096", "BF16 8192×4096"]
    batches, rates = points(figure, "BF16 4096×4096")
    assert batches == list(BATCHES)
    assert rates[-1] == pytest.approx(PEAK)
    assert figure.data[0].line.dash != figure.data[1].line.dash
    (knee,) = [note.text for note in figure.layout.annotations if note.name == "knee"]
    assert knee.startswith("BF16 knee 21")


def test_a_strided_product_is_no_point_of_the_sweep_and_one_batch_has_one_end():
    (one,) = findings(by_hand([*roofs(), *products(batches=(1,))], gpu()), "gemm")[:-1]
    assert "at batch 1 the weights stream" in one
    strided = [replace(m, params=m.params | {"strided": 32}) for m in products(batches=(2,))]
    run = by_hand([*roofs(), *products(), *strided], gpu())
    assert points(drawn(run, "gemm")["GEMM performance over the batch"], "BF16 4096×4096")[0] == list(BATCHES)


def test_a_dtype_of_the_run_is_inert():
    found = [replace(m, params=m.params | {"dtype": "<img src=x>"}) for m in products()]
    figure = drawn(by_hand([*roofs(), *found], gpu()), "gemm")["GEMM performance over the batch"]
    assert any(note.name == "knee" for note in figure.layout.annotations)
    assert "<img" not in figure.to_json().replace("\\u003c", "<")
