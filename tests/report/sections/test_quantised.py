"""What the section of quantised weights says of planted products beside unquantised ones."""

import pytest

from bench.work import Work
from tests.report.runs import by_hand, measured
from tests.report.sections.conftest import drawn, of_probe, points, said, section, view

SPEEDUP = "Speedup"


def product(kind, weights, batch, seconds, size, method="kernel", n=64, **more):
    params = {"quantised": kind, "weights": weights, "batch": batch, "n": n, "k": 64}
    return measured("quantised", params, Work(bytes=size), (seconds,) * 6, notes={"method": method}, **more)


ROWS = [
    product("unquantised", "bf16", 1, 99e-3, 99e6, n=128),
    product("unquantised", "bf16", 1, 4e-3, 8e6),
    product("unquantised", "bf16", 64, 6e-3, 9e6),
    product("weights", "int8", 1, 2e-3, 4e6, "byte by byte"),
    product("weights", "int4-g128", 1, 1e-3, 2e6, "packed"),
    product("weights", "int4-g128", 64, 12e-3, 3e6, "packed"),
    product("weights and activations", "fp8", 1, 8e-3, 4e6, "scaled"),
]


def test_quantised_weights_are_compared_at_the_same_batch_and_shape():
    run = by_hand(ROWS)
    found = {
        (row.what, row.batch): (row.times, row.lighter) for row in of_probe("quantised", view(run)).gains.itertuples()
    }
    assert found["INT4 weights", 1] == pytest.approx((4, 4))
    assert found["INT4 weights", 64] == pytest.approx((0.5, 3))
    assert found["FP8 weights and activations", 1] == pytest.approx((0.5, 2))
    text = said(run, "quantised")
    assert "With INT4 weights a product is 4.00 times as fast as unquantised at 1 row (bytes alone: 4.00)." in text
    assert "INT4 weights: best at 1 row, 4.00 times; slower than unquantised at 64." in text
    assert "With FP8 weights and activations a product takes 2.00 times as long as unquantised at 1 row" in text
    assert "INT4 weights: packed; a serving engine's kernel may be faster." in text
    assert "FP8 weights and activations: scaled;" in text
    assert points(drawn(run, "quantised")[SPEEDUP], "INT4 weights") == ([1, 64], pytest.approx([4, 0.5]))


def test_the_largest_gain_comes_first_and_then_what_pays_at_no_batch():
    found = section(by_hand(ROWS), "quantised").findings
    assert found[0].text.startswith("With INT4 weights a product is 4.00")
    assert found[1].text == "Slower than unquantised at every batch: FP8 weights and activations."
    assert found[2].text.startswith("With INT8 weights a product is 2.00")
    assert not any("every batch" in each.text for each in section(by_hand(ROWS[:-1]), "quantised").findings)


def test_shares_of_the_roof_are_told_where_they_differ():
    dram = measured("bandwidth", {"mix": "read", "bytes": 2**30}, Work(bytes=1e10), (1.0,) * 6, saturates="dram")
    rows = [
        product("unquantised", "bf16", 1, 1e-3, 8e6),
        product("weights", "int8", 1, 1e-3, 4e6),
        product("weights", "fp8", 1, 0.5e-3, 4.1e6),
    ]
    text = said(by_hand([dram, *rows]), "quantised")
    assert "INT8 weights at 1 row: 40.0 % of the roof, unquantised 80.0 %." in text
    assert "FP8 weights at 1 row" not in text


def test_a_suspect_half_makes_a_suspect_pair_with_an_open_marker():
    rows = [product("unquantised", "bf16", 1, 4e-3, 8e6), product("weights", "int8", 1, 2e-3, 4e6)]
    assert not drawn(by_hand(rows), "quantised")[SPEEDUP].data[0].marker.symbol[0].endswith("-open")
    rows[0] = product("unquantised", "bf16", 1, 4e-3, 8e6, validity="suspect", reasons=("hot",))
    assert drawn(by_hand(rows), "quantised")[SPEEDUP].data[0].marker.symbol[0].endswith("-open")
