"""What a budget buys, and what is no budget."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.budget import BUDGETS, NAMED, BadBudget, budget, timed


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1.5h", 5400), ("45", 45)])
def test_a_duration_is_a_budget(text, seconds):
    assert (budget(text).seconds, budget(text).name) == (seconds, text)


def test_names_are_budgets_and_a_host_needs_less():
    assert {name: budget(name).seconds for name in NAMED} == NAMED
    assert budget("standard", host=True).seconds < budget("standard").seconds
    assert budget("soak", host=True) == budget("soak") == BUDGETS["soak"]


@pytest.mark.parametrize("text", ["0s", "-5m", "3x", "1e99s", "", "nan", "inf", "1ms", "8d", "s"])
def test_what_is_no_budget_is_refused_with_what_would_be(text):
    with pytest.raises(BadBudget, match=r"(?s)(sniff, quick, standard, soak|from 1s to)"):
        budget(text)


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(BadBudget, match="Did you mean standard"):
        budget("standart")


@given(st.integers(1, 200), st.integers(0, 7))
def test_thinning_keeps_both_ends_spreads_evenly_and_nests(length, level):
    points = list(range(length))
    thin = BUDGETS["standard"].at(level).thin(points)
    finer = BUDGETS["standard"].at(level + 1).thin(points)
    assert set(thin) <= set(finer) <= set(points) == set(BUDGETS["standard"].thin(points))
    assert thin == sorted(thin)
    assert (thin[0], thin[-1]) == (0, length - 1)
    assert len(thin) == min(length, 2**level + 1)
    gaps = [b - a for a, b in pairwise(thin)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_nothing_is_thinned_to_nothing():
    assert BUDGETS["quick"].at(1).thin([]) == []


@given(st.floats(1, 1e5), st.floats(1, 1e5))
def test_more_time_never_buys_less(one, other):
    less, more = (timed("t", seconds) for seconds in sorted((one, other)))
    for name in ("case", "headline", "launch", "rounds", "memory", "sustained_rounds"):
        assert getattr(less, name) <= getattr(more, name)
    assert len(less.levels) <= len(more.levels)
