"""Memory levels and the latency of each: what lies well inside of one, and what one thread can reach."""

import math

import pytest

from bench.analysis.fit import fit
from bench.analysis.levels import chases, levels, plateaus
from bench.schema import Cache
from bench.work import Work
from tests.analysis.case_rows import case_rows
from tests.report.runs import by_hand, cpu, gpu, measured


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
