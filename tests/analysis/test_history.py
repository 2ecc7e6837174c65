"""A history read, remembered and joined: nothing stale or foreign is trusted, and only like is joined with like."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.analysis import fit as fits
from bench.analysis.cache import readings
from bench.analysis.history import REMEMBERED, history
from bench.schema import SUSTAINED
from bench.store import RunError
from tests.analysis.histories import DRAM, aged, gpu, number, put, run


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Starting processes takes longer than fitting these small Runs."""
    monkeypatch.setattr("bench.analysis.cache._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "some-gpu"


# --- the cache


def test_a_second_reading_fits_nothing_and_says_the_same(folder):
    for day in range(4):
        put(folder, run(day))
    first, second = history(folder), history(folder)
    assert (first.fitted, second.fitted) == (4, 0)
    assert replace(second, fitted=4) == first
    assert len(first.runs) == 4
    assert (folder / ".cache" / "history.json").exists()


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


def test_only_a_changed_file_is_fitted_again(folder):
    paths = [put(folder, run(day)) for day in range(4)]
    history(folder)
    put(folder, run(2, dram=0.9 * DRAM), age=30)
    found = history(folder)
    assert found.fitted == 1
    rates = [point.value.value for point in number(found).points]
    assert min(rates) == rates[2] < 0.95 * DRAM
    paths[3].unlink()
    after = history(folder)
    assert (after.fitted, len(after.runs)) == (0, 3)
    assert "000003.jsonl" not in (folder / ".cache" / "history.json").read_text()


def test_other_content_of_the_same_size_is_seen_by_its_time(folder):
    path = put(folder, run(0))
    history(folder)
    path.write_text(path.read_text().replace('"host":"node"', '"host":"edon"'))
    aged(path, 30)
    assert history(folder).runs[0][1].host == "edon"


def test_a_new_time_costs_a_hash_but_no_fit(folder):
    path = put(folder, run(0))
    history(folder)
    aged(path, 1000)
    assert history(folder).fitted == 0
    path.rename(folder / "renamed.jsonl")
    assert history(folder).fitted == 0


def test_a_file_that_may_still_grow_is_not_remembered_by_its_time(folder):
    path = put(folder, run(0), age=0)
    before = number(history(folder)).newest.value.value
    about = path.stat()
    text = path.read_text().replace("0000000", "0000001")  # same size
    path.write_text(text)
    put(folder, run(0, dram=0.5 * DRAM), age=0)
    shorter, longer = path.stat().st_size, about.st_size
    path.write_bytes(path.read_bytes() + b" " * max(0, longer - shorter))
    os.utime(path, ns=(about.st_mtime_ns,) * 2)
    assert number(history(folder)).newest.value.value < 0.6 * before


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"valid"', b'"wrong"', 1),
        lambda data: data.replace(b'"n":5', b'"n":9', 1),
        lambda data: b"\x80\x81 not JSON\n" + data,
        lambda data: data.replace(b"ridgepoint.history", b"somebody's.history", 1),
        lambda data: b'{"a": 1}\n{"b": 2}',
    ],
)
def test_a_spoiled_cache_is_made_anew(folder, spoiled):
    for day in range(2):
        put(folder, run(day))
    first = history(folder)
    path = folder / ".cache" / "history.json"
    whole = path.read_bytes()
    assert spoiled(whole) != whole
    path.write_bytes(spoiled(whole))
    assert history(folder) == first  # fitted: 2, again
    assert history(folder).fitted == 0


def test_another_version_of_the_fit_knows_nothing(folder):
    put(folder, run(0))
    history(folder)
    path = folder / ".cache" / "history.json"
    head, body = path.read_bytes().split(b"\n", 1)
    made_by, checksum = msgspec.json.decode(head)
    assert fits.VERSION in made_by
    made_by[2] = fits.VERSION - 1
    path.write_bytes(msgspec.json.encode([made_by, checksum]) + b"\n" + body)
    assert history(folder).fitted == 1


def test_an_unwritable_cache_only_costs_time(folder):
    put(folder, run(0))
    (folder / ".cache").write_text("in the way")
    for _ in range(2):
        found = history(folder)
        assert found.fitted == 1
        assert len(found.runs) == 1
        assert "cannot write the cache" in found.warnings[0]


def test_many_files_are_read_by_several_processes_alike(folder, monkeypatch):
    for day in range(9):
        put(folder, run(day))
    few = readings(folder, REMEMBERED)
    shutil.rmtree(folder / ".cache")
    monkeypatch.setattr("bench.analysis.cache._FEW", 2)
    monkeypatch.setattr("bench.analysis.cache._cores", lambda: 2)
    heard = []
    assert readings(folder, REMEMBERED, lambda done, total: heard.append((done, total))) == few
    assert heard == [(n, 9) for n in range(1, 10)]


_CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["put", "damage", "remove", "touch", "cut", "spoil"]), st.integers(0, 2), st.integers(1, 4)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_CHANGES)
def test_whatever_happened_the_cache_says_what_a_fresh_reading_says(tmp_path, changes):
    folder, fresh = tmp_path / "some-gpu", tmp_path / "fresh"
    shutil.rmtree(folder, ignore_errors=True)
    put(folder, run(0, rounds=2))
    for step, (what, which, how) in enumerate(changes):
        path = folder / f"{which:06}.jsonl"
        if what == "put":
            put(folder, run(which, dram=how * 1e12, rounds=2), path.name)
        elif what == "spoil" and (folder / ".cache").exists():
            (folder / ".cache" / "history.json").write_bytes(b"0" * how)
        elif path.exists() and what == "remove":
            path.unlink()
        elif path.exists() and what in ("damage", "cut"):
            data = path.read_bytes()
            path.write_bytes(data[: len(data) * how // 5] + (b"{]\n" if what == "damage" else b""))
        if path.exists():
            aged(path, 100 + step)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(folder, fresh, ignore=shutil.ignore_patterns(".cache"))
        cached, anew = readings(folder, REMEMBERED), readings(fresh, REMEMBERED)
        assert cached.entries == anew.entries
        assert cached.damaged == anew.damaged


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


def test_a_copy_counts_once(folder):
    put(folder, run(0))
    put(folder, run(0, rounds=3), "copy.jsonl")
    found = history(folder)
    assert len(found.runs) == 1
    assert found.left_out == {"copy.jsonl": "it is a copy of 000000.jsonl"}


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
