"""What has no number in a Run, like with like."""

from dataclasses import replace

from bench.analysis.lacking import lacking, unreached
from bench.schema import Unreached
from bench.work import Work
from tests.report.runs import by_hand, measured

WORK = Work(bytes=1e9)


def test_reasons_that_differ_in_their_numbers_are_one():
    skips = [measured("x", {"n": n}, WORK, skip=f"needs {n} GB", seconds=()) for n in (1, 2, 2)]
    (found,) = lacking(by_hand([*skips, measured("x", {"n": 9}, WORK)]))
    assert (found.skipped, found.reason, found.others, found.cases, found.devices) == (True, "needs 1 GB", 1, 3, 1)
    assert found.params == {"n": 1}


def test_the_invalid_are_told_apart_from_the_skipped():
    bad = measured("x", {"n": 1}, WORK, validity="invalid", reasons=("too hot",))
    gone = measured("x", {"n": 1}, WORK, skip="too hot", seconds=())
    assert [each.skipped for each in lacking(by_hand([bad, gone]))] == [False, True]


def test_beyond_the_budget_is_said_once_per_probe():
    run = by_hand([measured("x", {"n": 1}, WORK)])
    more = (Unreached("a", "x", 2, 9), Unreached("b", "x", 5, 9), Unreached("a", "y", 1, 1))
    run = replace(run, end=replace(run.end, unreached=more))
    assert unreached(run) == [more[1], more[2]]
    assert unreached(replace(run, end=None)) == []
