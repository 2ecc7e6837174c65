import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import roofline
from bench.roofline import MissingRoof, Roof, Roofline
from bench.work import Work

MACHINE = Roofline(
    "m", (Roof("dram", 4e12), Roof("tensor.bfloat16.library", 800e12), Roof("vector.float32.loop", 60e12))
)
RATE = st.floats(1e6, 1e16)
AMOUNT = st.floats(1, 1e15)


def work(flops: float, moved: float) -> Work:
    return Work(flops, "tensor", "bfloat16", bytes=moved)


def test_doctest():
    assert doctest.testmod(roofline).failed == 0


@given(AMOUNT, AMOUNT)
def test_seconds_is_the_larger_of_two_times(flops, moved):
    assert MACHINE.seconds(work(flops, moved)) == max(flops / 800e12, moved / 4e12)


@given(AMOUNT, AMOUNT, st.floats(0, 1e-3), st.sampled_from([1.0, 4.0, math.inf]))
def test_a_launch_adds_its_overhead(flops, moved, overhead, sharpness):
    without, machine = (Roofline("m", MACHINE.roofs, each, sharpness) for each in (0.0, overhead))
    assert machine.seconds(work(flops, moved)) == without.seconds(work(flops, moved)) + overhead


@given(AMOUNT, AMOUNT, st.floats(1, 50))
def test_a_soft_knee_only_adds_time(flops, moved, sharpness):
    soft = Roofline("m", MACHINE.roofs, sharpness=sharpness)
    sharp = MACHINE.seconds(work(flops, moved))
    assert sharp <= soft.seconds(work(flops, moved)) <= sharp * 2 ** (1 / sharpness) * (1 + 1e-12)


@given(AMOUNT, AMOUNT, st.floats(0, 1e-3))
def test_limit_names_the_largest_time(flops, moved, overhead):
    machine = Roofline("m", MACHINE.roofs, overhead)
    times = {"tensor.bfloat16.library": flops / 800e12, "dram": moved / 4e12, "overhead": overhead}
    assert times[machine.limit(work(flops, moved))] == max(times.values())


@given(st.floats(1e-3, 1e6))
def test_attainable_meets_at_the_ridge(intensity):
    ridge = MACHINE.ridge("tensor.bfloat16")
    attained = MACHINE.attainable(intensity, "tensor.bfloat16")
    assert attained == pytest.approx(800e12 if intensity >= ridge else 4e12 * intensity)


def test_a_variant_falls_under_its_dtype():
    machine = Roofline("m", (Roof("tensor.float8_e4m3.datasheet", 2e15),))
    assert machine.roof("tensor.float8_e4m3.fast_accum").rate == 2e15
    assert "tensor.float8_e4m3.fast_accum" in machine


def test_units_prefer_their_method():
    both = (Roof("vector.float32.library", 1e12), Roof("vector.float32.loop", 2e12), Roof("tensor.float16.loop", 4e12))
    machine = Roofline("m", (*both, Roof("tensor.float16.library", 3e12)))
    assert machine.roof("vector.float32").method == "loop"
    assert machine.roof("tensor.float16").method == "library"


def test_a_missing_roof_says_what_there_is():
    with pytest.raises(MissingRoof, match=r"no roof for 'link'; it has dram"):
        MACHINE.seconds(Work(bytes=1.0, channel="link"))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_roof_is_positive(rate):
    with pytest.raises(ValueError, match="positive"):
        Roof("dram", rate)
