import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as reference

from bench import stats

POSITIVE = st.floats(1e-9, 1e15)


@pytest.mark.parametrize("degrees", [1, 4, 9, 30, 31, 50, 200])
def test_t_matches_scipy(degrees):
    assert stats.t95(degrees) == pytest.approx(reference.t.ppf(0.975, degrees), rel=1e-4)


@given(st.lists(POSITIVE, min_size=1, max_size=30))
def test_estimate_holds_its_value(values):
    found = stats.estimate(values)
    assert found.low <= found.value * (1 + 1e-12)
    assert found.value <= found.high * (1 + 1e-12)
    assert found.n == len(values)
    assert found.kind == ("95 % interval" if len(values) >= 5 else f"range of {len(values)}")


@given(POSITIVE, st.integers(1, 12))
def test_identical_values_come_back_exactly(value, count):
    assert stats.estimate([value] * count).value == value


@given(st.lists(POSITIVE, min_size=5, max_size=20), st.floats(0.1, 10))
def test_estimate_scales(values, factor):
    one, other = stats.estimate(values), stats.estimate([v * factor for v in values])
    assert other.low == pytest.approx(one.low * factor)
    assert other.high == pytest.approx(one.high * factor)


@pytest.mark.parametrize("values", [[], [0.0], [-1.0, 1.0], [math.nan], [math.inf, 1.0]])
def test_estimate_refuses(values):
    with pytest.raises(ValueError, match=r"values|positive"):
        stats.estimate(values)


def test_interval_covers():
    """The 95 % interval of five log-normal repetitions holds the truth in about 95 % of 4,000 draws."""
    draw = random.Random(0)
    hits = sum(1.0 in stats.estimate([math.exp(draw.gauss(0, 0.01)) for _ in range(5)]) for _ in range(4000))
    assert 0.94 <= hits / 4000 <= 0.96


def test_median_interval_covers():
    draw = random.Random(1)
    hits = 0
    for _ in range(2000):
        values = [draw.gauss(100, 1) for _ in range(25)]
        half = stats.median_half_width(values) * sorted(values)[12]
        hits += abs(sorted(values)[12] - 100) <= 2 * half
    assert hits / 2000 > 0.95
    assert stats.median_half_width([1, 2, 3]) == math.inf


@given(st.lists(POSITIVE, min_size=1, max_size=40), st.floats(0, 1))
def test_quantile_matches_numpy(values, q):
    import numpy

    assert stats.quantile(values, q) == pytest.approx(float(numpy.quantile(values, q)), rel=1e-9)


def test_mad_of_a_normal_is_its_deviation():
    draw = random.Random(2)
    assert stats.mad([draw.gauss(0, 3) for _ in range(20_000)]) == pytest.approx(3, rel=0.05)
