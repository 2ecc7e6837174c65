"""The frame follows the machine, widens for a reader's kernels as far as that helps, and holds what is put in it."""

import math

from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.fit import fit
from bench.analysis.viewport import Viewport, viewport
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
