"""The batch where a matrix multiplication turns from memory to compute, by the roofs and by its own curve."""

from dataclasses import replace

import pytest

from bench import work
from bench.analysis.fit import fit
from bench.analysis.knee import gemm_knees
from bench.roofline import Roofline
from tests.analysis.case_rows import case_rows
from tests.report.runs import simulated


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
