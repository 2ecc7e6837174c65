"""Frames that a question is answered from: lines through messages, memory levels and knees of products."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import work
from bench.analysis.fit import fit
from bench.analysis.selections import chases, gemm_knees, hockney_line, levels, plateaus
from bench.roofline import Roofline
from bench.schema import Cache
from bench.work import Work
from tests.analysis.case_rows import case_rows
from tests.report.runs import by_hand, cpu, gpu, measured, simulated

# Latency and bandwidth from times over size.


SIZES = [2**p for p in range(10, 34, 2)]


@given(st.floats(1e-7, 1e-3), st.floats(1e8, 1e12))
def test_a_line_is_found_again(alpha, beta):
    found = hockney_line([(size, alpha + size / beta) for size in SIZES])
    assert found.alpha == pytest.approx(alpha, rel=1e-6)
    assert found.beta == pytest.approx(beta, rel=1e-6)
    assert found.misfit < 1e-6
    assert found.seconds(found.half) == pytest.approx(2 * alpha, rel=1e-6)


def test_every_size_counts_alike():
    """Ten percent on the largest must not cost the smallest its latency."""
    points = [(size, 1e-5 + size / 1e11) for size in SIZES]
    points[-1] = (points[-1][0], points[-1][1] * 1.1)
    assert hockney_line(points).alpha == pytest.approx(1e-5, rel=0.02)


def test_what_is_no_line_is_none():
    assert hockney_line([(1024, 1e-5), (2048, 1e-5), (4096, 1e-5)]) is None
    assert hockney_line([]) is None
    falling = [(size, 1.0 / size) for size in SIZES]
    assert hockney_line(falling) is None or hockney_line(falling).misfit > 0.5
    assert hockney_line([(1024, 1e-5)] * 9) is None


def test_a_change_of_protocol_shows_as_misfit():
    points = [(size, (1e-5 if size < 1 << 20 else 8e-5) + size / 1e11) for size in SIZES]
    assert hockney_line(points).misfit > 0.05


# Memory levels and the latency of each: what lies well inside of one, and what one thread can reach.


def chase(size, nanoseconds, **more):
    return measured("latency", {"bytes": size, "hops": 1000}, Work(), (nanoseconds * 1e-6,) * 6, cache="hot", **more)


def chased(*found, info=None):
    made = fit(by_hand(found, info or gpu()))[0]
    return case_rows(made), made.info


def sweep(**more):
    return [chase(2**p, 20 if p <= 17 else 150 if p <= 25 else 400, **more) for p in range(12, 31)]


def test_every_level_has_its_plateau():
    rows, info = chased(*sweep(clock_hz=(1.5e9,)))
    found = plateaus(rows, info)
    assert [(each.level.name, round(each.seconds * 1e9), round(each.cycles)) for each in found] == [
        ("l1", 20, 30),
        ("l2", 150, 225),
        ("dram", 400, 600),
    ]
    assert [each.points for each in found] == [4, 7, 3]


def test_without_a_clock_there_are_no_cycles():
    rows, info = chased(*sweep())
    assert {each.cycles for each in plateaus(rows, info)} == {None}


def test_a_plateau_needs_a_point_well_inside():
    assert plateaus(*chased(chase(1 << 16, 20), chase(1 << 17, 20))) == []


def test_what_failed_or_says_no_size_is_no_chase():
    lost = chase(1 << 20, 20, validity="invalid", reasons=("lost",))
    other = measured("latency", {"hops": 1000}, Work())
    rows, _ = chased(lost, other, chase(1 << 14, 20), chase(1 << 13, 20))
    found = chases(rows)
    assert list(found["size"]) == [1 << 13, 1 << 14]
    assert list(found["load"]) == pytest.approx([20e-9, 20e-9])


def test_a_multiprocessors_l1_is_a_lower_bound_and_a_core_has_its_part():
    assert [(level.name, level.bytes, level.at_least) for level in levels(gpu())] == [
        ("l1", 64 << 10, True),
        ("l2", 60 << 20, False),
        ("dram", math.inf, False),
    ]
    machine = cpu(caches=(Cache("l1", 96 << 10), Cache("l3", 32 << 20)), facts={"cores": "2"})
    assert [level.bytes for level in levels(machine)][:2] == [48 << 10, 32 << 20]


# The batch where a matrix multiplication turns from memory to compute, by the roofs and by its own curve.


@pytest.fixture(scope="module")
def found():
    return fit(simulated("sim:h200-sxm", ("bandwidth", "peak", "gemm")))[0]


def test_the_predicted_knee_is_where_the_two_times_meet(found):
    knees = gemm_knees(case_rows(found), found)
    assert knees[0].dtype == "bfloat16", "the headline's dtype comes first"
    assert knees[0].n * knees[0].k == max(knee.n * knee.k for knee in knees if knee.dtype == "bfloat16")
    for knee in knees[:2]:
        demand = work.gemm(round(knee.predicted), knee.n, knee.k, knee.dtype, "tensor")
        ratio = found.roofline.compute_seconds(demand) / found.roofline.memory_seconds(demand)
        assert ratio == pytest.approx(1, abs=0.05)
        assert knee.measured == pytest.approx(knee.predicted, rel=0.1)


def test_without_a_roof_nothing_is_predicted_and_the_curve_still_tells(found):
    bare = replace(found, roofline=Roofline("", (found.roofline.roof("dram"),)))
    knee = gemm_knees(case_rows(found), bare)[0]
    assert knee.predicted is None
    assert knee.measured == pytest.approx(gemm_knees(case_rows(found), found)[0].measured)


def test_few_points_have_no_curve(found):
    rows = case_rows(found)
    few = rows[rows["probe"] == "gemm"].head(4)
    assert all(knee.measured is None for knee in gemm_knees(few, found))
    assert gemm_knees(rows[rows["probe"] == "peak"], found) == ()
