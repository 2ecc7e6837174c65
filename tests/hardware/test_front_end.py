"""The command a team would keep, as it types it: what is written, what passes, what fails, and what is no comparison.

On a simulated device, whose seconds are known to the last digit. Not where benchmarks are enabled: that is a
measurement, or one of the sessions that are started here.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.measure.budget import BUDGETS
from bench.measure.device.sim import open_simulated
from tests.hardware.headline import headline
from tests.hardware.rounds import Rounds
from tests.hardware.test_cases import Told

HERE = Path(__file__).resolve().parent
TIMED = HERE / "test_headline.py"
COMPARED = ("--benchmark-compare", "--benchmark-compare-fail=median:5%")
OWN, SLOW, OTHER = "sim:h200-sxm", "sim:h200-sxm,dram=0.9", "sim:a100-sxm4-80gb"


@pytest.fixture(autouse=True)
def not_while_measuring(request):
    if request.config.getoption("benchmark_enable"):
        pytest.skip("the front end is tested where benchmarks are not enabled")


def session(cwd: Path, device: str, *words: str, tests: Path = HERE) -> subprocess.CompletedProcess:
    # hypothesis takes longer to import than a simulated session to run
    plain = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    command = (sys.executable, "-m", "pytest", str(tests), *plain, "--benchmark-enable", "--hardware-device", device)
    # a user's session is nobody's worker: pytest-benchmark measures nothing in one
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_XDIST")}
    return subprocess.run([*command, *words], cwd=cwd, env=own, capture_output=True, text=True, check=False)


def times(folder: Path) -> list[dict[str, float]]:
    """Median seconds by metric of each saved run, oldest first."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob(".benchmarks/*/*.json"))]
    return [{each["param"]: each["stats"]["median"] for each in run["benchmarks"]} for run in runs]


def test_a_planted_fault_fails_what_it_slows_and_nothing_else(tmp_path):
    first = session(tmp_path, OWN, "--benchmark-autosave")
    assert first.returncode == 0, first.stdout + first.stderr
    unchanged = session(tmp_path, OWN, "--benchmark-autosave", *COMPARED, tests=TIMED)
    assert unchanged.returncode == 0, unchanged.stdout + unchanged.stderr
    other = session(tmp_path, OTHER, "-k", "memory.dram.read", *COMPARED, tests=TIMED)
    assert other.returncode == 1
    assert "device was simulated h200-sxm and is simulated a100-sxm4-80gb" in other.stdout
    planted = session(tmp_path, SLOW, "--benchmark-autosave", *COMPARED, tests=TIMED)
    assert planted.returncode == 1
    text = planted.stdout + planted.stderr
    assert "Performance has regressed" in text
    slowed = set(re.findall(r"test_headline\[(\S+)\] \(\S+\) - Field 'median' has failed", text))
    assert slowed == {"memory.dram.read", "memory.dram.triad", "gemv.bfloat16", "attention.decode"}
    # a limit that README states: what failed was saved, and is what the next run is compared with
    again = session(tmp_path, SLOW, "-k", "memory.dram.read", *COMPARED, tests=TIMED)
    assert again.returncode == 0
    whole, same, slow = times(tmp_path)
    assert len(whole) >= 11
    assert whole == same
    assert {name for name in whole if slow[name] != whole[name]} == slowed
    assert all(slow[name] == pytest.approx(whole[name] / 0.9) for name in slowed)


def test_its_times_are_the_devices_own(tmp_path):
    noisy, rounds = f"{OWN},noise=0.002:0.007,seed=5", 4
    done = session(
        tmp_path, noisy, "-k", "memory.dram.read", f"--benchmark-min-rounds={rounds}", "--benchmark-json=found.json"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads((tmp_path / "found.json").read_text())["benchmarks"]
    device, told = open_simulated(noisy)[0], Told()
    read = headline(device.info, "memory.dram.read")
    repetitions = Rounds(device, read, told, BUDGETS["standard"])
    for _ in range(rounds):
        repetitions.once()
    stats, facts = found["stats"], found["extra_info"]
    assert len(set(told.seconds)) == rounds
    assert stats["data"] == told.seconds
    assert stats["median"] == pytest.approx(read.case.work.bytes / 4.8e12, rel=0.02)
    assert facts["rate"] == pytest.approx(read.case.work.bytes / stats["median"])
    assert (facts["unit"], facts["ceiling"], facts["device"]) == ("B/s", 4.8e12, "simulated h200-sxm")
    assert facts["params"] == read.case.params
    assert {"driver", "clock_hz", "version", "probe", "doubts"} <= facts.keys()


def test_an_unknown_device_is_a_usage_error(tmp_path):
    done = session(tmp_path, "sim:h2000", "-k", "memory.dram.read", tests=TIMED)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no GPU 'h2000' in the table" in done.stdout
