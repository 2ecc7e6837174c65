"""What a machine looks like before it is measured: findings, exit codes, and both ways of telling them."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from bench.measure import doctor
from bench.measure.budget import BUDGETS
from bench.measure.device import cc, stack
from bench.measure.device import host as machine
from bench.measure.device.cpu import open_cpu
from bench.measure.device.protocol import DeviceError
from bench.measure.device.sim import open_simulated
from bench.measure.device.stack import Stack
from bench.measure.doctor import gpu, host
from bench.measure.doctor.diagnosis import Diagnosis, Observation, Skipped
from bench.measure.doctor.gpu import reading
from bench.measure.supervisor import Failed, Opened

pynvml = pytest.importorskip("pynvml")
fakes = pytest.importorskip("tests.measure.device.fake_nvml")

REPOSITORY = Path(__file__).resolve().parents[2]
INFO = replace(open_simulated("sim:h200-sxm")[0].info, id="cuda:0", name="NVIDIA H200", simulated=False)
GOOD = Stack(
    driver="580.159.03",
    driver_cuda=(13, 0),
    torch="2.13.0+cu130",
    torch_cuda=(13, 0),
    cupy={"cupy-cuda13x": "14.2.0"},
    nvrtc="13.0.88",
    capabilities=((9, 0), (9, 0)),
)


def read(fake, seconds=0.0):
    """A GPU of that kind, read by pynvml itself after a while."""
    with fakes.installed(fake):
        fake.advance(seconds)
        return reading(fake.uuid)


def findings(fake, seconds=0.0):
    return {finding.topic: finding for finding in gpu.findings("cuda:0", read(fake, seconds))}


def code(found):
    return Diagnosis(devices=(INFO,), findings=tuple(found.values())).code


def states(found, *wanted):
    return {topic for topic, finding in found.items() if finding.state in wanted}


def test_a_healthy_gpu_has_nothing_to_mend():
    found = findings(fakes.PROFILES["healthy"]())
    assert not states(found, "bad", "warn")
    assert code(found) == 0
    told = {topic: finding.text for topic, finding in found.items()}
    assert told["product"] == "NVIDIA H200, datasheet h200-sxm"
    assert told["driver"] == "580.159.03, CUDA 13.0"
    assert told["power"] == "limit 700 W, its default"
    assert told["clocks"] == "SM 1.75 GHz now of 1.98 GHz, memory 3.20 GHz now of 3.20 GHz"
    assert told["NVLink"] == "18 links up"
    assert told["PCIe"] == "generation 5 x16"
    assert told["processes"] == "nobody else computes here"
    assert {finding.device for finding in found.values()} == {"cuda:0"}


@pytest.mark.parametrize(
    ("profile", "seconds", "bad", "warned", "words"),
    [
        ("throttled", 2.0, {"throttling"}, {"temperature"}, "hardware slowdown, hardware thermal slowdown"),
        ("power_capped", 2.0, set(), {"throttling"}, "software power cap"),
        ("mig", 0.0, set(), set(), "measured as the slice"),
        ("no_permission", 0.0, set(), {"telemetry"}, "Insufficient Permissions"),
        ("ecc_errors", 2.0, {"ECC", "row remap"}, set(), "2 uncorrectable memory errors"),
        ("busy", 0.0, {"processes"}, set(), str(fakes.FOREIGN)),
        ("exclusive", 0.0, set(), set(), "exclusive process"),
        ("lost", 0.0, {"GPU"}, set(), "lost"),
    ],
)
def test_what_is_amiss_is_found_and_has_a_code(profile, seconds, bad, warned, words):
    found = findings(fakes.PROFILES[profile](), seconds)
    assert states(found, "bad") == bad
    assert states(found, "warn") == warned
    assert code(found) == (3 if bad else 0)
    assert any(words in finding.text for finding in found.values())
    assert all(finding.fix for finding in found.values() if finding.state in ("bad", "warn"))


def test_a_slice_has_no_theory():
    found = findings(fakes.PROFILES["mig"]())
    assert "no % of theory" in found["product"].text
    assert found["product"].state == "note"


@pytest.mark.parametrize(
    ("topic", "state", "words", "changes"),
    [
        ("product", "note", "no datasheet is known", {"name": "NVIDIA H900"}),
        ("power", "warn", "limit 500 W, below its default of 700 W", {"fields": {190: 500_000, 189: 700_000}}),
        ("power", "note", "above its default", {"fields": {190: 700_000, 189: 600_000}}),
        ("PCIe", "warn", "x4, narrower than its x16", {"pcie_width": 4}),
        ("NVLink", "warn", "17 of 18", {"links": (1,) * 17 + (0,)}),
        ("NVLink", "note", "none of 18", {"links": (0,) * 18}),
        ("NVLink", "ok", "none", {"links": ()}),
        ("compute mode", "bad", "will not open", {"compute_mode": 3, "processes": (fakes.FOREIGN,)}),
        ("compute mode", "bad", "prohibited", {"compute_mode": 2}),
        ("row remap", "bad", "no spare rows", {"remapped": (0, 8, 0, 1)}),
        ("row remap", "note", "2 rows were replaced", {"remapped": (5, 2, 0, 0)}),
        ("ECC", "note", "3 errors were corrected", {"fields": {3: 3, 4: 0}}),
        ("throttling", "warn", "application clocks", {"events": 0x2}),
        ("throttling", "ok", "none now (idle)", {"events": 0x1}),
        ("temperature", "warn", "memory 97 °C", {"fields": {82: 97}}),
    ],
)
def test_each_trouble_is_told_apart(topic, state, words, changes):
    fields = fakes.healthy_fields() | changes.get("fields", {})
    found = findings(fakes.FakeNvml(**(changes | {"fields": fields})))[topic]
    assert (found.state, words in found.text) == (state, True), found


def test_a_command_names_its_gpu_by_its_place_on_the_bus():
    fields = fakes.healthy_fields() | {190: 500_000}
    assert findings(fakes.FakeNvml(fields=fields))["power"].fix == "sudo nvidia-smi -pl 700 -i 0000:19:00.0"


def test_every_listed_process_is_another_since_none_is_ours_yet():
    """nvml.Monitor cannot tell whose the ids are where its own is not among them; before a context nothing is ours."""
    told = read(fakes.FakeNvml(processes=(fakes.FOREIGN, os.getpid())))
    assert told.processes == [fakes.FOREIGN]
    assert read(fakes.FakeNvml(processes=(fakes.FOREIGN,))).processes == [fakes.FOREIGN]


class Roomy(fakes.FakeNvml):
    """With the questions that telemetry does not ask: memory, and the paths between GPUs. used: bytes."""

    used, paths = 2**29, {}

    def nvmlDeviceGetMemoryInfo(self, device, memory):
        memory._obj.total, memory._obj.used = 141 * 2**30, self.used
        return fakes.OK

    def nvmlDeviceGetP2PStatus(self, one, other, capability, status):
        status._obj.value = self.paths.get(getattr(capability, "value", capability), 1)
        return fakes.OK

    def nvmlDeviceGetTopologyCommonAncestor(self, one, other, level):
        level._obj.value = 50
        return fakes.OK


@pytest.mark.parametrize(
    ("used", "state", "words"),
    [(2**29, "ok", "141 GiB, 140 GiB free"), (30 * 2**30, "warn", "141 GiB, 111 GiB free: 30 GiB is taken")],
)
def test_memory_that_somebody_holds_is_found(used, state, words):
    fake = Roomy()
    fake.used = used
    found = findings(fake)["memory"]
    assert (found.state, found.text) == (state, words)


@pytest.mark.parametrize(
    ("paths", "count", "state", "words"),
    [
        ({2: 0, 0: 0}, 4, "ok", "every pair of 4 GPUs over NVLink"),
        ({2: 5, 0: 0}, 2, "ok", "1 pair over the link between CPUs (SYS)"),
        ({2: 5, 0: 5}, 3, "note", "3 pairs over the link between CPUs (SYS), no peer access"),
    ],
)
def test_how_gpus_reach_each_other(paths, count, state, words):
    fake = Roomy()
    fake.paths = paths
    with fakes.installed(fake):
        (found,) = gpu.peers([fake.uuid] * count)
    assert found.state == state
    assert found.text.startswith(words)


def test_no_driver_is_said_of_a_gpu_and_of_peers():
    assert gpu.peers([fakes.UUID] * 2) == []
    with fakes.installed(fakes.FakeNvml()):
        (found,) = gpu.findings("cuda:0", reading("GPU-other"))
    assert (found.topic, found.state) == ("telemetry", "warn")
    assert "GPU-other" in found.text


def last(parts, devices, chosen=False):
    return host.libraries(parts, devices, chosen)[-1]


def test_a_stack_that_fits_is_fine():
    assert last(GOOD, ["cuda:0"]).state == "ok"
    assert [finding.text for finding in host.libraries(GOOD, ["cuda:0"], False)[:3]] == [
        "2.13.0+cu130, CUDA 13.0",
        "14.2.0 (cupy-cuda13x)",
        "13.0.88",
    ]


def test_a_stack_that_does_not_fit_is_bad_where_it_is_needed():
    amiss = replace(GOOD, cupy={"cupy-cuda12x": "14.2.0"})
    found = last(amiss, ["cuda:0"])
    assert found.state == "bad"
    assert "pip uninstall -y cupy-cuda12x" in found.fix
    assert last(amiss, ["cpu"], chosen=True).state == "ok"


def test_a_gpu_that_would_be_missed_is_bad():
    found = last(replace(GOOD, torch="2.13.0+cpu", torch_cuda=None), ["cpu"])
    assert (found.state, found.text[:24]) == ("bad", "2 NVIDIA GPUs are here, ")
    assert "whl/cu130" in found.fix


def test_without_torch_nothing_is_measured():
    found = last(replace(GOOD, torch=""), ["cpu"])
    assert (found.topic, found.state) == ("torch", "bad")
    assert "pip install" in found.fix


def test_gpus_are_counted_on_the_bus(tmp_path):
    kinds = {
        "00": ("0x10de", "0x030200"),
        "01": ("0x10de", "0x030000"),
        "02": ("0x10de", "0x040300"),
        "03": ("0x1002", "0x030000"),
    }
    for name, (vendor, kind) in kinds.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    (tmp_path / "04").mkdir()
    assert host.nvidia_devices(tmp_path) == 2


@pytest.mark.parametrize(
    ("free", "state", "words"),
    [
        (2**30, "ok", "1 GiB free"),
        (64 << 20, "warn", "NCCL may fail with 'Error while creating shared memory segment'"),
        (None, "warn", "an all-reduce would fail"),
    ],
)
def test_shared_memory_too_small_for_nccl_is_found(monkeypatch, tmp_path, free, state, words):
    """Docker gives a container 64 MiB, of which NCCL takes 10 MB for one segment of one connection."""
    folder = tmp_path / "shm"
    if free is not None:
        folder.mkdir()
        monkeypatch.setattr(host.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    found = host.shared_memory(folder)
    assert (found.topic, found.state) == ("shared memory", state)
    assert words in found.text
    assert ("--shm-size=1g" in found.fix) == (state == "warn")


@pytest.mark.parametrize(("devices", "asked"), [(["cuda:0", "cuda:1"], True), (["cuda:0"], False), (["cpu"], False)])
def test_only_several_gpus_need_shared_memory(tmp_path, devices, asked):
    assert any(finding.topic == "shared memory" for finding in host.findings(devices, tmp_path)) is asked


# What macOS or Windows lack, in this process and in those that it starts.
LACKING = """
import os
for name in ("sched_getaffinity", "sched_setaffinity", "sysconf", "getloadavg", "getpgid"):
    if hasattr(os, name):
        delattr(os, name)
