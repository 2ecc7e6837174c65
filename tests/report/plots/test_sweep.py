"""Lines and bars hold what an axis can hold, and a ratio is worded both ways."""

import pandas as pd
import pytest

from bench.report.plots import sweep


@pytest.mark.parametrize("kind", [sweep.SECONDS, sweep.PERCENT, sweep.FACTOR])
def test_a_line_leaves_out_what_no_axis_holds(kind):
    values = [0.5, 2.0, float("nan"), float("inf"), -1.0]
    part = pd.DataFrame({"x": [1.0, 2, 4, 8, 16], "y": values, "validity": "valid"})
    assert len(sweep.sweep({"a": part}, "x", "y", kind).data[0].x) == 2
    assert sweep.sweep({"a": part[part["x"] > 2]}, "x", "y", kind) is None


def test_two_bars_at_one_place_stand_beside_each_other():
    drawn = sweep.bars(["a", "a"], {"one": ([1.0, 2.0], ["", ""])}, "", stacked=False)
    assert list(drawn.data[0].y) == ["a", "a (2)"]


def test_a_ratio_in_words():
    assert sweep.faster(2) == "is 2.00 times as fast as"
    assert sweep.faster(0.5) == "takes 2.00 times as long as"
