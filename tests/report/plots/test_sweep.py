"""Lines and bars hold what an axis can hold, and a ratio is worded both ways."""

import pandas as pd
import pytest

from bench.report.plots import sweep, theme


@pytest.mark.parametrize("kind", [sweep.SECONDS, sweep.PERCENT, sweep.FACTOR])
def test_a_line_leaves_out_what_no_axis_holds(kind):
    values = [0.5, 2.0, float("nan"), float("inf"), -1.0]
    part = pd.DataFrame({"x": [1.0, 2, 4, 8, 16], "y": values, "validity": "valid"})
    assert len(sweep.sweep({"a": part}, "x", "y", kind).data[0].x) == 2
    assert sweep.sweep({"a": part[part["x"] > 2]}, "x", "y", kind) is None


def test_of_many_points_each_that_is_drawn_keeps_its_marker_and_its_hover():
    count = 3 * theme.MOST_POINTS
    part = pd.DataFrame({"x": range(1, count + 1), "y": 1.0, "validity": ["valid", "valid", "suspect"] * (count // 3)})
    hover = [f"{validity} {x}" for validity, x in zip(part["validity"], part["x"], strict=True)]
    trace = sweep.curve("a", part.assign(validity=part["validity"].iloc[::-1].values), "x", "y", 0, hover=hover)
    symbols, texts = trace["marker"]["symbol"], trace["customdata"]
    assert len(trace["x"]) == len(symbols) == len(texts) <= theme.MOST_POINTS
    assert set(symbols) == {"circle-open"}, "every third, from the first on, is suspect"
    assert texts == [f"valid {x}" for x in trace["x"]]


def test_two_bars_at_one_place_stand_beside_each_other():
    drawn = sweep.bars(["a", "a"], {"one": ([1.0, 2.0], ["", ""])}, "", stacked=False)
    assert list(drawn.data[0].y) == ["a", "a (2)"]


def test_a_ratio_in_words():
    assert sweep.faster(2) == "is 2.00 times as fast as"
    assert sweep.faster(0.5) == "takes 2.00 times as long as"
