"""A history read and joined: values are those of the fit, and only like is joined with like."""

from pathlib import Path

import pytest

from bench.analysis import fit as fits
from bench.analysis.history import history
from bench.schema import SUSTAINED
from bench.store import RunError
from tests.analysis.histories import DRAM, gpu, number, put, run


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Starting processes takes longer than fitting these small Runs."""
    monkeypatch.setattr("bench.analysis.run_index._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "some-gpu"


def test_values_are_those_of_the_fit(folder):
    one = run(3)
    put(folder, one)
    (fit,) = fits.fit(one)
    found = history(folder)
    for regime, roofs, ridge in (("burst", fit.roofs, fit.headline), (SUSTAINED, *_lasting(fit))):
        for key in ("dram", "vector.float32.loop"):
            roof, value = roofs[key].roof, number(found, key, regime).newest.value
            assert (value.value, value.low, value.high, value.n) == (roof.rate, roof.low, roof.high, 5)
        value = number(found, "ridge vector.float32.loop", regime).newest.value
        assert value.estimate == ridge.estimate
        assert value.basis == ("bandwidth 2", "peak 1")


def _lasting(fit):
    return fit.sustained.roofs, fit.sustained.headline


# --- what is refused and what is left out


def test_no_such_folder(tmp_path):
    with pytest.raises(RunError, match=r"no such folder: .*gone"):
        history(tmp_path / "gone")
    path = put(tmp_path, run(0))
    with pytest.raises(RunError, match="is a file"):
        history(path)


def test_no_runs_in_it_names_those_below(folder):
    folder.mkdir()
    with pytest.raises(RunError, match=r"no Runs .* Measure first"):
        history(folder)
    put(folder, run(0))
    with pytest.raises(RunError, match=r"give the folder of one product, .*some-gpu"):
        history(folder.parent)


def test_a_mixture_is_refused_with_its_counts(folder):
    put(folder, run(0))
    put(folder, run(1))
    put(folder, run(2, simulated=True))
    with pytest.raises(RunError, match="mixes 1 simulated and 2 measured Runs"):
        history(folder)


def test_damaged_files_are_left_out_with_their_reason(folder):
    put(folder, run(0))
    (folder / "empty.jsonl").write_text("")
    (folder / "foreign.jsonl").write_text('{"a": 1}\n')
    broken = put(folder, run(1), "broken.jsonl")
    broken.write_text(broken.read_text().replace('"measurement"', '"measurement', 1))
    newer = put(folder, run(2), "newer.jsonl")
    newer.write_text(newer.read_text().replace('"version":[1,', '"version":[2,', 1))
    put(folder, run(3, started="yesterday"), "when.jsonl")
    for _ in range(2):  # read and remembered alike
        found = history(folder)
        assert len(found.runs) == 1
        assert set(found.left_out) == {"empty.jsonl", "foreign.jsonl", "broken.jsonl", "newer.jsonl", "when.jsonl"}
        assert "line 2: damaged" in found.left_out["broken.jsonl"]
        assert "Upgrade ridgepoint" in found.left_out["newer.jsonl"]
        assert "no time" in found.left_out["when.jsonl"]


def test_nothing_but_damaged_files_is_an_error_that_says_why(folder):
    folder.mkdir()
    (folder / "a.jsonl").write_text("{")
    with pytest.raises(RunError, match=r"none of the 1 Run files .* a\.jsonl: "):
        history(folder)


def test_other_products_are_left_out_or_refused(folder):
    put(folder, run(0))
    put(folder, run(1, product="other"))
    assert history(folder).left_out == {"000001.jsonl": "it is a Run of another product, other"}
    renamed = folder.rename(folder.with_name("my-runs"))
    with pytest.raises(RunError, match="Runs of 2 products"):
        history(renamed)


# --- what is joined


def test_devices_are_known_by_uuid_wherever_they_sit(folder):
    put(folder, run(0, devices=(gpu(0, "GPU-a"), gpu(1, "GPU-b"))))
    put(folder, run(1, devices=(gpu(0, "GPU-b"), gpu(1, "GPU-a"))))
    found = history(folder)
    lines = [each for each in found.series if (each.key, each.regime) == ("dram", "burst")]
    assert sorted([point.device.id for point in each.points] for each in lines) == [
        ["cuda:0", "cuda:1"],
        ["cuda:1", "cuda:0"],
    ]
    assert sorted(found.devices.values()) == ["GPU 0", "GPU 1"]


def test_names_grow_until_they_differ(folder):
    put(folder, run(0, devices=(gpu(0, "GPU-aaaaaaaa"),), host="n1"))
    put(folder, run(1, devices=(gpu(0, "GPU-bbbbbbbb"),), host="n2"))
    assert sorted(history(folder).devices.values()) == ["n1 GPU 0", "n2 GPU 0"]
    put(folder, run(2, devices=(gpu(0, "GPU-cccccccc"),), host="n2"))
    assert "n2 GPU 0 (cccccccc)" in history(folder).devices.values()


def test_redacted_runs_are_neither_joined_nor_judged(folder):
    for day in range(20):
        put(folder, run(day, dram=DRAM * (1 if day < 10 else 0.9), devices=(gpu(0, f"redacted-{day}"),), redacted=True))
    found = history(folder)
    assert not number(found).known
    assert found.moves == ()


def test_only_equal_probe_versions_are_joined(folder):
    for day in range(20):
        put(folder, run(day, dram=DRAM * (1 if day < 10 else 0.8), version=2 if day < 10 else 3))
    line = number(history(folder))
    assert [segment.joined for segment in line.segments] == [False, False]
    (change,) = line.segments[1].changes
    assert (change.factor, change.before, change.after) == ("probe version", "bandwidth 2", "bandwidth 3")
    found = history(folder)
    assert not [move for move in found.moves if move.series.key == "dram" and move.kind == "change"]
    # what the probe has no part in is one segment
    assert len(number(found, "vector.float32.loop").segments) == 1


def test_budgets_are_lines_of_their_own(folder):
    for day in range(4):
        put(folder, run(day, budget="quick" if day % 2 else "standard"))
    lines = [each for each in history(folder).series if (each.key, each.regime) == ("dram", "burst")]
    assert sorted((each.budget, len(each.points)) for each in lines) == [("quick", 2), ("standard", 2)]


def test_invalid_and_incomplete_runs_are_what_they_are(folder):
    put(folder, run(0))
    put(folder, run(1, dram=0.6 * DRAM, validity="invalid"))
    put(folder, run(2, complete=False))
    put(folder, run(3, validity="suspect"))
    line = number(history(folder))
    assert [point.value.validity for point in line.points] == ["valid", "invalid", "suspect", "suspect"]
    invalid, incomplete = line.points[1].value, line.points[2].value
    assert invalid.value == pytest.approx(0.6 * DRAM, rel=0.01)
    assert (invalid.n, invalid.doubt) == (0, "hot")
    assert "incomplete" in incomplete.doubt
    (segment,) = line.segments
    assert segment.n == 1
    assert segment.median == line.points[0].value.value
