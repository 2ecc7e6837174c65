"""What a budget buys, what is none, and how its time is divided between what is side by side, in turns, together."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure import supervisor
from bench.measure.budget import BUDGETS, LEAST_MEETING, MAIN, NAMED, BadBudget, budget, portions, timed
from bench.measure.probes import select
from bench.measure.supervisor import Measured
from bench.schema import Unreached


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


@given(st.floats(0.1, 1e4), st.integers(0, 8), st.booleans(), st.integers(0, 2), st.floats(0, 60))
def test_portions_add_up_and_the_main_one_is_half_at_least(seconds, turns, company, groups, start):
    found = portions(seconds, turns, company, groups, start)
    assert found.groups <= groups
    assert not found.groups or found.group >= start + LEAST_MEETING, "or they would not even start"
    total = found.main + turns * found.turn + found.company + found.groups * found.group
    assert total == pytest.approx(seconds)
    assert found.main >= MAIN * seconds * (1 - 1e-9)
    assert min(found.turn, found.company, found.group) >= 0


def test_time_without_end_has_portions_without_end():
    assert set(vars(portions(math.inf, 1, True, 2, 4.0)).values()) == {math.inf, 2}


NODE = "sim:h200-sxm,gpus=8,noise=0.002:0.007,cost=20ms:2ms:400ms:3s"


def told(budget, left):
    """(measurements by device, what was not reached, seconds of the device that worked longest)."""
    found, unreached, ends = {}, [], {}
    chosen = select([])
    for event in supervisor.run([NODE], chosen, budget, 0, left=lambda: left):
        if isinstance(event, Measured):
            found.setdefault(event.measurement.device, []).append(event.measurement)
            ends[event.measurement.device] = ends.get(event.measurement.device, 0.0) + event.measurement.elapsed
        elif isinstance(event, Unreached):
            unreached.append(event)
    return found, unreached, ends


# What importing, opening and the report of eight GPUs take of the command's time.
AROUND = 6.0


@pytest.mark.parametrize(("name", "most"), [("quick", 45.0), ("standard", 180.0)])
def test_a_node_of_eight_keeps_its_budget_and_reaches_every_probe(name, most):
    budget = BUDGETS[name]
    found, unreached, ends = told(budget, budget.seconds - AROUND)
    starts = 3.0 * 3  # the devices, and two groups of ranks
    assert max(ends.values()) + starts + AROUND <= most
    assert len(found) == 8
    for measured in found.values():
        done = {m.probe for m in measured if m.seconds or m.skip}
        assert done >= {"bandwidth", "onchip", "peak", "intensity", "gemm", "attention", "hostcopy", "layer"}
        assert {m.params.get("company", "") for m in measured if m.probe == "hostcopy"} == {"", "all"}
    first = next(iter(found.values()))
    sizes = {algorithm: set() for algorithm in ("ring", "default")}
    for m in first:
        if m.probe == "allreduce":
            sizes[m.params["algorithm"]].add(m.params["bytes"])
    assert all(len(each) >= 5 for each in sizes.values())
    if name == "standard":
        assert {each.probe for each in unreached} <= {"sustained"}
