"""How far a Run may be believed, by what was measured and how long it took."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import store
from bench.analysis.fit import fit
from bench.analysis.quality import (
    EMPTY,
    INCOMPLETE,
    INVALID,
    MOST_SUSPECT,
    NOT_USABLE,
    SUSPECT,
    VALID,
    Quality,
    kind,
    lacking,
    quality,
    suspect_share,
    unreached,
)
from bench.schema import Unreached
from bench.work import Work
from tests.report.runs import by_hand, measured, rounds, simulated

WORK = Work(bytes=1e9)


def judged(run) -> Quality:
    return quality(run, fit(run))


def timed(validity: str, elapsed: float, number: int = 0):
    reasons = () if validity == VALID else ("other processes took 85 % of the cores' time",)
    return measured("x", {"n": number}, WORK, validity=validity, reasons=reasons, elapsed=elapsed)


def test_each_status():
    good = rounds("bandwidth", {"mix": "read"}, WORK, 1e-3, saturates="dram")
    assert judged(by_hand()).status == EMPTY
    assert judged(by_hand(good)).status == VALID
    assert judged(by_hand(good, complete=False)).status == SUSPECT
    assert judged(by_hand([*good, timed(SUSPECT, 0.0)])).status == SUSPECT
    assert judged(by_hand(good[:1])).status == SUSPECT, "one repetition has no interval"
    assert judged(simulated("sim:h200-sxm,gpus=4,throttle=thermal@2", ("bandwidth",))).status == INVALID
    assert judged(simulated("sim:h200-sxm,throttle=thermal", ("bandwidth",))).status == NOT_USABLE


def test_a_doubtful_run_of_valid_measurements_says_why():
    good = rounds("bandwidth", {"mix": "read"}, WORK, 1e-3, saturates="dram")
    assert judged(by_hand(good)).causes == ()
    assert judged(by_hand(good, complete=False)).causes == ((INCOMPLETE, 1),)
    assert judged(by_hand(good[:1])).causes == (("one repetition: no interval", 1),)


def test_time_decides_and_not_the_number_of_measurements():
    many, long = [timed(SUSPECT, 0.1, n) for n in range(9)], timed(VALID, 10.0, 9)
    assert judged(by_hand([*many, long])).status == SUSPECT
    assert suspect_share([*many, long]) == pytest.approx(0.9 / 10.9)
    assert judged(by_hand([*(replace(m, elapsed=3.0) for m in many), long])).status == NOT_USABLE


def test_half_is_the_limit():
    assert MOST_SUSPECT == 0.5
    assert judged(by_hand([timed(SUSPECT, 1.0), timed(VALID, 1.0, 1)])).status == SUSPECT
    assert judged(by_hand([timed(SUSPECT, 1.01), timed(VALID, 1.0, 1)])).status == NOT_USABLE


def test_where_no_time_was_kept_each_counts_alike():
    assert suspect_share([timed(SUSPECT, 0.0), timed(VALID, 0.0, 1)]) == 0.5
    assert suspect_share([]) == 0.0
    skipped = measured("x", {}, WORK, seconds=(), skip="no such unit", elapsed=9.0)
    assert suspect_share([skipped, timed(VALID, 1.0)]) == 0.0


def test_a_real_run_beside_a_build_on_every_core_is_not_usable():
    """Frozen: measured while other processes took 82 to 86 % of the cores' time."""
    found = judged(store.read("tests/frozen/run-1.2.jsonl"))
    assert (found.status, found.suspect_share) == (NOT_USABLE, 1.0)
    assert found.causes[0] == ("other processes took part of the cores' time", 12)


@given(st.lists(st.tuples(st.sampled_from((VALID, SUSPECT, INVALID)), st.floats(0, 100)), min_size=1, max_size=9))
def test_the_share_is_one(rows):
    share = suspect_share([timed(validity, elapsed, n) for n, (validity, elapsed) in enumerate(rows)])
    assert 0 <= share <= 1 + 1e-9
    if all(validity == VALID for validity, _ in rows):
        assert share == 0


@pytest.mark.parametrize(
    ("reason", "like"),
    [
        ("other processes took 85 % of the cores' time", "other processes took part of the cores' time"),
        ("rank 3: hardware thermal slowdown for 25% of the time", "hardware thermal slowdown for part of the time"),
        ("the clock had not settled after 2.0 s of load", "the clock had not settled after … of load"),
    ],
)
def test_like_counts_with_like(reason, like):
    assert kind(reason) == like


# What has no number in a Run, like with like.


COPY = Work(bytes=1e9)


def test_reasons_that_differ_in_their_numbers_are_one():
    skips = [measured("x", {"n": n}, COPY, skip=f"needs {n} GB", seconds=()) for n in (1, 2, 2)]
    (found,) = lacking(by_hand([*skips, measured("x", {"n": 9}, COPY)]))
    assert (found.skipped, found.reason, found.others, found.cases, found.devices) == (True, "needs 1 GB", 1, 3, 1)
    assert found.params == {"n": 1}


def test_the_invalid_are_told_apart_from_the_skipped():
    bad = measured("x", {"n": 1}, COPY, validity="invalid", reasons=("too hot",))
    gone = measured("x", {"n": 1}, COPY, skip="too hot", seconds=())
    assert [each.skipped for each in lacking(by_hand([bad, gone]))] == [False, True]


def test_beyond_the_budget_is_said_once_per_probe():
    run = by_hand([measured("x", {"n": 1}, COPY)])
    more = (Unreached("a", "x", 2, 9), Unreached("b", "x", 5, 9), Unreached("a", "y", 1, 1))
    run = replace(run, end=replace(run.end, unreached=more))
    assert unreached(run) == [more[1], more[2]]
    assert unreached(replace(run, end=None)) == []