"""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("-c", "from bench.measure.device import cpu, cuda, nvml; from bench.measure import exclusive, supervisor"),
            "",
        ),
        (("-m", "bench", "doctor", "--device", "cpu"), "does not say which of them are for this process"),
        (("-m", "bench", "list"), "bandwidth"),
        (("-m", "bench", "report", str(REPOSITORY / "tests/frozen/run-1.1.jsonl")), "report"),
    ],
)
def test_a_system_without_affinity_is_told_and_served(tmp_path, words, told):
    """Runs of a GPU machine are read on laptops: nothing may fail there that is not about measuring."""
    (tmp_path / "sitecustomize.py").write_text(LACKING)
    paths = os.pathsep.join((str(tmp_path), str(REPOSITORY)))
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 3), done.stderr
    assert told in done.stdout


def test_a_system_that_does_not_tell_its_memory_says_so(monkeypatch):
    """As Windows, which has no sysconf and no /proc."""
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr(machine, "text", lambda path: "")
    assert "does not tell" in host.memory().text
    with pytest.raises(DeviceError, match="does not tell how much memory"):
        open_cpu()


def test_a_folder_that_cannot_be_written_is_bad(tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = {f.topic: f for f in host.findings(["cpu"], tmp_path / "file" / "results")}
    assert found["results"].state == "bad"
    assert "--out" in found["results"].fix
    found = {f.topic: f for f in host.findings(["cpu"], tmp_path / "new" / "results")}
    assert found["results"].state == "ok"
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """This machine's CPU, opened for real."""
    return doctor.diagnosis("cpu", BUDGETS["quick"], tmp_path_factory.mktemp("results"))


