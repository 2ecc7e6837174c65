"""Welch's t over logarithms: scipy's where there are many repetitions, careful where there are few."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.welch import WelchTest, discoveries, log_sample, recovered
from bench.stats import estimate

rates = st.lists(st.floats(1e-9, 1e18), min_size=2, max_size=9)


@given(rates, rates)
def test_tests_obey_the_laws(a, b):
    there, back = WelchTest(log_sample(a), log_sample(b)), WelchTest(log_sample(b), log_sample(a))
    same = WelchTest(log_sample(a), log_sample(a))
    assert math.exp(same.centre) == 1
    assert same.p > 0.9
    assert there.p == pytest.approx(back.p)
    low, high = there.interval(0.05)
    assert low <= math.exp(there.centre) <= high
    wide = there.interval(0.01)
    assert wide[0] <= low <= high <= wide[1]


@given(rates, rates, st.floats(1e-4, 0.5))
def test_interval_and_p_agree(a, b, level):
    test = WelchTest(log_sample(a), log_sample(b))
    low, high = test.interval(level)
    if abs(test.p / level - 1) > 1e-6:
        assert (test.p < level) == (not low <= 1 <= high)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_discoveries_are_benjamini_and_hochbergs(ps):
    """By its definition: reject the k smallest, k the largest with p(k) <= 0.05 k / m."""
    ordered = sorted(ps)
    k = max((k for k in range(1, len(ps) + 1) if ordered[k - 1] <= 0.05 * k / len(ps)), default=0)
    level = discoveries(ps)
    assert sum(p <= level for p in ps) == k


def test_welchs_t_by_scipy():
    from scipy.stats import ttest_ind

    source = random.Random(1)
    a, b = ([math.exp(source.gauss(0, s)) for _ in range(n)] for s, n in ((0.01, 5), (0.03, 8)))
    found = ttest_ind(*([math.log(v) for v in side] for side in (b, a)), equal_var=False)
    test = WelchTest(log_sample(a), log_sample(b))
    assert test.p == pytest.approx(found.pvalue, rel=1e-6)
    low, high = found.confidence_interval()
    assert test.interval(0.05) == pytest.approx((math.exp(low), math.exp(high)), rel=1e-6)


def test_few_repetitions_need_ranges_that_do_not_overlap():
    a, b = log_sample([1.0, 1.001, 1.05]), log_sample([0.999, 0.9985, 0.9988])
    assert WelchTest(a, b).few
    apart, touching = (
        WelchTest(log_sample([1.0, 1.001, 1.002]), log_sample([0.9, 0.901, 0.902])),
        WelchTest(a, log_sample([1.0005] * 3)),
    )
    assert apart.p < 0.05
    assert touching.p == 1
    assert touching.interval(0.05)[0] <= 1 <= touching.interval(0.05)[1]


def test_few_repetitions_raise_fewer_false_alarms_than_many():
    source, alarms = random.Random(5), 0
    for _ in range(2000):
        a, b = ([math.exp(source.gauss(0, 0.007)) for _ in range(3)] for _ in range(2))
        alarms += WelchTest(log_sample(a), log_sample(b)).p <= 0.05
    # at 5 % it would be 100; 0 would mean that three repetitions never show anything
    assert 10 < alarms < 100


def test_an_estimate_gives_its_scatter_back():
    values = [1.0, 1.01, 0.99, 1.005, 0.995]
    known, back = log_sample(values), recovered(estimate(values))
    assert (back.centre, back.n) == (pytest.approx(known.centre), 5)
    assert back.variance == pytest.approx(known.variance, rel=1e-3)
    # of a range, the most that it allows
    few = recovered(estimate(values[:3]))
    assert few.variance >= log_sample(values[:3]).variance
    assert recovered(estimate(values[:1])).variance is None


def test_borrowed_scatter_is_used_for_a_single_repetition_only():
    assert log_sample([1.0], (0.01, 30)) == log_sample([1.0], (0.01, 30))
    once = log_sample([1.0], (0.01, 30))
    assert (once.variance, once.degrees, once.borrowed) == (0.01, 30, True)
    assert not log_sample([1.0, 1.1], (0.01, 30)).borrowed


def test_no_family_is_judged_as_one():
    assert discoveries([]) == 0.05
    assert discoveries([0.9, 0.8]) == 0.025
