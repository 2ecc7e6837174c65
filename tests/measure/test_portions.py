"""How time is divided: nothing below zero, nothing above what there is, and most of it side by side."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure import supervisor
from bench.measure.budget import BUDGETS
from bench.measure.portions import LEAST, MAIN, portions
from bench.measure.probes import select
from bench.measure.supervisor import Measured
from bench.schema import Unreached


@given(st.floats(0.1, 1e4), st.integers(0, 8), st.booleans(), st.integers(0, 2), st.floats(0, 60))
def test_portions_add_up_and_the_main_one_is_half_at_least(seconds, turns, company, groups, start):
    found = portions(seconds, turns, company, groups, start)
    assert found.groups <= groups
    assert not found.groups or found.group >= start + LEAST, "or they would not even start"
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
