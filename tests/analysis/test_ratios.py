"""Which of many ratios are drawn, and how far the axis reaches: every ratio within it, whatever its interval."""

from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.ratios import beyond, bounds, edges, rows


def point(what="DRAM", ratio=1.0, low=0.99, high=1.01, **more):
    fields = {"what": what, "ratio": ratio, "low": low, "high": high}
    return fields | {"headline": True, "differs": not low <= 1 <= high, "crowded": False} | more


def test_of_many_rows_those_that_say_something_are_kept():
    many = [point(f"roof {k}", headline=False) for k in range(20)]
    odd = point("odd", 0.9, 0.89, 0.91, headline=False)
    assert rows([*many, odd, point()]) == ["DRAM", "odd"]
    assert rows([*many[:3], point()]) == ["DRAM", "roof 0", "roof 1", "roof 2"]


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(1, 1e6), st.floats(1, 1e6)), min_size=1, max_size=8))
def test_the_axis_holds_every_ratio_and_says_which_interval_leaves_it(found):
    points = [point(ratio=ratio, low=ratio / below, high=ratio * above) for ratio, below, above in found]
    low, high = edges(points, 0.02)
    for each in points:
        assert low < each["ratio"] < high
        out = [bound for bound in bounds(each) if not low <= bound <= high]
        assert [bound for bound, _ in beyond(each, low, high)] == out
        assert all(edge in (low, high) for _, edge in beyond(each, low, high))


def test_of_several_in_a_row_only_telling_intervals_stand():
    assert bounds(point(crowded=True)) == (1.0, 1.0)
    assert bounds(point(ratio=0.9, low=0.89, high=0.91, crowded=True)) == (0.89, 0.91)
