"""What a gate leaves behind and who reads it: exit codes, exports and pipes never say ok where another says no."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import cli
from bench.store import read

NODE, ONE = "sim:h200-sxm,noise=0.002:0.007", "results/sim-h200-sxm"

pytestmark = pytest.mark.usefixtures("unpaged")


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def gate(spec: str, *words: str) -> int:
    return cli.main(["gate", "--device", spec, *words])


def newest(home: str = ONE) -> Path:
    return max(Path(home).glob("*.jsonl"), key=lambda path: (read(path).environment.started, path.name))


def test_a_node_that_lost_a_gpu_is_green_on_no_surface(capsys):
    assert gate(f"{NODE},gpus=4,seed=1") == 0
    assert cli.main(["baseline", "set", str(newest(f"{ONE}-x4"))]) == 0
    capsys.readouterr()
    assert gate(f"{NODE},gpus=3,seed=2", "--export", "junit=n.xml", "--export", "prometheus=n.prom") == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "MISSING" in out
    assert "is one of them gone" in out
    assert "OK:" not in out
    assert int(ElementTree.parse("n.xml").getroot().get("errors")) == 1
    verdicts = [line for line in Path("n.prom").read_text().splitlines() if line.startswith("ridgepoint_gate_verdict{")]
    assert [line.split()[-1] for line in verdicts if 'state="missing"' in line] == ["1.0"]
    assert [line.split()[-1] for line in verdicts if 'state="ok"' in line] == ["0.0"]


def test_a_baseline_that_is_required_and_lacks_is_green_on_no_surface(capsys):
    assert gate(f"{NODE},seed=1", "--require-baseline", "--export", "junit=n.xml", "--nagios") == 3
    assert capsys.readouterr().out.startswith("GATE UNKNOWN - SIMULATED INCONCLUSIVE: no baseline")
    assert int(ElementTree.parse("n.xml").getroot().get("errors")) == 1


def test_a_reader_that_leaves_takes_neither_code_nor_exports(house):
    assert gate(f"{NODE},gpus=8,seed=1") == 0
    assert cli.main(["baseline", "set", str(newest(f"{ONE}-x8"))]) == 0
    assert gate(f"{NODE},gpus=8,seed=2,dram=0.9") == 1
    words = ["gate", "--run", str(newest(f"{ONE}-x8")), "--json", "--export", "md=pull.md"]
    reader, writer = os.pipe()
    os.close(reader)
    repository = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words], stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert Path("pull.md").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--export", "json=-"], "for stdout use --json"),
        (["--export", "prometheus=gate.txt"], "end in .prom"),
        (["--json", "--nagios"], "both want stdout"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_measured(capsys, words, said):
    assert gate(f"{NODE},seed=1", *words) in (2, 3)
    out, err = capsys.readouterr()
    assert said in out + err
    assert not Path("results").exists()


def test_a_device_is_never_replaced_by_an_export(capsys):
    os.mkfifo("pipe")
    assert gate(f"{NODE},seed=1", "--export", "json=pipe") == 2
    assert Path("pipe").is_fifo()
    assert "no ordinary file" in " ".join(capsys.readouterr().out.split())


def test_a_link_is_followed_not_replaced():
    Path("target.md").write_text("old")
    Path("link.md").symlink_to("target.md")
    assert gate(f"{NODE},seed=1", "--export", "md=link.md") == 0
    assert Path("link.md").is_symlink()
    assert "ridgepoint" in Path("target.md").read_text()


def test_nagios_hears_of_bad_input_on_stdout_as_unknown(capsys):
    assert cli.main(["gate", "--run", "nope.jsonl", "--nagios"]) == 3
    assert capsys.readouterr().out.startswith("GATE UNKNOWN - no such Run file: nope.jsonl")


def test_another_out_is_where_the_baseline_is_looked_for(capsys):
    assert gate(f"{NODE},seed=1") == 0
    run = str(newest())
    assert cli.main(["baseline", "set", run]) == 0
    assert cli.main(["gate", "--run", run, "--require-baseline"]) == 0
    assert cli.main(["gate", "--run", run, "--require-baseline", "--out", "elsewhere"]) == 3
    assert cli.main(["baseline", "set", run, "--out", "elsewhere"]) == 0
    assert list(Path("elsewhere/sim-h200-sxm/baselines").glob("device-*.jsonl"))


def test_pruning_counts_what_counts(capsys):
    for seed in range(3):
        assert gate(f"{NODE},seed={seed}") == 0
    good = {path.name for path in Path(ONE).glob("*.jsonl")}
    lines = newest().read_text().splitlines(keepends=True)
    for number in range(4):  # interrupted ones, younger than all
        head = lines[0].replace('"started":"20', '"started":"21').replace('"run_id":"', f'"run_id":"{number}')
        Path(ONE, f"2126-{number}.jsonl").write_text("".join([head, *lines[1:3]]))
    assert cli.main(["history", "prune", ONE, "--keep", "2", "--yes"]) == 0
    left = {path.name for path in Path(ONE).glob("*.jsonl")}
    assert len(left & good) == 2