def drawn(diagnosis, width):
    file = io.StringIO()
    Console(file=file, width=width, highlight=False).print(doctor.text(diagnosis))
    return file.getvalue()


def test_this_machine_can_be_measured(here):
    assert here.code == (0 if cc.compiler() else 3)
    assert [info.id for info in here.devices] == ["cpu"]
    topics = {finding.topic for finding in here.findings}
    assert topics >= {
        "system",
        "processor",
        "memory",
        "results",
        "cache",
        "C compiler",
        "torch",
        "GPU stack",
        "opening",
    }
    assert {"bandwidth", "peak", "gemm"} <= {row.probe for row in here.measured}
    assert all(row.cases > 0 and row.estimate_s > 0 for row in here.measured)
    assert here.seconds == pytest.approx(sum(row.estimate_s for row in here.measured))


@pytest.mark.parametrize("width", [80, 140])
def test_a_person_can_read_it(here, width):
    text = drawn(here, width)
    assert max(map(len, text.splitlines())) <= width
    assert text.index("found") < text.index("will be measured") < text.index("will be skipped")
    assert here.devices[0].name in text
    words = " ".join(text.split())
    for finding in here.findings:
        assert finding.topic in words
    assert "exit code 0" in words or "exit code 3" in words


def test_a_program_can_read_it(here):
    told = json.loads(json.dumps(doctor.facts(here)))
    assert told["code"] == here.code
    assert told["devices"][0]["memory_bytes"] == here.devices[0].memory_bytes
    assert len(told["findings"]) == len(here.findings)
    assert told["stack"]["torch"]
    assert told["estimate_s"] == here.seconds


