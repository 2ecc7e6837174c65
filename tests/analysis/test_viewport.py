"""The frame follows the machine, widens for a reader's kernels as far as that helps, and holds what is put in it."""

import math
from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.fit import fit
from bench.analysis.viewport import HEIGHT, Ceiling, Viewport, apart, beside, clusters, viewport
from tests.report.runs import simulated

FRAME = Viewport(0.05, 5e3, 5e10, 5e15)
VALUES = st.one_of(st.floats(1e-12, 1e30), st.just(math.inf))


@given(VALUES, VALUES)
def test_a_place_is_held_or_stands_at_the_edge_that_it_lies_beyond(x, y):
    at_x, at_y, out = FRAME.clamped(x, y)
    assert FRAME.holds(at_x, at_y)
    assert bool(out) != FRAME.holds(x, y)
    if not out:
        assert (at_x, at_y) == (x, y)
    wanted = {"left": x < FRAME.left, "right": x > FRAME.right, "down": y < FRAME.bottom, "up": y > FRAME.top}
    assert not out or wanted[out]


@given(st.lists(st.tuples(VALUES, VALUES), max_size=5))
def test_a_frame_is_never_narrowed_and_never_widened_without_end(points):
    wide = FRAME.widened(points)
    assert wide.left <= FRAME.left
    assert wide.right >= FRAME.right
    assert wide.bottom <= FRAME.bottom
    assert wide.top >= FRAME.top
    assert wide.right / wide.left < 1e5 * FRAME.right / FRAME.left
    for x, y in points:
        if FRAME.left / 2 < x < 2 * FRAME.right and FRAME.bottom / 2 < y < 2 * FRAME.top:
            assert wide.holds(x, y)


def test_a_point_a_little_beyond_an_edge_widens_that_edge_only():
    assert FRAME.widened([(1.0, 1e12)]) == FRAME
    assert FRAME.widened([(6e3, 1e12)]) == Viewport(0.05, 1.2e4, 5e10, 5e15)
    assert FRAME.widened([(0.02, 1e12)]) == Viewport(0.01, 5e3, 5e10, 5e15)
    assert FRAME.widened([(1.0, 1e10)]) == Viewport(0.05, 5e3, 2.5e9, 5e15)
    assert FRAME.widened([(1.0, 1e16)]) == Viewport(0.05, 5e3, 5e10, 2e16)
    assert FRAME.widened([(1e9, 1e12), (1.0, 1.0)]) == FRAME


def test_two_runs_of_one_machine_have_one_frame():
    frames = {
        viewport(fit(simulated(f"sim:h200-sxm,noise=0.002:0.007,seed={seed}", ("bandwidth", "peak")))[0], None)
        for seed in (1, 2, 3)
    }
    assert len(frames) == 1


# Names in a roofline keep apart, stay in order and within the frame, and near where they belong.


WIDE = Viewport(0.1, 1e3, 1e9, 1e13)


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
    lines = [Ceiling(f"roof {key}", key, rate) for key, rate in (("dram", 1e11), ("l2", 1.2e11), ("l1", 1e12))]
    assert [[line.key for line in near] for near in clusters(lines, WIDE)] == [["l1"], ["l2", "dram"]]


@given(st.lists(st.tuples(st.floats(0.2, 500), st.floats(2e9, 5e12)), min_size=1, max_size=4))
def test_names_beside_markers_stay_inside_where_a_side_does(places):
    sides = beside(places, dict.fromkeys(range(len(places)), "a kernel"), WIDE)
    assert all(side != "middle left" for (x, _), side in zip(places, sides, strict=True) if x < 0.15)
    assert all(side != "middle right" for (x, _), side in zip(places, sides, strict=True) if x > 900)
    assert all(side != "bottom center" for (_, y), side in zip(places, sides, strict=True) if y < 1.2e9)


def test_two_names_at_one_place_stand_on_two_sides():
    sides = beside([(10.0, 1e11)] * 3, dict.fromkeys(range(3), "a kernel"), WIDE)
    assert all(one != other for one, other in combinations(sides, 2))


def test_a_name_at_the_edge_stands_inwards():
    y = WIDE.top**0.5 * WIDE.bottom**0.5
    assert beside([(WIDE.left, y)], {0: "kernel"}, WIDE) == ["middle right"]
    assert beside([(WIDE.right, y)], {0: "kernel"}, WIDE) == ["middle left"]
    assert beside([(10.0, WIDE.bottom)], {0: "k"}, WIDE)[0] != "bottom center"
