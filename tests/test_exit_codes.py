"""What a Run deserves as an exit code, and which of several counts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import store
from bench.analysis.fit import fit
from bench.cli.codes import CRASHED, INCONCLUSIVE, INTERRUPTED, OK, REGRESSED, worse
from bench.cli.measuring import verdict
from bench.schema import Unreached
from bench.work import Work
from tests.report.runs import by_hand, measured, rounds, simulated

BANDWIDTH = Work(bytes=1e9)


def code(run, status: str = "complete") -> int:
    return verdict(run, fit(run), status)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("gpus=8,dram@3=0.9", REGRESSED),
        ("gpus=8,throttle=thermal@5", REGRESSED),
        # without any roof it is inconclusive as well, and heat is the GPU's own fault
        ("throttle=thermal", REGRESSED),
        # worth a look, and no failure
        ("throttle=power_cap", OK),
        ("gpus=2,dram@1=0.9", OK),
        ("gpus=8,dram@3=1.1", OK),
        ("gpus=8,noise=0.01,seed=1", OK),
    ],
)
def test_gpu_health_decides(options, expected):
    assert code(simulated(f"sim:h200-sxm,{options}", ("bandwidth",))) == expected


def test_what_cannot_be_judged_is_no_failure():
    assert code(by_hand(rounds("bandwidth", {}, BANDWIDTH, 1e-3, saturates="dram"))) == OK
    assert code(by_hand([measured("x", {}, BANDWIDTH)])) == OK


def test_what_is_not_usable_is_inconclusive():
    """Frozen: measured while other processes took 82 to 86 % of the cores' time."""
    assert code(store.read("tests/frozen/run-1.2.jsonl")) == INCONCLUSIVE


def test_without_a_roof_that_was_asked_for_nothing_is_concluded():
    lost = measured(
        "bandwidth", {}, BANDWIDTH, (), validity="invalid", stop_reason="error", reasons=("refused",), saturates="dram"
    )
    assert code(by_hand([lost, measured("x", {}, BANDWIDTH, elapsed=9.0)])) == INCONCLUSIVE
    late = by_hand([measured("x", {}, BANDWIDTH)])
    late = replace(late, end=replace(late.end, unreached=(Unreached("cpu", "bandwidth", 3, 3),)))
    assert code(late) == INCONCLUSIVE


def test_how_a_run_ended_goes_first():
    hot = simulated("sim:h200-sxm,throttle=thermal", ("bandwidth",))
    assert code(hot, "interrupted") == INTERRUPTED
    assert code(hot, "failed") == CRASHED
    assert worse(INCONCLUSIVE, REGRESSED, OK) == REGRESSED


@given(st.lists(st.sampled_from((OK, REGRESSED, INCONCLUSIVE, CRASHED, INTERRUPTED)), min_size=1))
def test_several_codes_are_the_worst_of_them(codes):
    assert worse(*codes) in codes
    assert worse(*codes, OK) == worse(*codes) == worse(*reversed(codes))