def test_what_to_mend_comes_by_severity_and_names_its_devices():
    troubles = [
        Observation("power", "limit low", "warn", "raise it on 0", "cuda:0"),
        Observation("power", "limit low", "warn", "raise it on 1", "cuda:1"),
        Observation("processes", "others compute here", "bad", "end them", "cuda:1"),
        Observation("persistence", "off", "note", "turn it on", "cuda:0"),
    ]
    other = replace(INFO, id="cuda:1")
    one = Diagnosis((INFO, other), tuple(troubles), skipped=(Skipped("cuda:2", "", 0, "did not answer"),))
    assert [finding.topic for finding in one.first] == ["processes", "power", "power"]
    text = drawn(one, 80)
    first = text[text.index("fix first") :]
    assert (
        first.index("1. ✗ bad  cuda:1, processes") < first.index("→ end them") < first.index("2. ! warn cuda:0, cuda:1")
    )
    assert first.index("→ raise it on 0") < first.index("→ raise it on 1")
    assert "off (turn it on)" in text
    assert "cuda:2: everything: did not answer" in text
    assert "exit code 3" in first


def test_simulated_gpus_are_marked_and_said_once():
    one = doctor.diagnosis("sim:h200-sxm,gpus=8", BUDGETS["quick"], Path("results"))
    assert one.code == 0
    text = drawn(one, 140)
    assert text.startswith("SIMULATED")
    assert text.count("sim:h200-sxm:0 to sim:h200-sxm:7 (8)") >= 2
    # side by side: eight take as long as one
    assert one.seconds == pytest.approx(sum(row.estimate_s for row in one.measured) / 8)
    assert doctor.facts(one)["simulated"] is True


