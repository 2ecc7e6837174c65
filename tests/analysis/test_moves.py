"""Planted steps and drifts are found with their size and cause, and noise is no move."""

import math
import random
from pathlib import Path

import pytest

from bench.analysis.history import History, history
from bench.analysis.series import FEW
from tests.analysis.histories import DRAM, gpu, number, put, run


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Starting processes takes longer than fitting these small Runs."""
    monkeypatch.setattr("bench.analysis.cache._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "some-gpu"


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
