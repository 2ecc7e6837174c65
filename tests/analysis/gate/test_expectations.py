"""The band around what is usual: its formula against one written here, its direction, its limits."""

import math
from statistics import median

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bench.analysis.gate.expectations import ENOUGH, WINDOW, K, Reference, compare, of_theory, usual
from bench.analysis.gate.metrics import Metric, Tolerance

SPEEDS = st.lists(st.floats(1.0, 1e3), min_size=ENOUGH, max_size=WINDOW)
SHARE = st.floats(0.001, 0.4)


def metric(amount: str = "bytes", floor: float = 0.02, least: float = 0.0) -> Metric:
    tolerance = Tolerance(warn=floor / 2, floor=floor, siblings=0.05, least=least)
    return Metric(name="any", domain="memory", probe="any", where={}, amount=amount, tolerance=tolerance)


def of(past, one: Metric) -> Reference:
    return usual("history", one, past, one.tolerance.floor, one.tolerance.least, "")


def middle(values):
    """The median, the long way."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


@given(SPEEDS, SHARE)
def test_a_band_is_the_median_minus_the_floor_or_the_scatter(past, floor):
    centre = middle(past)
    scatter = K * 1.4826 * middle([abs(speed - centre) for speed in past])
    low = centre - max(floor * centre, scatter)
    found = of(past, metric(floor=floor))
    assert found.centre == pytest.approx(centre)
    assert found.low == pytest.approx(low, abs=1e-9 * centre)
    assert found.high == pytest.approx(2 * centre - low)
    assert found.n == len(past)
    assert found.kind == "history"


@given(SPEEDS, SHARE)
def test_a_times_band_is_as_wide_in_seconds(past, floor):
    """20 % longer is the limit of a floor of 20 %, not 20 % fewer launches."""
    found = of(past, metric("seconds", floor))
    usual = 1 / middle(past)
    scatter = K * 1.4826 * middle([abs(speed * usual - 1) for speed in past])
    assert 1 / found.low == pytest.approx(usual * (1 + max(floor, scatter)))
    if max(floor, scatter) < 1:
        assert 1 / found.high == pytest.approx(usual * (1 - max(floor, scatter)), rel=1e-6, abs=1e-12)
    else:
        assert found.high == math.inf


def test_no_time_matters_below_the_least_seconds():
    one = metric("seconds", floor=0.2, least=5e-7)
    short, long = of([1 / 1e-6] * 10, one), of([1 / 1e-5] * 10, one)
    assert 1 / short.low == pytest.approx(1.5e-6), "half a microsecond, not a fifth of one"
    assert 1 / long.low == pytest.approx(1.2e-5)
    assert compare(1 / 1.4e-6, short).place == "within"
    assert compare(1 / 1.6e-6, short).place == "below"
    assert 1 / of([1 / 1e-6], one).low == pytest.approx(1.5e-6)


@given(SPEEDS, SHARE, st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(past, floor, scale):
    one = metric(floor=floor)
    before, after = of(past, one), of([scale * speed for speed in past], one)
    for name in ("low", "centre", "high"):
        assert getattr(after, name) == pytest.approx(scale * getattr(before, name), abs=1e-6 * scale)


def test_one_bad_run_moves_nothing():
    calm = of([1.0, 1.001] * 10, metric())
    assert of([0.5, *[1.0, 1.001] * 10][:20], metric()).low == pytest.approx(calm.low, rel=2e-3)


@given(st.floats(1, 1e6), st.floats(0.01, 5))
def test_the_place_is_that_of_the_band(speed, ratio):
    found = compare(ratio * speed, of_theory(speed))
    assume(abs(ratio - 0.5) > 1e-9)
    assume(abs(ratio - 1.02) > 1e-9)
    assert found.ratio == pytest.approx(ratio)
    assert found.place == ("below" if ratio < 0.5 else "above" if ratio > 1.02 else "within")


def test_the_limit_itself_is_within():
    reference = of([1.0] * ENOUGH, metric())
    assert compare(reference.low, reference).place == compare(reference.high, reference).place == "within"
    assert compare(math.nextafter(reference.low, 0), reference).place == "below"
    assert compare(math.nextafter(reference.high, 9), reference).place == "above"
    assert median([reference.low, reference.high]) == pytest.approx(reference.centre)
