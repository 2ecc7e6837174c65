"""Supervision with real processes: a crash, a hang or a bug costs one case; Ctrl-C keeps what was measured."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.cli.codes import INCONCLUSIVE, OK
from bench.measure import processes, supervisor
from bench.measure.budget import BUDGETS
from bench.measure.device.protocol import Unsupported
from bench.measure.device.sim import open_simulated
from bench.measure.probes import describe, probes
from bench.measure.session import CaseSelection
from bench.measure.worker import meeting
from bench.schema import Case, Setup, case_key
from bench.store import read
from bench.work import Work

REPOSITORY = Path(__file__).resolve().parents[2]

# A probe some of whose cases are troubled.
TROUBLE = """
    import os, signal, time
    from functools import partial
    from bench.measure.device.protocol import DeviceError
    from bench.measure.probes import Cases, probe
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

    def bug_of_one(device):
        return bug(device) if device.rank == 1 else fine(device)

    def slow(device):
        return Setup([partial(time.sleep, 0.1)])

    # while rank 0 waits in a collective that nobody ends, as NCCL's do
    def second_quits(device):
        if device.rank == 1:
            os._exit(0)
        time.sleep(3600)

    def second_raises(device):
        if device.rank == 1:
            raise KeyError("forgotten")
        time.sleep(3600)
    @probe(version=1{together})
    def trouble(info, budget) -> Cases:
        for step, prepare in enumerate(({cases})):
            yield Case(params={{"step": step}}, work=Work(bytes=4096.0), prepare=prepare)
"""


@pytest.fixture
def house(tmp_path):
    """A copy of the suite, to which a probe can be added without touching this one."""
    # what another process just compiles is first a file of another name, which may be gone before it is copied
    shutil.copytree(REPOSITORY / "bench", tmp_path / "bench", ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.copytree(REPOSITORY / "kernels", tmp_path / "kernels")
    # what is supervised here is no measurement, so that it need not wait for one
    lock = tmp_path / "bench/measure/exclusive.py"
    lock.write_text(lock.read_text().replace("/tmp/ridgepoint.lock", str(tmp_path / "lock")))
    return tmp_path


def troubled(house: Path, cases: str, together: str = "", patience: float = 60.0) -> None:
    source = textwrap.dedent(TROUBLE).format(cases=cases, together=together)
    (house / "bench/measure/probes/trouble.py").write_text(source)
    predictor = house / "bench/measure/passes.py"
    before = predictor.read_text()
    predictor.write_text(before.replace("PATIENCE + 200 * share + 100 * launch", str(patience)))
    assert predictor.read_text() != before


def command(*words: str) -> list[str]:
    # minutes, of which ranks that start again on a busy machine take their part: these Runs end when they are done
    return [sys.executable, "-m", "bench", "run", "--device", "cpu", "--budget", "180s", "--json", *words]


# As the command, whose report takes longer than what most of these Runs measure and is tested elsewhere. How busy this
# machine is meanwhile does not matter either: nothing here is a number.
UNREPORTED = """
import sys
from bench import cli
from bench.analysis import quality
from bench.cli import measuring

