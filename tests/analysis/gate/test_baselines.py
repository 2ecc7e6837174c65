"""Blessing a Run: for whom it holds, what is refused, and that nothing which was there is ever lost."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench import store
from bench.analysis.gate import baselines
from bench.analysis.gate.baselines import all_of, bless, find
from bench.analysis.run_entry import identity
from bench.store import RunError
from tests.analysis.gate.runs import (
    CASES,
    GATED,
    GEMM,
    LAUNCH,
    READ,
    gpu,
    invalid,
    put,
    run,
    suspect,
    unmeasured,
)

NODE = tuple(gpu(place) for place in range(8))


@pytest.fixture
def home(tmp_path) -> Path:
    return tmp_path / "some-gpu"


def found(home: Path, of=None, index: int = 0):
    made = of or run(9)
    return find(home, made.environment, made.environment.devices[index])


def files(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_run_becomes_its_devices_baseline(home):
    assert found(home) is None
    (one,) = bless(run(0), home)
    assert one.before is None
    there = found(home)
    assert there.own
    assert there.path == one.baseline.path == home / "baselines" / f"device-{identity(run().environment, gpu())}.jsonl"
    assert there.pins == {name: case.pin for name, case in CASES.items()}
    assert there.speed(READ) == pytest.approx(CASES[READ].work.bytes / CASES[READ].seconds)
    assert there.speed("no such metric") is None
    assert "GPU-0" not in there.path.name
    assert there.run.measurements == run(0).measurements


def test_set_never_replaces_and_promote_keeps_the_old(home):
    bless(run(0), home)
    before = files(home)
    with pytest.raises(RunError, match="`baseline promote` replaces it and keeps the old one"):
        bless(run(1), home)
    assert files(home) == before
    (second,) = bless(run(1, {READ: 1.1}), home, promote=True)
    assert second.kept.read_bytes() == next(iter(before.values()))
    assert second.changes[READ][0] / second.changes[READ][1] == pytest.approx(1.1)
    (third,) = bless(run(2), home, promote=True)
    assert len(list((home / "baselines" / "replaced").iterdir())) == 2
    assert found(home).run.environment.run_id == run(2).environment.run_id
    assert third.kept != second.kept


def test_promoting_the_same_run_again_loses_nothing(home):
    for _ in range(3):
        bless(run(0), home, promote=True)
    assert found(home).run.measurements == run(0).measurements
    (kept,) = (home / "baselines" / "replaced").iterdir()
    assert store.read(kept).measurements == run(0).measurements


def test_a_device_that_is_not_it_has_no_baseline(home):
    bless(run(0), home)
    assert found(home, run(9, devices=(gpu(uuid="GPU-7"),))) is None
    assert found(home, run(9, redacted=True)) is None
    assert found(home, run(9, devices=(gpu(id="cuda:3"),), host="elsewhere")).own, "a GPU that moved is the same GPU"


def test_each_of_eight_devices_gets_its_own_part(home):
    made = run(0, devices=NODE, only={"cuda:5": {READ: 1.2}})
    blessed = bless(made, home)
    assert len({one.baseline.path for one in blessed}) == 8
    usual = CASES[READ].work.bytes / CASES[READ].seconds
    for place in range(8):
        there = found(home, made, place)
        assert {m.device for m in there.run.measurements} == {f"cuda:{place}"}
        assert there.speed(READ) == pytest.approx(usual / (1.2 if place == 5 else 1))
        assert [info.id for info in there.run.environment.devices] == [f"cuda:{place}"]
    # in another slot it is still the same GPU
    moved = run(9, devices=(gpu(5, id="cuda:0"),))
    assert found(home, moved).speed(READ) == pytest.approx(usual / 1.2)


def test_a_products_baseline_holds_for_who_has_none(home):
    bless(run(0, devices=NODE, only={"cuda:5": {READ: 1.2}}), home, of_product=True)
    there = found(home)
    assert not there.own
    assert there.speed(READ) == pytest.approx(CASES[READ].work.bytes / CASES[READ].seconds), "the median of its devices"
    bless(run(1), home)
    assert found(home).own
    assert not found(home, run(9, devices=(gpu(uuid="GPU-7"),))).own
    assert [one.own for one in all_of(home)] == [False, True]


@pytest.mark.parametrize("of_product", [False, True])
@pytest.mark.parametrize(
    ("made", "why"),
    [
        (run(0, complete=False), "an incomplete Run cannot be a baseline"),
        (run(0, marks=dict.fromkeys(CASES, suspect("busy"))), "in doubt"),
        (run(0, marks={READ: suspect("busy")}), READ),
        (run(0, without=GATED), "none of the metrics that a gate follows"),
        (run(0, without=list(CASES)), "none of the metrics that a gate follows"),
        (run(0, marks=dict.fromkeys(CASES, unmeasured("no"))), "none of the metrics"),
        (run(0, devices=NODE[:2], marks={GEMM: suspect("hot")}), "cuda:0 gemm.bfloat16"),
    ],
)
def test_what_cannot_be_a_baseline_is_refused(home, made, why, of_product):
    with pytest.raises(RunError, match=why):
        bless(made, home, of_product=of_product)
    assert not home.exists()


@pytest.mark.parametrize("of_product", [False, True])
def test_a_gated_metric_that_was_never_valid_is_in_doubt_too(home, of_product):
    """It would be gated no more, and no one would know."""
    with pytest.raises(RunError, match=READ):
        bless(run(0, marks={READ: invalid("a power brake")}), home, of_product=of_product)


def test_a_doubt_about_what_only_warns_is_none(home):
    bless(run(0, marks={LAUNCH: suspect("busy")}), home)
    assert found(home) is not None


def test_a_redacted_run_is_nobodys_but_may_be_the_products(home):
    with pytest.raises(RunError, match="bless it with --product"):
        bless(run(0, redacted=True), home)
    bless(run(0, redacted=True), home, of_product=True)
    assert not found(home).own


def test_another_product_is_never_compared(home):
    bless(run(0), home)
    bless(run(0), home, of_product=True)
    other = gpu(name="Another GPU")
    with pytest.raises(RunError, match="of another product, Some GPU, and this is Another GPU"):
        found(home, run(9, devices=(other,)))
    with pytest.raises(RunError, match="of another product"):
        found(home, run(9, devices=(replace(other, uuid="GPU-7"),)))


def test_simulated_and_measured_are_never_compared(home):
    bless(run(0, simulated=True), home)
    with pytest.raises(RunError, match="is simulated and this Run is measured"):
        found(home)
    bless(run(0), home, promote=True)
    with pytest.raises(RunError, match="is measured and this Run is simulated"):
        found(home, run(9, simulated=True))


@pytest.mark.parametrize("of_product", [False, True])
def test_a_baseline_that_was_cut_off_does_not_quietly_gate_less(home, of_product):
    (one,) = bless(run(0), home, of_product=of_product)
    lines = one.baseline.path.read_text().splitlines(keepends=True)
    one.baseline.path.write_text("".join(lines[:4]))
    with pytest.raises(RunError, match=r"incomplete|cut short|cut off"):
        found(home)


DAMAGED = {
    "empty": "",
    "foreign": '{"schema": "else"}\n',
    "no JSON": "x",
    "a newer major": '{"type":"environment","schema":"ridgepoint.run","version":[99,0]}\n',
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_baseline_is_one_clear_line(home, how):
    (one,) = bless(run(0), home)
    one.baseline.path.write_text(DAMAGED[how])
    for reading in (lambda: found(home), lambda: all_of(home)):
        with pytest.raises(RunError) as error:
            reading()
        assert str(one.baseline.path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_baseline_of_no_device_is_one_clear_line(home):
    nobody = run(0)
    nobody = replace(nobody, environment=replace(nobody.environment, devices=()), measurements=())
    put(home / "baselines" / "product.jsonl", nobody)
    for reading in (lambda: found(home), lambda: all_of(home)):
        with pytest.raises(RunError, match="of no device"):
            reading()


def test_what_cannot_be_blessed_because_there_is_no_device_is_one_clear_line(home):
    nobody = run(0)
    nobody = replace(nobody, environment=replace(nobody.environment, devices=()), measurements=())
    for of_product in (False, True):
        with pytest.raises(RunError):
            bless(nobody, home, of_product=of_product)
    assert not home.exists()


def test_a_damaged_baseline_can_be_replaced_and_is_kept(home):
    """Or a machine whose disk was full once can never be gated again."""
    (one,) = bless(run(0), home)
    one.baseline.path.write_text("x")
    (two,) = bless(run(1), home, promote=True)
    assert two.kept.read_text() == "x"
    assert found(home).run.environment.run_id == run(1).environment.run_id


@pytest.mark.parametrize("failing", range(1, 3))
def test_a_full_disk_leaves_the_old_baseline(home, monkeypatch, failing):
    """The first file that is written keeps the old one, the second is the new one."""
    bless(run(0), home)
    before = found(home).path.read_bytes()
    written, real = [], store.replaced

    def full(path, content):
        written.append(path)
        if len(written) >= failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, content)

    monkeypatch.setattr(baselines, "replaced", full)
    with pytest.raises(
        RunError, match=r"cannot write the baseline .*: No space left on device; what was there is kept"
    ):
        bless(run(1), home, promote=True)
    monkeypatch.undo()
    assert len(written) == failing
    assert found(home).path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission_leaves_the_old_baseline(home):
    bless(run(0), home)
    before = files(home)
    (home / "baselines").chmod(0o500)
    try:
        with pytest.raises(RunError, match="cannot write the baseline"):
            bless(run(1), home, promote=True)
    finally:
        (home / "baselines").chmod(0o700)
    assert files(home) == before


def test_a_file_in_the_folders_place_is_one_clear_line(home):
    home.mkdir(parents=True)
    (home / "baselines").write_text("")
    with pytest.raises(RunError, match="cannot write the baseline"):
        bless(run(0), home)
    assert (home / "baselines").read_text() == ""


def test_a_vanished_metric_is_shown_by_a_promotion(home):
    bless(run(0), home)
    (one,) = bless(run(1, without=[LAUNCH]), home, promote=True)
    assert one.changes[LAUNCH][1] is None
    (one,) = bless(run(2), home, promote=True)
    assert one.changes[LAUNCH][0] is None
