"""The Runs of a folder: the same cold and warm, nothing stale or foreign is trusted, nothing counts twice; and which
device each is of, in which environment.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.analysis import fit as fits
from bench.analysis.gate.samples import digest, past
from bench.analysis.history import REMEMBERED, history
from bench.analysis.run_entry import device_entry, identity
from bench.analysis.run_index import RunIndex, run_index
from bench.cli import main
from bench.store import RunError
from tests.analysis.gate import runs as gates
from tests.analysis.gate.runs import CASES, READ
from tests.analysis.histories import DRAM, aged, number, put, run


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Starting processes takes longer than fitting these small Runs."""
    monkeypatch.setattr("bench.analysis.run_index._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "some-gpu"


@pytest.fixture
def gated(folder) -> Path:
    """The same with four Runs of a gate in it."""
    for day in range(4):
        aged(gates.put(folder / f"{day}.jsonl", gates.run(day)), 60)
    return folder


# --- what is remembered


def test_a_second_reading_fits_nothing_and_says_the_same(folder):
    for day in range(4):
        put(folder, run(day))
    first, second = history(folder), history(folder)
    assert (first.fitted, second.fitted) == (4, 0)
    assert replace(second, fitted=4) == first
    assert len(first.runs) == 4
    assert (folder / ".cache" / "history.json").exists()


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
    made_by[made_by.index(fits.VERSION, 3)] = fits.VERSION - 1
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
    few = run_index(folder, REMEMBERED)
    shutil.rmtree(folder / ".cache")
    monkeypatch.setattr("bench.analysis.run_index._FEW", 2)
    monkeypatch.setattr("bench.analysis.run_index._cores", lambda: 2)
    heard = []
    assert run_index(folder, REMEMBERED, lambda done, total: heard.append((done, total))) == few
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
        cached, anew = run_index(folder, REMEMBERED), run_index(fresh, REMEMBERED)
        assert cached.runs == anew.runs
        assert cached.left_out == anew.left_out


def test_the_cache_of_another_kind_is_none(gated):
    cold = past(gated)
    history(gated)
    shutil.copy(gated / ".cache" / "history.json", gated / ".cache" / "gate.json")
    assert past(gated) == cold  # fitted: 4, again


# --- which Runs, and of which device


def test_runs_are_in_the_order_of_time_not_of_names(gated):
    gates.put(gated / "aaa.jsonl", gates.run(7))
    gates.put(gated / "zzz.jsonl", gates.run(-3 + 3, started="2025-01-01T00:00:00Z", run_id="f" * 32))
    assert list(past(gated).runs) == ["zzz.jsonl", "0.jsonl", "1.jsonl", "2.jsonl", "3.jsonl", "aaa.jsonl"]


def test_a_copy_counts_once_and_the_longer_one(gated):
    whole = (gated / "0.jsonl").read_text()
    (gated / "a copy.jsonl").write_text(whole)
    (gated / "0 cut.jsonl").write_text("\n".join(whole.splitlines()[:5]) + "\n")
    found = past(gated)
    assert len(found.runs) == 4
    assert found.runs["0.jsonl" if "0.jsonl" in found.runs else "a copy.jsonl"].complete
    assert all("a copy of" in why for why in found.left_out.values())
    assert len(found.left_out) == 2


def test_no_folder_is_no_history_and_a_file_is_none(tmp_path):
    assert past(tmp_path / "none") == RunIndex({}, {})
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        past(tmp_path / "file")


def test_two_caches_live_beside_each_other(gated):
    past(gated)
    history(gated)
    assert {path.name for path in (gated / ".cache").iterdir()} == {"gate.json", "history.json"}
    assert past(gated).fitted == 0
    assert history(gated).fitted == 0


def test_a_device_is_known_by_its_uuid_or_its_place_and_never_when_redacted():
    def who(uuid: str = "GPU-0", host: str = "node", redacted: bool = False, place: str = "cuda:0") -> str:
        about = gates.run(host=host, redacted=redacted).environment
        return identity(about, gates.gpu(uuid=uuid, id=place))

    assert who() == who(host="other") == who(place="cuda:5")
    assert who() != who("GPU-1")
    assert who("") != who("", host="other")
    assert who("") != who("", place="cuda:5")
    assert who(redacted=True) == ""
    assert len(who()) == 16
    assert "GPU-0" not in who()


def test_the_suite_is_no_part_of_the_surroundings():
    here, there = (device_entry(gates.run(suite=suite), gates.gpu(), None).surroundings for suite in ("0.1.0", "9.9.9"))
    assert here == there == {"driver": "570.86.15", "power limit": "700 W", "torch": "2.9.0"}


def test_the_list_names_each_run(gated, capsys):
    (gated / "bad.jsonl").write_text("{")
    assert main(["history", "list", str(gated)]) == 0
    out = capsys.readouterr().out
    assert all(f"{number}.jsonl" in out for number in range(4))
    assert "bad.jsonl" in out
    assert "4 Runs, 4 of them count; 1 file left out" in out


def test_baselines_are_no_part_of_the_history(gated):
    gates.put(gated / "baselines" / "product.jsonl", gates.run(50))
    assert len(past(gated).runs) == 4


def test_what_is_remembered_is_what_was_measured(gated):
    ((made, device),) = past(gated).before(gates.run(1), gates.gpu())
    assert made.run_id == gates.run(0).environment.run_id
    value = device.values[digest(CASES[READ].pin)]
    assert value.speed == pytest.approx(CASES[READ].work.bytes / CASES[READ].seconds)
    assert (value.n, value.valid) == (3, True)
    assert set(device.values) == {digest(case.pin) for case in CASES.values()}
