"""Which verdicts are one finding: none is lost, none is told twice, the gravest come first."""

from dataclasses import replace

import pytest
from hypothesis import given

from bench.analysis.gate.metrics import metrics
from bench.analysis.gate.verdict import OK, SLOW, STATUSES, groups
from tests.analysis.gate.runs import (
    CACHE,
    CASES,
    DECODE,
    GEMM,
    GEMV,
    H2D,
    LAUNCH,
    LOOP,
    READ,
    VECTOR,
    gated,
    gpu,
    invalid,
    run,
)
from tests.report.gates import NODES, SOME, gate, metric, verdict

BEFORE = [run(number) for number in range(3)]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        (READ, "memory"), (GEMV, "memory"), (DECODE, "memory"), (CACHE, "caches"), (LOOP, "compute"),
        (VECTOR, "compute"), (GEMM, "compute"), (H2D, "links"), (LAUNCH, "latency"),
    ],
)  # fmt: skip
def test_what_a_metric_rests_on(name, family):
    assert metrics(gpu())[name].family == family


@given(NODES)
@SOME
def test_every_metric_that_is_not_ok_is_in_one_group(made):
    found = groups(made)
    members = [id(each) for group in found for each in group.verdicts]
    assert sorted(members) == sorted(id(each) for each in made.verdicts if each.status != OK)
    for group in found:
        assert {each.device for each in group.verdicts} == {group.device}
        assert len(group.verdicts) <= group.of
        assert group.confirmed <= len(group.gated) <= len(group.verdicts)
        if group.kind == SLOW:
            changes = [abs(each.metric.change(each.speed / each.reference.centre)) for each in group.verdicts]
            low, high = (abs(change) for change in group.range)
            assert (low, high) == pytest.approx((min(changes), max(changes)))
            assert {each.metric.family for each in group.verdicts} == {group.family}
    keys = [(group.device, group.family, group.kind) for group in found]
    assert len(keys) == len(set(keys))
    order = [(not group.gates, STATUSES.index(group.status)) for group in found]
    assert order == sorted(order)


def test_one_fault_of_the_memory_is_one_group():
    slow = dict.fromkeys((READ, "memory.dram.triad", GEMV, DECODE), 1.1)
    (group,) = groups(gated(run(30, slow=slow, again=slow), BEFORE, BEFORE[0]))
    assert (group.device, group.family, group.kind, len(group.verdicts), group.of) == ("cuda:0", "memory", SLOW, 4, 4)
    assert (group.confirmed, group.looked, group.cause, group.doubtful) == (4, True, "memory", True)
    assert group.range == pytest.approx((-1 / 11, -1 / 11))


def test_two_faults_are_two_groups():
    slow = {READ: 1.1, VECTOR: 1.2}
    found = groups(gated(run(30, slow=slow, again=slow), BEFORE, BEFORE[0]))
    assert {group.family for group in found} == {"memory", "compute"}


def test_an_unconfirmed_group_tells_of_the_first_look():
    (group,) = groups(gated(run(30, slow={READ: 1.1}, again={READ: 1.0}), BEFORE, BEFORE[0]))
    assert (group.confirmed, group.looked) == (0, True)
    assert group.range == pytest.approx((-1 / 11, -1 / 11))


def test_what_only_warns_joins_what_is_the_same_and_stands_last_alone():
    both = [verdict(metric("a"), "regressed", 0.9), verdict(metric("b", gates=False), "suspicious", 0.8)]
    (group,) = groups(gate(*both))
    assert (group.status, group.gates, len(group.gated), len(group.verdicts)) == ("regressed", True, 1, 2)
    alone = [verdict(metric("c", "flops", gates=False), "suspicious", 0.5), verdict(metric("a"), "improved", 1.1)]
    assert [group.gates for group in groups(gate(*alone))] == [True, False]


def test_what_was_never_valid_is_one_group_of_the_device_whether_it_gates_or_warns():
    lost = invalid("hardware thermal slowdown for 100% of the time")
    made = gated(run(30, marks=dict.fromkeys(CASES, lost)), BEFORE, BEFORE[0])
    (group,) = groups(made)
    assert (group.family, group.kind, group.status) == ("", "invalid", "invalid")
    assert len(group.verdicts) == group.of == len(made.verdicts) > len(group.gated) > 0


def test_what_improved_or_all_do_together_accuses_nobody():
    ring = replace(metric("ring"), together=True)
    made = gate(verdict(metric("a"), "improved", 1.1), verdict(ring, "regressed", 0.9), devices=2)
    assert [group.doubtful for group in groups(made)] == [False, False]
