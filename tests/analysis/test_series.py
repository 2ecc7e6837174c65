"""One number over time: an outlier among its Runs, what is seen while nothing can be judged; planted steps and drifts
are found with their size and cause, and noise is no move.
"""

import math
import random
from pathlib import Path

import pytest

from bench.analysis.history import History, history
from bench.analysis.series import FEW, moves
from tests.analysis.histories import DRAM, gpu, number, put, run


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Starting processes takes longer than fitting these small Runs."""
    monkeypatch.setattr("bench.analysis.run_index._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "some-gpu"


def test_a_newest_value_outside_its_band_is_said(folder):
    for day in range(12):
        put(folder, run(day, dram=DRAM * (0.96 if day == 11 else 1)))
    found = history(folder)
    assert number(found).outlier == pytest.approx(-0.04, abs=0.005)
    assert number(found, "vector.float32.loop").outlier is None


def test_only_a_valid_newest_value_is_an_outlier(folder):
    levels(folder, *[1] * 10)
    put(folder, run(10, dram=0.5 * DRAM, validity="invalid"))
    assert number(history(folder)).outlier is None


def test_a_newest_value_within_a_wide_band_is_no_outlier(folder):
    assert number(levels(folder, *[0.99, 1.01] * 5, 0.98)).outlier is None


def levels(folder: Path, *shares: float, changed: int = 99, **about) -> History:
    """A Run a day whose memory reaches these shares; another driver from Run `changed` on."""
    for day, share in enumerate(shares):
        driver = "580.159.03" if day >= changed else "570.86.15"
        put(folder, run(day, dram=DRAM * share, devices=(gpu(driver=driver),), **about))
    return history(folder)


@pytest.mark.parametrize(
    ("shares", "changed", "sides", "ratio"),
    [
        ((1, 1, 1, 0.95), 99, (3, 1), 0.95),
        ((1, 1, 0.95, 0.95), 99, (2, 2), 0.95),
        ((1, 1, 0.95, 0.95), 2, (2, 2), 0.95),
        ((1, 0.95, 0.95, 0.95), 1, (1, 3), 0.95),
        ((1, 1.04), 99, (1, 1), 1.04),
        ((1, 1, 1, 1, 1, 0.9, 0.9), 99, (5, 2), 0.9),
    ],
)
def test_few_runs_show_where_they_part(folder, shares, changed, sides, ratio):
    found = levels(folder, *shares, changed=changed)
    shift = number(found).shift
    assert shift.apart
    assert shift.visible
    assert (shift.earlier, shift.newest) == sides
    assert shift.ratio == pytest.approx(ratio, abs=0.004)
    assert [change.factor for change in shift.changes] == ["driver"] * (changed < 99)
    assert {each.series.key for each in found.shifts} == {"dram"}, "a ridge says no more than its roof"
    assert not found.moved, "it is no move"


def test_what_does_not_part_is_no_shift_worth_a_sentence(folder):
    found = levels(folder, 1, 0.96, 1.03, 1)
    assert not number(found).shift.apart
    assert number(found).shift.newest == 1
    assert found.shifts == ()


def test_a_shift_below_what_is_worth_it_is_not_visible(folder):
    shift = number(levels(folder, 1, 0.997, noise=1e-5)).shift
    assert (shift.apart, shift.visible) == (True, False)


def test_no_shift_of_one_run_or_of_many_or_across_probe_versions(folder):
    assert number(levels(folder / "one" / "some-gpu", 1)).shift is None
    assert number(levels(folder / "many" / "some-gpu", *[1] * 9, 0.9)).shift is None
    other = folder / "other" / "some-gpu"
    put(other, run(0))
    put(other, run(1, dram=0.5 * DRAM, version=3))
    assert number(history(other)).shift is None
    redacted = levels(folder / "redacted" / "some-gpu", 1, 0.9, redacted=True)
    assert number(redacted).shift is None


def test_only_valid_values_shift(folder):
    put(folder, run(0))
    put(folder, run(1))
    put(folder, run(2, dram=0.5 * DRAM, validity="invalid"))
    put(folder, run(3, dram=0.5 * DRAM, validity="suspect"))
    assert not number(history(folder)).shift.visible


# --- what moved


def moved(found: History, kind: str) -> set[str]:
    return {move.series.key for move in found.moves if move.verdict == "moved" and move.kind == kind}


def test_the_step_of_a_driver_is_found(folder):
    for day in range(24):
        driver = "570.86.15" if day < 12 else "580.159.03"
        put(folder, run(day, dram=DRAM * (1 if day < 12 else 0.97), devices=(gpu(driver=driver),)))
    found = history(folder)
    assert moved(found, "change") == {"dram", "ridge vector.float32.loop"}
    (move,) = [m for m in found.moves if (m.series.key, m.series.regime, m.kind) == ("dram", "burst", "change")]
    assert move.low < 0.97 < move.high
    assert move.high - move.low < 0.02
    assert [(c.factor, c.before, c.after) for c in move.changes] == [("driver", "570.86.15", "580.159.03")]
    assert (move.before, move.after) == (12, 12)
    assert moved(found, "step") == moved(found, "drift") == set()


def test_a_drift_is_no_step_of_the_change_within_it(folder):
    for day in range(40):
        driver = "570.86.15" if day < 20 else "580.159.03"
        put(folder, run(day, dram=DRAM * 0.96 ** (day / 39), devices=(gpu(driver=driver),)))
    found = history(folder)
    assert moved(found, "change") == set()
    assert "dram" in moved(found, "drift")


def test_a_step_without_a_cause_is_found_where_it_is(folder):
    for day in range(24):
        put(folder, run(day, dram=DRAM * (1 if day < 15 else 0.95)))
    found = history(folder)
    (move,) = [m for m in found.moves if (m.series.key, m.series.regime) == ("dram", "burst")]
    assert (move.kind, move.before, move.after, move.changes) == ("step", 15, 9, ())
    assert move.low < 0.95 < move.high


def test_an_invalid_run_moves_nothing(folder):
    for day in range(24):
        bad = day % 4 == 3
        put(folder, run(day, dram=DRAM * (0.5 if bad else 1), validity="invalid" if bad else "valid"))
    found = history(folder)
    assert moved(found, "change") | moved(found, "step") | moved(found, "drift") == set()
    assert number(found).segments[0].n == 18


def test_few_runs_tell_nothing(folder):
    for day in range(FEW + 1):
        driver = "570.86.15" if day < FEW - 1 else "580.159.03"
        put(folder, run(day, dram=DRAM * (1 if day < FEW - 1 else 0.5), devices=(gpu(driver=driver),)))
    found = history(folder)
    assert {move.verdict for move in found.moves} == {"unknown"}


def test_the_more_is_asked_the_surer_a_move_must_be(folder):
    """Six Runs on each side that scatter by a percent, and a step of two: sure enough alone, not among a thousand."""
    dram = number(levels(folder, *[0.99, 1.01] * 3, *[0.97, 0.99] * 3, changed=6))
    assert [[move.verdict for move in moves(dram, questions)] for questions in (1, 1000)] == [["moved"], ["still"]]


def test_noise_alone_moves_nothing(folder):
    """Of 25 histories of noise, one or two may say otherwise: the intervals hold against all questions of each."""
    wrong = 0
    for seed in range(25):
        part = folder / f"{seed}"
        for day in range(16):
            driver = "570.86.15" if day < 8 else "580.159.03"
            level = DRAM * math.exp(random.Random(seed * 100 + day).gauss(0, 0.02))
            put(part, run(day, dram=level, rounds=2, devices=(gpu(driver=driver),)))
        wrong += bool(moved(history(part), "change") | moved(history(part), "step") | moved(history(part), "drift"))
    assert wrong <= 3
