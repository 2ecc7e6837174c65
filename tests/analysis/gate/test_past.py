"""What a gate remembers of a folder of Runs: the same cold and warm, nothing foreign, nothing twice."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench.analysis.gate.past import Past, digest, identity, past, remembered, surroundings
from bench.analysis.history import history
from bench.cli import main
from bench.schema import Environment
from bench.store import RunError
from tests.analysis.gate.runs import CASES, GATED, GEMM, LASTING, READ, gpu, invalid, put, run


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Starting processes takes longer than reading these small Runs."""
    monkeypatch.setattr("bench.analysis.cache._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    home = tmp_path / "some-gpu"
    for number in range(4):
        aged(put(home / f"{number}.jsonl", run(number)))
    return home


def aged(path: Path) -> Path:
    """As if it had come to rest a minute ago."""
    before = path.stat().st_mtime_ns - 60 * 10**9
    os.utime(path, ns=(before, before))
    return path


def same(one: Past, other: Past) -> bool:
    return replace(one, read=0) == replace(other, read=0)


def test_warm_and_cold_say_the_same(folder):
    cold, warm = past(folder), past(folder)
    assert (cold.read, warm.read) == (4, 0)
    assert same(cold, warm)
    aged(put(folder / "9.jsonl", run(9)))
    assert past(folder).read == 1
    (folder / "2.jsonl").unlink()
    assert list(past(folder).runs) == ["0.jsonl", "1.jsonl", "3.jsonl", "9.jsonl"]


def test_what_is_remembered_is_what_was_measured(folder):
    before, around = remembered(run(1)).at, surroundings(run(), gpu())
    ((made, device),) = past(folder).of(identity(run().environment, gpu()), around, False, before)
    assert made.run_id == run(0).environment.run_id
    value = device.values[digest(CASES[READ].pin)]
    assert value.speed == pytest.approx(CASES[READ].work.bytes / CASES[READ].seconds)
    assert (value.n, value.valid) == (3, True)
    assert set(device.values) == {digest(case.pin) for case in CASES.values()}
    assert set(GATED) < set(CASES)


def test_runs_are_in_the_order_of_time_not_of_names(folder):
    put(folder / "aaa.jsonl", run(7))
    put(folder / "zzz.jsonl", run(-3 + 3, started="2025-01-01T00:00:00Z", run_id="f" * 32))
    assert list(past(folder).runs) == ["zzz.jsonl", "0.jsonl", "1.jsonl", "2.jsonl", "3.jsonl", "aaa.jsonl"]


def test_corrupt_files_are_named_and_skipped(folder):
    (folder / "bad.jsonl").write_text("{")
    (folder / "empty.jsonl").write_text("")
    lines = (folder / "0.jsonl").read_text().splitlines()
    (folder / "damaged.jsonl").write_text("\n".join([*lines[:3], "{ no", *lines[3:]]) + "\n")
    (folder / "foreign.jsonl").write_text('{"schema":"else"}\n')
    (folder / "notes.txt").write_text("no Run")
    for _ in range(2):
        found = past(folder)
        assert set(found.left_out) == {"bad.jsonl", "empty.jsonl", "damaged.jsonl", "foreign.jsonl"}
        assert all(found.left_out.values())
        assert len(found.runs) == 4


def test_a_copy_counts_once_and_the_longer_one(folder):
    whole = (folder / "0.jsonl").read_text()
    (folder / "a copy.jsonl").write_text(whole)
    (folder / "0 cut.jsonl").write_text("\n".join(whole.splitlines()[:5]) + "\n")
    found = past(folder)
    assert len(found.runs) == 4
    assert found.runs["0.jsonl" if "0.jsonl" in found.runs else "a copy.jsonl"].complete
    assert all("a copy of" in why for why in found.left_out.values())
    assert len(found.left_out) == 2


def test_baselines_are_no_part_of_the_history(folder):
    put(folder / "baselines" / "product.jsonl", run(50))
    assert len(past(folder).runs) == 4


def test_no_folder_is_no_history_and_a_file_is_none(tmp_path):
    assert past(tmp_path / "none") == Past({}, {}, (), 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file"):
        past(tmp_path / "file")


def test_two_caches_live_beside_each_other(folder):
    past(folder)
    history(folder)
    assert {path.name for path in (folder / ".cache").iterdir()} == {"gate.json", "history.json"}
    assert past(folder).read == 0
    assert history(folder).fitted == 0


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]\n[2]", b"\xff\xfe\n\xff"])
def test_a_damaged_or_foreign_cache_only_costs_time(folder, damage):
    cold = past(folder)
    store = folder / ".cache" / "gate.json"
    head, body = store.read_bytes().split(b"\n", 1)
    for content in (damage, head + b"\n" + body.replace(b'"valid":true', b'"valid":false')):
        store.write_bytes(content)
        again = past(folder)
        assert again.read == 4
        assert same(again, cold)
    history(folder)
    store.write_bytes((folder / ".cache" / "history.json").read_bytes())
    assert same(past(folder), cold)


def test_a_cache_that_cannot_be_written_is_a_warning(folder):
    (folder / ".cache").write_text("in its place")
    found = past(folder)
    assert len(found.runs) == 4
    assert "cannot write the cache" in found.warnings[0]


def test_a_digest_tells_cases_apart():
    base = CASES[GEMM].pin
    (probe, version, params), _ = base
    others = [
        CASES[LASTING].pin,
        ((probe, version + 1, params), False),
        (("other", version, params), False),
        ((probe, version, (*params, ("variant", "fast"))), False),
        ((probe, version, params[:-1]), False),
        ((probe, version, tuple((name, f"{value}!") for name, value in params)), False),
    ]
    found = {digest(pin) for pin in (base, *others)}
    assert len(found) == 1 + len(others)
    assert digest(((probe, version, tuple(params)), False)) == digest(base)


def test_a_digest_survives_the_file_format():
    made = run()
    assert set(json.loads(json.dumps(list(remembered(made).devices[0].values)))) == {
        digest(case.pin) for case in CASES.values()
    }


def test_a_device_is_known_by_its_uuid_or_its_place_and_never_when_redacted():
    def who(uuid: str = "GPU-0", host: str = "node", redacted: bool = False, place: str = "cuda:0") -> str:
        about: Environment = run(host=host, redacted=redacted).environment
        return identity(about, gpu(uuid=uuid, id=place))

    assert who() == who(host="other") == who(place="cuda:5")
    assert who() != who("GPU-1")
    assert who("") != who("", host="other")
    assert who("") != who("", place="cuda:5")
    assert who(redacted=True) == ""
    assert len(who()) == 16
    assert "GPU-0" not in who()


def test_the_suite_is_no_part_of_the_surroundings():
    here, there = (surroundings(run(suite=suite), gpu()) for suite in ("0.1.0", "9.9.9"))
    assert here == there == {"driver": "570.86.15", "power limit": "700 W", "torch": "2.9.0"}


def test_an_invalid_repetition_is_no_valid_value():
    values = remembered(run(marks={READ: invalid("hot")})).devices[0].values
    assert digest(CASES[READ].pin) not in values
    assert digest(CASES[GEMM].pin) in values


def test_the_list_names_each_run(folder, capsys):
    (folder / "bad.jsonl").write_text("{")
    assert main(["history", "list", str(folder)]) == 0
    out = capsys.readouterr().out
    assert all(f"{number}.jsonl" in out for number in range(4))
    assert "bad.jsonl" in out
    assert "4 Runs, 4 of them count; 1 file left out" in out