@pytest.fixture
def node(monkeypatch):
    """A machine of two GPUs as far as the driver is asked; what opens them answers as it is told to."""

    def answering(*answers):
        gpus = [stack.Gpu(index, fakes.UUID, "NVIDIA H200") for index in range(2)]
        monkeypatch.setattr(stack, "visible", lambda: gpus)
        monkeypatch.setattr(stack, "installed_stack", lambda: GOOD)
        monkeypatch.setattr(doctor, "events", lambda *_: iter(answers))
        return doctor.diagnosis("auto", BUDGETS["standard"], Path("results"))

    with fakes.installed(Roomy()):
        yield answering


def test_a_gpu_that_does_not_open_is_told_beside_one_that_does(node):
    one = node(Opened(INFO), Failed("cuda:1", "NVRTC does not know sm_999"))
    assert one.code == 3
    assert [finding.device for finding in one.first] == ["cuda:1"]
    assert one.first[0].text == "NVRTC does not know sm_999"
    assert {row.device for row in one.measured} == {"cuda:0"}
    assert Skipped("cuda:1", "", 0, "NVRTC does not know sm_999") in one.skipped
    assert one.readings["cuda:1"]["power_limit_w"] == 700.0
    assert one.readings["cuda:0"]["memory_bytes"] == 141 * 2**30
    assert "peers" in {finding.topic for finding in one.findings}
    # what both GPUs share is said once, under both names
    assert drawn(one, 80).count("datasheet h200-sxm") == 1
    json.dumps(doctor.facts(one))


def test_nothing_that_opens_is_nothing_to_measure(node):
    one = node(Failed("cuda:0", "lost"), Failed("cuda:1", "lost"))
    assert one.code == 5
    assert "nothing can be measured" in drawn(one, 80)


def test_two_gpus_that_open_are_fine(node):
    one = node(Opened(INFO), Opened(replace(INFO, id="cuda:1")))
    assert (one.code, one.first) == (0, ())


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "sim:h900"])
def test_an_unknown_device_is_for_the_caller_to_tell(device, tmp_path):
    with pytest.raises(DeviceError):
        doctor.run(device, "standard", False, tmp_path)


def test_without_torch_it_still_answers(tmp_path):
    """In a process whose torch cannot be imported, as on a machine where only the suite is installed."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('no torch here')")
    script = tmp_path / "ask.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom bench.measure import doctor\n"
        "if __name__ == '__main__':\n    sys.exit(doctor.run('auto', 'quick', '--json' in sys.argv, Path('results')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}", "COLUMNS": "120"}
    words = [sys.executable, str(script), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False, cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    told = json.loads(done.stdout)
    assert told["devices"] == told["measured"] == []
    assert told["fix_first"][0]["topic"] == "torch"
    assert "pip install" in told["fix_first"][0]["fix"]
