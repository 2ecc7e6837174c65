"""Names in a roofline keep apart, stay in order and within the frame, and near where they belong."""

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.label_places import HEIGHT, apart, beside, clusters
from bench.analysis.viewport import Line, Viewport

FRAME = Viewport(0.1, 1e3, 1e9, 1e13)


@given(st.lists(st.tuples(st.floats(0, HEIGHT), st.integers(10, 40)), min_size=1, max_size=30))
def test_boxes_keep_apart_in_order_and_within_the_axis(boxes):
    boxes = sorted(boxes)
    places, sizes = [place for place, _ in boxes], [size for _, size in boxes]
    found, scale = apart(places, sizes), min(1, HEIGHT / sum(sizes))
    for (a, b), (one, other) in zip(pairwise(found), pairwise(sizes), strict=True):
        assert b - a >= scale * (one + other) / 2 - 1e-6
    assert found[0] >= -1e-6
    assert found[-1] <= HEIGHT + 1e-6


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20, unique=True))
def test_boxes_with_room_stay_where_they_belong(slots):
    places = [10 + 21.0 * slot for slot in sorted(slots)]
    assert apart(places, [20] * len(places)) == places


def test_slopes_that_lie_near_share_a_name():
    lines = [Line(f"roof {key}", key, rate) for key, rate in (("dram", 1e11), ("l2", 1.2e11), ("l1", 1e12))]
    assert [[line.key for line in near] for near in clusters(lines, FRAME)] == [["l1"], ["l2", "dram"]]


@given(st.lists(st.tuples(st.floats(0.2, 500), st.floats(2e9, 5e12)), min_size=1, max_size=4))
def test_names_beside_markers_stay_inside_where_a_side_does(places):
    sides = beside(places, dict.fromkeys(range(len(places)), "a kernel"), FRAME)
    assert all(side != "middle left" for (x, _), side in zip(places, sides, strict=True) if x < 0.15)
    assert all(side != "middle right" for (x, _), side in zip(places, sides, strict=True) if x > 900)
    assert all(side != "bottom center" for (_, y), side in zip(places, sides, strict=True) if y < 1.2e9)


def test_two_names_at_one_place_stand_on_two_sides():
    sides = beside([(10.0, 1e11)] * 3, dict.fromkeys(range(3), "a kernel"), FRAME)
    assert all(one != other for one, other in combinations(sides, 2))


def test_a_name_at_the_edge_stands_inwards():
    y = FRAME.top**0.5 * FRAME.bottom**0.5
    assert beside([(FRAME.left, y)], {0: "kernel"}, FRAME) == ["middle right"]
    assert beside([(FRAME.right, y)], {0: "kernel"}, FRAME) == ["middle left"]
    assert beside([(10.0, FRAME.bottom)], {0: "k"}, FRAME)[0] != "bottom center"
