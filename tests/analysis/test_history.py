"""A history read, remembered and judged: nothing stale or foreign is trusted, planted moves are found, noise is not."""

import math
import os
import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import store
from bench.analysis import fit as fits
from bench.analysis.cache import readings
from bench.analysis.history import REMEMBERED, History, history
from bench.analysis.series import FEW
from bench.schema import FIRST_ROUND, SUSTAINED, Cache, DeviceInfo, End, Environment, Measurement, Run
from bench.store import RunError
from bench.work import Work

DRAM, PEAK = 4.8e12, 67e12
_FIRST = datetime(2026, 1, 1, 3, tzinfo=UTC)


def gpu(index: int = 0, uuid: str = "GPU-0", **facts: str) -> DeviceInfo:
    """A GPU whose headline is the plain loop, so that two claims make a Run."""
    return DeviceInfo(
        id=f"cuda:{index}", name="Some GPU", product="some-gpu", uuid=uuid, memory_bytes=2**36,
        caches=(Cache("l2", 2**25),), units={"float32": "vector"}, loops={"float32": 512},
        facts={"driver": "570.86.15", "power_limit_w": "700", **facts},
    )  # fmt: skip


def run(number: int, dram: float = DRAM, devices=None, validity: str = "valid", noise: float = 0.001, **about) -> Run:
    """A measured Run of day `number`: dram and the float32 loop, each in five rounds, burst and sustained."""
    chance = random.Random(number)
    devices = devices or (gpu(),)
    found = []
    version = about.pop("version", 2)
    complete, rounds = about.pop("complete", True), about.pop("rounds", 5)
    for info in devices:
        for regime in ("burst", SUSTAINED):
            for probe, work, key, rate in (
                ("bandwidth", Work(bytes=1e9), "dram", dram),
                ("peak", Work(flops=1e12), "vector.float32.loop", PEAK * (0.9 if regime == SUSTAINED else 1)),
            ):
                for repetition in range(FIRST_ROUND, FIRST_ROUND + rounds):
                    seconds = (work.bytes or work.flops) / rate * math.exp(chance.gauss(0, noise))
                    found.append(
                        Measurement(
                            probe=probe, version=version if probe == "bandwidth" else 1, device=info.id,
                            params={"kind": key}, work=work, saturates=key, regime=regime, repetition=repetition,
                            seconds=(seconds,) * 3, launches=1, validity=validity,
                            reasons=() if validity == "valid" else ("hot",),
                        )
                    )  # fmt: skip
    fields = {
        "suite": "0.1.0", "run_id": f"{number:032x}", "started": (_FIRST + timedelta(days=number)).isoformat(),
        "command": ("bench",), "budget": "standard", "seed": 0, "product": "some-gpu", "simulated": False,
        "devices": tuple(devices), "host": "node", "libraries": {"torch": "2.9.0"},
    }  # fmt: skip
    return Run(
        Environment(**fields | about), tuple(found), End("complete", 0, "2027-01-01T00:00:00Z") if complete else None
    )


def put(folder: Path, one: Run, name: str = "", age: int = 60) -> Path:
    """A Run as a file that was last changed `age` seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"{one.environment.run_id[-6:]}.jsonl")
    path.write_text("".join(f"{line}\n" for line in store.raw_lines(one)))
    aged(path, age)
    return path


def aged(path: Path, age: int) -> None:
    now = path.stat().st_mtime_ns
    os.utime(path, ns=(now - age * 10**9,) * 2)


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    """Starting processes takes longer than fitting these small Runs."""
    monkeypatch.setattr("bench.analysis.cache._FEW", 1000)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "some-gpu"


def number(found: History, key: str = "dram", regime: str = "burst"):
    """The only series of that number."""
    (one,) = [each for each in found.series if (each.key, each.regime) == (key, regime)]
    return one


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


def test_a_newest_value_outside_its_band_is_said(folder):
    for day in range(12):
        put(folder, run(day, dram=DRAM * (0.96 if day == 11 else 1)))
    found = history(folder)
    assert number(found).outlier == pytest.approx(-0.04, abs=0.005)
    assert number(found, "vector.float32.loop").outlier is None


# --- what is seen while nothing can be judged


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
    assert not moved(found, "change") | moved(found, "step") | moved(found, "drift"), "it is no move"


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