measuring.written = lambda *run: None
quality.MOST_SUSPECT = 1.0
sys.exit(cli.main(sys.argv[1:]))
"""


def run(house: Path, *words: str) -> tuple[int, dict, str]:
    python, _, _, *typed = command(*words)
    done = subprocess.run(
        [python, "-c", UNREPORTED, *typed], cwd=house, capture_output=True, text=True, timeout=300, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def outcomes(house: Path, told: dict) -> list[str]:
    found = read(house / told["run"])
    assert found.end is not None
    return [(m.reasons or ("measured",))[0] if m.validity == "invalid" else "measured" for m in found.measurements]


def test_trouble_costs_one_case(house):
    """Each of several, whatever it is: what comes before, between and after them is measured."""
    troubled(house, "fine, crash, fine, hang, fine, bug, fine", patience=6.0)
    code, told, _ = run(house, "--probes", "trouble")
    found = outcomes(house, told)
    assert (code, found[::2]) == (0, ["measured"] * 4)
    causes = ("the process died of SIGSEGV", "no sign of life", "KeyError: 'forgotten'")
    assert all(one.startswith(cause) for one, cause in zip(found[1::2], causes, strict=True)), found


def test_a_rank_that_goes_ends_its_group_at_once_and_by_name(house):
    """Killed, gone with whatever code, or with an error that its peers fail of too: it costs one case, and nobody waits
    for it until a patience ends, which is longer than this run may take.
    """
    cases = "fine, crash, fine, second_quits, fine, second_raises, fine, bug_of_one, fine"
    troubled(house, cases, together=", together=True", patience=600.0)
    code, told, _ = run(house, "--probes", "trouble")
    found = outcomes(house, told)
    assert (code, found[::2]) == (0, ["measured"] * 5)
    assert found[1].endswith("the process died of SIGSEGV")
    assert found[3::2] == [
        "rank 1: the process ended with code 0 in the middle of its work",
        "rank 1: KeyError: 'forgotten'",
        "rank 1: KeyError: 'forgotten'",
    ]


def test_a_rank_whose_device_fails_ends_its_group_at_once_and_by_name(house):
    troubled(house, "fine, fine", together=", together=True", patience=600.0)
    probe = house / "bench/measure/probes/trouble.py"
    fails = """    import torch.distributed as dist
    yield Case(params={"step": -1}, work=Work(bytes=4096.0), prepare=fine)
    if dist.is_initialized():  # and not where the plan is made
        if dist.get_rank() == 1:
            raise DeviceError("its memory is defective")
        time.sleep(3600)
    for step"""
    probe.write_text(probe.read_text().replace("    for step", fails))
    _, told, errors = run(house, "--probes", "trouble")
    assert outcomes(house, told) == [], "it fails while the first pass looks for claims"
    assert "rank 1: its memory is defective" in errors


def test_a_rank_that_cannot_open_its_device_is_named(house):
    troubled(house, "fine, fine", together=", together=True")
    cpu = house / "bench/measure/device/cpu.py"
    refuses = "        if rank == 1:\n            raise DeviceError('no core is left')\n        self.rank, self.world"
    cpu.write_text(cpu.read_text().replace("        self.rank, self.world", refuses))
    _, _, errors = run(house, "--probes", "trouble")
    assert "rank 1: no core is left" in errors


def test_ranks_describe_the_same_cases_whatever_their_devices_are(house):
    """A rank whose GPU has a little more memory once described a case more, and waited in it for the others."""
    troubled(house, "fine, fine, fine", together=", together=True", patience=10.0)
    probe, cpu = house / "bench/measure/probes/trouble.py", house / "bench/measure/device/cpu.py"
    probe.write_text(probe.read_text().replace("enumerate((", "enumerate(info.memory_bytes % 2 * (fine,) + ("))
    cpu.write_text(cpu.read_text().replace("memory_bytes=memory_total()", "memory_bytes=2**33 + 1 - self.rank"))
    code, told, _ = run(house, "--probes", "trouble")
    assert (code, outcomes(house, told)) == (0, ["measured"] * 3)


def test_a_process_that_can_capture_no_more_is_replaced_and_its_case_is_queued(house):
    """Its case comes again in the next process, without a graph, and so do others of its kind: none is lost."""
    troubled(house, "fine, fine, fine, fine")
    cpu = house / "bench/measure/device/cpu.py"
    breaks = """    def time(self, case, launches, count):
        if case.params.get("step") in (1, 2) and case.timing != "queued":
            from pathlib import Path
            from bench.measure.device.protocol import CaptureBroken

            Path("broken").open("a").write(f"{case.params} ")
            raise CaptureBroken("a failed graph capture left torch unable to capture, the process is replaced")
        return self._time(case, launches, count)

    def _time("""
    cpu.write_text(cpu.read_text().replace("    def time(", breaks))
    code, told, _ = run(house, "--probes", "trouble")
    assert (code, outcomes(house, told)) == (0, ["measured"] * 4)
    assert (house / "broken").read_text() == "{'step': 1} "


def test_what_insists_on_a_graph_is_left_out_where_none_can_be_captured(house):
    troubled(house, "fine, fine")
    probe, cpu = house / "bench/measure/probes/trouble.py", house / "bench/measure/device/cpu.py"
    probe.write_text(probe.read_text().replace("prepare=prepare)", "prepare=prepare, timing='graph')"))
    breaks = """    def time(self, case, launches, count):
        from bench.measure.device.protocol import CaptureBroken

        raise CaptureBroken("a failed graph capture left torch unable to capture, the process is replaced")

    def _time("""
    cpu.write_text(cpu.read_text().replace("    def time(", breaks))
    _, told, _ = run(house, "--probes", "trouble")
    found = read(house / told["run"]).measurements
    assert [m.skip for m in found] == ["these launches cannot be captured into a graph"] * 2


def test_a_device_that_only_crashes_is_given_up(house):
    troubled(house, ", ".join(["crash"] * 3))
    supervisor = house / "bench/measure/supervisor.py"
    supervisor.write_text(supervisor.read_text().replace("_MAX_CRASHES = 8", "_MAX_CRASHES = 2"))
    code, told, errors = run(house, "--probes", "trouble")
    assert code == 4
    assert told["status"] == "failed"
    assert "given up after 2 crashes" in errors


def test_a_probe_that_must_run_alone_runs(house):
    troubled(house, "fine, fine", together=", alone=True")
    code, told, _ = run(house, "--probes", "trouble")
    assert code == 0
    assert outcomes(house, told) == ["measured", "measured"]


def test_a_kernel_that_does_not_compile_costs_its_cases(house):
    broken = house / "kernels" / "ladder.c"
    broken.write_text(broken.read_text() + "\nint broken(void) { return nonsense; }\n")
    code, told, _ = run(house, "--probes", "intensity", "--budget", "60s")
    measured = read(house / told["run"])
    assert code == INCONCLUSIVE, "nothing valid was measured"
    found = [m for m in measured.measurements if m.validity == "invalid"]
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


def test_ranks_of_the_host_reduce_together(house):
    probe = house / "bench/measure/probes/allreduce.py"
    fewer = probe.read_text().replace("range(10, 34)", "range(10, 23, 3)")
    assert fewer != probe.read_text()
    probe.write_text(fewer)
    code, told, _ = run(house, "--probes", "allreduce", "--budget", "60s")
    measured = read(house / told["run"])
    assert code == (INCONCLUSIVE if measured.end.unreached else OK), "a busy machine may not reach every size"
    found = [m for m in measured.measurements if m.seconds]
    assert found
    assert not [m.reasons for m in found if m.validity == "invalid"]
    small = [m for m in found if m.params["bytes"] <= 512 * 1024]
    # a thousand, but where others take the cores for too long
    assert all(len(m.seconds) >= 1000 or m.stop_reason.startswith("the case's share") for m in small)
    assert all(m.devices == ("cpu",) * m.params["ranks"] for m in found)
    assert not any(m.saturates for m in found), "only a ring over links claims a roof"


def test_gpus_on_different_roots_use_their_host_links_at_once():
    """One of each root is alone on its link; who shares a root, or may share one for all that is known, waits."""
    roots = {"a": "pci0000:15", "b": "pci0000:15", "c": "pci0000:37", "d": "", "e": "pci0000:37", "f": "pci0000:5a"}
    groups = [SimpleNamespace(device=name, info=SimpleNamespace(root=root)) for name, root in roots.items()]
    groups.append(SimpleNamespace(device="gone", info=None))
    turns = ["".join(group.device for group in turn) for turn in processes.link_turns(groups)]
    assert turns == ["acf", "be", "d"]


def host_copies(device, pinned=None):
    choose = {"choose": lambda infos: pinned} if pinned else {}
    events = supervisor.run([device], [probes()["hostcopy"]], BUDGETS["quick"], 0, **choose)
    return [event.measurement for event in events if isinstance(event, supervisor.Measured)]


def test_host_links_are_measured_alone_and_with_all_at_once():
    found = [m for m in host_copies("sim:h200-sxm,gpus=2") if m.seconds and not m.repetition]
    devices = {m.device for m in found}
    assert len(devices) == 2
    for device in devices:
        together = [m for m in found if m.device == device and "company" in m.params]
        alone = [m for m in found if m.device == device and "company" not in m.params]
        largest = max(m.params["bytes"] for m in alone)
        assert [(m.params["path"], m.params["memory"], m.params["bytes"], m.saturates) for m in together] == [
            (path, "pinned", largest, "") for path in ("h2d", "d2h", "duplex")
        ]
        assert {m.params["company"] for m in together} == {"all"}
        assert {m.saturates for m in alone} == {"", "h2d", "d2h", "duplex"}
    assert len({(m.device, m.key) for m in found}) == len(found), "told apart by their keys"


def test_a_lone_gpu_has_no_company():
    assert not any("company" in m.params for m in host_copies("sim:h200-sxm"))


def test_a_gate_that_follows_a_link_finds_it_in_its_own_pass():
    """A case of one pass is not reported as gone by the other."""
    device = open_simulated("sim:h200-sxm,gpus=2")[1]
    probe = probes()["hostcopy"]
    alone, together = (
        next(case for case in describe(info, probe, BUDGETS["standard"]) if case.params["path"] == "d2h")
        for info in (device.info, replace(device.info, company="all"))
    )
    keys = [(case_key(probe.name, probe.version, case.params), False) for case in (alone, together)]
    found = host_copies("sim:h200-sxm,gpus=2", CaseSelection({device.info.id: keys}, repetitions=(2,), warming=1))
    assert [(m.device, m.params.get("company", ""), m.repetition, m.skip) for m in found] == [
        (device.info.id, company, repetition, "") for company in ("", "all") for repetition in (1, 2)
    ]


def test_devices_wait_for_one_another_before_they_copy_at_once():
    barrier, ready = get_context("spawn").Barrier(2), []

    def cases(info, budget):
        yield Case(params={}, work=Work(), prepare=lambda device: ready.append(time.monotonic()) or Setup([]))

    (case,) = describe(None, meeting(replace(probes()["hostcopy"], cases=cases), barrier), None)
    met = []

    def device(late):
        time.sleep(late)
        case.prepare(None)
        met.append(time.monotonic())

    threads = [threading.Thread(target=device, args=(late,)) for late in (0.0, 0.5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert min(met) >= max(ready), "the first went on when the last was ready"


def test_company_that_is_not_complete_is_none():
    """Nobody waits for a device that is gone, and what is copied without it is not stored as company's."""
    barrier = get_context("spawn").Barrier(2)
    barrier.abort()

    def cases(info, budget):
        yield Case(params={}, work=Work(), prepare=lambda device: Setup([]))

    (case,) = describe(None, meeting(replace(probes()["hostcopy"], cases=cases), barrier), None)
    with pytest.raises(Unsupported, match="not every device was there"):
        case.prepare(None)
