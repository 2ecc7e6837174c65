"""Supervision with real processes: a crash, a hang or a bug costs one case; Ctrl-C keeps what was measured."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest

from bench.store import read

REPOSITORY = Path(__file__).resolve().parent.parent

# A probe of three cases, the middle one troubled.
TROUBLE = """
    import os, signal, time
    from functools import partial
    from bench.probes import Cases, probe
    from bench.schema import Case, Setup
    from bench.work import Work

    def fine(device):
        return Setup([partial(device.empty, 1024, dtype="float32")])

    def crash(device):
        os.kill(os.getpid(), signal.SIGSEGV)

    def hang(device):
        time.sleep(3600)

    def bug(device):
        raise KeyError("forgotten")

    def slow(device):
        return Setup([partial(time.sleep, 0.1)])

    @probe(version=1{together})
    def trouble(info, budget) -> Cases:
        for step, prepare in enumerate(({cases})):
            yield Case(params={{"step": step}}, work=Work(bytes=4096.0), prepare=prepare)
"""


@pytest.fixture
def house(tmp_path):
    """A copy of the suite, to which a probe can be added without touching this one."""
    shutil.copytree(REPOSITORY / "bench", tmp_path / "bench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "kernels", tmp_path / "kernels")
    return tmp_path


def troubled(house: Path, cases: str, together: str = "", patience: float = 60.0) -> None:
    source = textwrap.dedent(TROUBLE).format(cases=cases, together=together)
    (house / "bench" / "probes" / "trouble.py").write_text(source)
    session = house / "bench" / "session.py"
    session.write_text(
        session.read_text().replace("PATIENCE = 60.0", f"PATIENCE = {patience}").replace("+ 100 * launch", "")
    )


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "bench", "run", "--device", "cpu", "--budget", "quick", "--json", *words]


def run(house: Path, *words: str) -> tuple[int, dict, str]:
    done = subprocess.run(command(*words), cwd=house, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def outcomes(house: Path, told: dict) -> list[str]:
    found = read(house / told["run"])
    assert found.end is not None
    return [(m.reasons or ("measured",))[0] if m.validity == "invalid" else "measured" for m in found.measurements]


@pytest.mark.parametrize(
    ("middle", "cause"),
    [
        ("crash", "the process died of SIGSEGV"),
        ("hang", "no sign of life"),
        ("bug", "KeyError: 'forgotten'"),
    ],
)
def test_trouble_costs_one_case(house, middle, cause):
    troubled(house, f"fine, {middle}, fine", patience=4.0)
    code, told, _ = run(house, "--probes", "trouble")
    found = outcomes(house, told)
    assert code == 0
    assert [found[0], found[2]] == ["measured", "measured"]
    assert found[1].startswith(cause)


def test_a_rank_that_dies_costs_its_group_one_case(house):
    troubled(house, "fine, crash, fine", together=", together=True", patience=4.0)
    code, told, _ = run(house, "--probes", "trouble")
    assert code == 0
    assert outcomes(house, told)[1].startswith("the process died of SIGSEGV")


def test_a_device_that_only_crashes_is_given_up(house):
    troubled(house, ", ".join(["crash"] * 9))
    code, told, errors = run(house, "--probes", "trouble")
    assert code == 4
    assert told["status"] == "failed"
    assert "given up after 8 crashes" in errors


def test_a_probe_that_must_run_alone_runs(house):
    troubled(house, "fine, fine", together=", alone=True")
    code, told, _ = run(house, "--probes", "trouble")
    assert code == 0
    assert outcomes(house, told) == ["measured", "measured"]


def test_a_kernel_that_does_not_compile_costs_its_cases(house):
    broken = house / "kernels" / "ladder.c"
    broken.write_text(broken.read_text() + "\nint broken(void) { return nonsense; }\n")
    code, told, _ = run(house, "--probes", "intensity")
    assert code == 0
    found = [m for m in read(house / told["run"]).measurements if m.validity == "invalid"]
    assert found
    assert all(f"ladder.c:{len(broken.read_text().splitlines())}:" in m.reasons[0] for m in found)
    assert all("nonsense" in m.reasons[0] for m in found)


def test_ctrl_c_keeps_and_reports_what_was_measured(house):
    troubled(house, ", ".join(["slow"] * 150))
    process = subprocess.Popen(
        command("--probes", "trouble"),
        cwd=house,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell's background jobs ignore the signal, and with them whoever they start
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        files = list((house / "results").glob("*/*.jsonl"))
        if files and len(files[0].read_text().splitlines()) >= 4:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors, errors
    assert out, errors
    told = json.loads(out)
    found = read(house / told["run"])
    assert found.end.status == "interrupted"
    assert len(found.measurements) >= 3
    assert (house / told["report"]).exists()


def test_ranks_of_the_host_reduce_together(tmp_path):
    words = ("--probes", "allreduce", "--out", str(tmp_path / "results"), "--reports", str(tmp_path / "reports"))
    code, told, _ = run(REPOSITORY, *words)
    assert code == 0
    found = [m for m in read(told["run"]).measurements if m.seconds]
    assert found
    assert not [m.reasons for m in found if m.validity == "invalid"]
    assert all(len(m.seconds) >= 1000 for m in found if m.params["bytes"] <= 512 * 1024)
    assert all(m.devices == ("cpu",) * m.params["ranks"] for m in found)
    assert not any(m.saturates for m in found), "only a ring over links claims a roof"
