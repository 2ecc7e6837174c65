"""Rows of marks: an axis that holds every value, interval and tick, outliers by name, and what is doubtful."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.datasheet import compare
from bench.analysis.fit import fit
from bench.analysis.siblings import siblings
from bench.report.plots.rows import datasheet, strip
from bench.roofline import Roof, Roofline

CLAIM = Roofline("c", (Roof("dram", 4.8e12), Roof("tensor.bfloat16.datasheet", 989e12)))


def ratios(dram: float, gemm: float, width: float = 0.01):
    def roof(key, rate):
        return Roof(key, rate, rate * (1 - width), rate * (1 + width), 5)

    mine = Roofline("m", (roof("dram", 4.8e12 * dram), roof("tensor.bfloat16.library", 989e12 * gemm)))
    return compare(mine, CLAIM)


@given(st.floats(0.01, 6), st.floats(0.01, 6), st.floats(0.01, 6))
def test_the_axis_holds_every_value_interval_and_tick(dram, gemm, clock):
    figure = datasheet(ratios(dram, gemm), (), {"tensor.bfloat16.library": clock * 989e12})
    low, high = figure.layout.xaxis.range
    for trace in figure.data:
        assert all(low <= x <= high for x in trace.x)
        if trace.error_x.array is not None:
            assert all(low <= x - less for x, less in zip(trace.x, trace.error_x.arrayminus, strict=True))
            assert all(x + more <= high for x, more in zip(trace.x, trace.error_x.array, strict=True))
    assert low <= 100 <= high


def test_shares_names_hovers_and_doubts():
    figure = datasheet(ratios(0.9, 1.0), ["dram"], {"tensor.bfloat16.library": 811e12})
    traces = {trace.name: trace for trace in figure.data}
    memory, compute = traces["memory and links"], traces["compute"]
    assert (memory.x, memory.y) == ((90.0,), ("DRAM",))
    assert memory.marker.symbol == ("diamond-open",)
    assert compute.marker.symbol == ("circle",)
    assert "4.32 TB/s of 4.80 TB/s<br>90.0 % (89.1–90.9 %)" in memory.customdata[0]
    tick = traces["by the datasheet at the clock seen"]
    assert tick.x[0] == 100 * 811 / 989
    assert "811 TFLOP/s by the datasheet at the clock seen" in tick.customdata[0]
    assert "percent of datasheet" in figure.layout.xaxis.title.text
    assert datasheet((), (), {}) is None


def test_the_outlier_is_named_and_all_are_within_the_axis(slow_sibling):
    rows = pd.DataFrame(siblings(fit(slow_sibling)))
    figure = strip(rows, ())
    low, high = figure.layout.xaxis.range
    dots = {trace.name: trace for trace in figure.data}
    assert set(dots) == {"a GPU", "outlier"}
    assert sum(len(trace.x) for trace in figure.data) == len(rows)
    assert all(low < x < high for trace in figure.data for x in trace.x)
    assert dots["outlier"].text == ("GPU 2",)
    assert dots["outlier"].y == ("DRAM",)
    assert 89 < dots["outlier"].x[0] < 91
    assert dots["outlier"].marker.color == "var(--alarm)"
    assert dots["outlier"].error_x.array[0] > 0
    assert "GPU 2</b> DRAM" in dots["outlier"].customdata[0]
    assert "of the others' median 4.8" in dots["outlier"].customdata[0]


def test_only_the_roofs_that_are_asked_for(slow_sibling):
    rows = pd.DataFrame(siblings(fit(slow_sibling)))
    figure = strip(rows, ["dram", "tensor.bfloat16.library"])
    assert {y for trace in figure.data for y in trace.y} == {"DRAM", "BF16 GEMM"}
    assert list(figure.layout.yaxis.categoryarray) == ["BF16 GEMM", "DRAM"]
    assert strip(rows, ["nothing"]) is None
    assert strip(pd.DataFrame(columns=rows.columns), ()) is None


def test_hostile_names_stay_text(slow_sibling):
    rows = pd.DataFrame(siblings(fit(slow_sibling))).assign(device="<img src=x>:1")
    rows["device"] = "<img src=x>"
    texts = [text for trace in strip(rows, ()).data for text in (*(trace.text or ()), *trace.customdata)]
    assert len(texts) > len(rows)
    assert all("<img" not in text and "&lt;img" in text for text in texts)
