"""What other trackers get: read by pytest-benchmark itself, and by the rules of github-action-benchmark."""

import json
import subprocess
import sys

import pytest

from bench.report.gate import document
from bench.report.render import ci
from tests.report.gates import GATES, every_word, fine, gate, hostile, launched, metric, simulated, verdict


def bigger(made) -> bytes:
    return ci.github_benchmark("higher", document(made))


def smaller(made) -> bytes:
    return ci.github_benchmark("lower", document(made))


def pytest_benchmark(made) -> bytes:
    return ci.pytest_benchmark(document(made))


def listed(data: bytes) -> dict[str, dict]:
    found = json.loads(data)
    assert all({"name", "unit", "value"} <= set(each) <= {"name", "unit", "value", "range", "extra"} for each in found)
    assert all(isinstance(each["value"], float) for each in found)
    assert len({each["name"] for each in found}) == len(found)
    return {each["name"]: each for each in found}


def test_rates_and_times_never_share_a_file():
    rates, times = listed(bigger(fine())), listed(smaller(fine()))
    assert {each["unit"] for each in rates.values()} == {"B/s", "FLOP/s"}
    assert list(times) == ["launch.async (cuda:0)"]
    assert times["launch.async (cuda:0)"]["value"] == pytest.approx(5e-6)
    assert times["launch.async (cuda:0)"]["range"] == "± 1e-08"


def test_what_is_invalid_or_missing_is_no_yardstick():
    names = listed(bigger(every_word()))
    assert "memory.regressed (cuda:0)" in names
    assert names["memory.regressed (cuda:0)"]["extra"].startswith(
        "regressed memory.regressed, 3.80 TB/s: the evidence of regressed"
    )
    assert not {"memory.invalid (cuda:0)", "memory.missing (cuda:0)"} & set(names)


def test_without_times_there_is_no_second_file():
    assert smaller(gate(verdict(metric()))) == b""


def test_a_simulated_series_never_joins_a_measured_one():
    assert all(name.startswith("SIMULATED ") for name in listed(bigger(simulated())))


def test_hostile_names_are_json():
    assert len(json.loads(bigger(hostile()))) == 2


def compare(*files) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, files)]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=files[0].parent)


def test_pytest_benchmark_compares_it(tmp_path):
    first, second = tmp_path / "old.json", tmp_path / "new.json"
    first.write_bytes(pytest_benchmark(launched()))
    second.write_bytes(pytest_benchmark(launched()))
    done = compare(first, second)
    assert done.returncode == 0, done.stderr
    assert "Failed to load" not in done.stdout + done.stderr
    assert "'memory.dram.read': 2 tests" in done.stdout
    assert done.stdout.count("launch.async[cuda:0]") == 2
    # 6.03 µs is the median of the re-measurement
    assert "6.0300 (1.0)" in done.stdout


def test_its_samples_are_those_that_the_value_rests_on():
    found = {each["name"]: each for each in json.loads(pytest_benchmark(launched()))["benchmarks"]}
    assert set(found) == {"memory.dram.read[cuda:0]", "launch.async[cuda:0]"}
    bandwidth = found["memory.dram.read[cuda:0]"]
    assert bandwidth["stats"]["data"] == [1e-3] * 18  # three rounds of six; neither the first pass nor the invalid one
    assert bandwidth["extra_info"]["repetition_medians_s"] == [1e-3] * 3
    launch = found["launch.async[cuda:0]"]
    assert launch["stats"]["median"] == pytest.approx(6.03e-6)
    assert launch["stats"]["iterations"] == 40
    assert launch["extra_info"]["verdict"] == "regressed"


def test_the_file_has_what_pytest_benchmark_writes():
    found = json.loads(pytest_benchmark(launched()))
    assert set(found) == {"machine_info", "commit_info", "benchmarks", "datetime", "version"}
    assert found["datetime"] == "2026-01-02T03:04:05.000Z"
    assert found["machine_info"]["simulated"] is False


@pytest.mark.parametrize("name", GATES)
def test_every_gate_has_all_three(name):
    made = GATES[name]()
    json.loads(bigger(made))
    json.loads(pytest_benchmark(made))
    assert smaller(made) == b"" or json.loads(smaller(made))
