"""One number over time: an outlier among its Runs, and what is seen while nothing can be judged."""

from pathlib import Path

import pytest

from bench.analysis.history import History, history
from tests.analysis.histories import DRAM, gpu, number, put, run


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Starting processes takes longer than fitting these small Runs."""
    monkeypatch.setattr("bench.analysis.cache._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "some-gpu"


def test_a_newest_value_outside_its_band_is_said(folder):
    for day in range(12):
        put(folder, run(day, dram=DRAM * (0.96 if day == 11 else 1)))
    found = history(folder)
    assert number(found).outlier == pytest.approx(-0.04, abs=0.005)
    assert number(found, "vector.float32.loop").outlier is None


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
