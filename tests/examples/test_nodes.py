"""examples/ci on a node: the check of its GPUs, the systemd units, and the plugin of node-problem-detector."""

import json
import re
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bench.cli import main
from bench.cli.app import parsed
from bench.cli.codes import INCONCLUSIVE, OK, REGRESSED
from bench.measure.exclusive import PATH
from tests.examples.node import CI, HEALTHY, SLOW, lists, said
from tests.examples.steps import fake, surroundings

NPD = CI / "node-problem-detector"


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (lists(8), 0, ""),
        (lists(7), 1, "found 7 of it among 7"),
        (lists(9), 1, "found 9 of it among 9"),
        (lists(8, "NVIDIA H200 NVL"), 1, "found 0 of it among 8"),
        (f"{lists(7)}\n{lists(1, 'NVIDIA H100')}", 1, "found 7 of it among 8"),
        (f"{lists(8)}\n{lists(1, 'NVIDIA T4')}", 1, "found 8 of it among 9"),
        ("echo 'No devices were found'", 1, "found 0 of it among 0"),
        ("echo 'Unable to determine the device handle'; exit 15", 1, "does not answer"),
    ],
)
def test_check_gpus(tmp_path, script, code, words):
    fake(tmp_path, "nvidia-smi", script)
    done = said("sh", CI / "check-gpus.sh", "NVIDIA H200", 8, env=surroundings(tmp_path, tmp_path))
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert said("sh", CI / "check-gpus.sh", "NVIDIA H200").returncode == 2


# --- systemd


def unit(name: str) -> dict[str, list[str]]:
    """A unit's settings, continuation lines joined; each may be given more than once."""
    found: dict[str, list[str]] = {}
    for line in (CI / "systemd" / name).read_text().replace("\\\n", " ").splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def service(**changed: str) -> list[str]:
    """The words of ExecStart after `python -m bench`, its variables filled in."""
    settings = unit("ridgepoint-gate.service")
    given = dict(word.split("=", 1) for line in settings["Environment"] for word in shlex.split(line)) | changed
    words = shlex.split(re.sub(r"\$\{(\w+)\}", lambda found: given[found[1]], settings["ExecStart"][0]))
    assert words[:3] == ["/opt/ridgepoint/.venv/bin/python", "-m", "bench"]
    return words[3:]


def test_systemd_takes_the_units(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze on the PATH")
    text = (CI / "systemd" / "ridgepoint-gate.service").read_text()
    # it looks for the programs, which are not installed here
    for program, here in (
        ("/opt/ridgepoint/.venv/bin/python", sys.executable),
        ("/usr/bin/nvidia-modprobe", "/bin/sh"),
    ):
        text = text.replace(program, here)
    (tmp_path / "ridgepoint-gate.service").write_text(text)
    shutil.copy(CI / "systemd" / "ridgepoint-gate.timer", tmp_path)
    done = said("systemd-analyze", "verify", "--man=no", *sorted(tmp_path.iterdir()))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_service_can_reach_gpu_and_lock():
    settings = unit("ridgepoint-gate.service")
    hiding = {"PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "MemoryDenyWriteExecute", "PrivateTmp"}
    assert not hiding & settings.keys()
    writable = [Path(word.lstrip("-")) for word in settings["ReadWritePaths"][0].split()]
    options = parsed(service())[1].arguments["options"]
    assert PATH.parent == Path(tempfile.gettempdir())
    assert Path("/tmp") in writable
    written = [options.out, options.reports, *(Path(text.split("=", 1)[1]) for text in options.export)]
    state = Path("/var/lib") / settings["StateDirectory"][0]
    assert all(any(path.is_relative_to(root) for root in (state, *writable)) for path in written)


# --- node-problem-detector


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory) -> dict[str, str]:
    """What the service writes for node-exporter, of a healthy and of a slow Run."""
    found, state = {}, tmp_path_factory.mktemp("state")

    def night(device: str) -> tuple[int, Path]:
        words = service(TEXTFILES=str(state), RIDGEPOINT_DEVICE=device)
        code = main([word.replace("/var/lib/ridgepoint", str(state)) for word in words])
        return code, max(state.glob("results/*/*.jsonl"), key=lambda path: path.stat().st_mtime_ns)

    code, run = night(HEALTHY.format(1))
    assert code == INCONCLUSIVE, "a baseline is required, and there is none"
    assert main(["baseline", "set", str(run), "--out", str(state / "results")]) == OK
    for name, device, expected in (("ok", HEALTHY.format(2), OK), ("regressed", SLOW.format(3), REGRESSED)):
        assert night(device)[0] == expected
        assert json.loads((state / "gate.json").read_text())["verdict"] == name
        found[name] = (state / "ridgepoint.prom").read_text()
    return found


def measured(text: str) -> str:
    """As a measured Run's textfile has it."""
    return re.sub(r'simulated="true",?', "", text)


def aged(text: str, hours: float) -> str:
    moment = time.time() - 3600 * hours
    return re.sub(r"(?m)^(ridgepoint_last_run_timestamp_seconds\S*) .*$", rf"\1 {moment:.9e}", text)


def plugin(path: Path, *words: str) -> tuple[int, str]:
    done = said(NPD / "ridgepoint-gate.sh", path, *words)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    assert len(done.stdout.encode()) <= 81
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize(
    ("which", "change", "code", "words"),
    [
        ("ok", lambda text: text, 0, "ok 0 h ago"),
        ("ok", lambda text: aged(text, 35.5), 0, "ok 35 h ago"),
        ("ok", lambda text: aged(text, 37.5), 2, "37 h old"),
        ("ok", lambda text: aged(text, -5), 2, "of the future"),
        ("ok", lambda text: re.sub(r"(hardware_defects\S*) 0.0", r"\1 1.0", text), 1, "hardware defect: sim:"),
        ("ok", lambda text: re.sub(r"(gate_verdict\S+ok\S+) 1.0", r"\1 0.0", text), 2, "no verdict of the gate"),
        ("ok", lambda text: text[:0], 2, "no verdict of the gate"),
        ("ok", lambda text: "\n".join(text.splitlines()[:6]), 2, "no verdict of the gate"),
        ("regressed", lambda text: text, 1, "slower: "),
        ("regressed", lambda text: aged(text, 40.5), 2, "40 h old"),
    ],
)
def test_the_plugin_reads_the_verdict(verdicts, tmp_path, which, change, code, words):
    path = tmp_path / "ridgepoint.prom"
    path.write_text(change(measured(verdicts[which])))
    found, text = plugin(path)
    assert (found, words in text) == (code, True), text


@pytest.mark.parametrize("word", ["missing", "invalid", "inconclusive"])
def test_what_cannot_be_said_is_unknown(verdicts, tmp_path, word):
    path = tmp_path / "ridgepoint.prom"
    text = re.sub(r"(gate_verdict\S+ok\S+) 1.0", r"\1 0.0", measured(verdicts["ok"]))
    path.write_text(re.sub(rf"(gate_verdict\S+{word}\S+) 0.0", r"\1 1.0", text))
    assert plugin(path) == (2, f"{word} 0 h ago")


def test_the_plugin_never_takes_a_simulation_for_the_node(verdicts, tmp_path):
    path = tmp_path / "ridgepoint.prom"
    path.write_text(verdicts["regressed"])
    assert plugin(path)[0] == 2
    assert plugin(tmp_path / "none.prom")[0] == 2
    assert plugin(path, "1d")[0] == 2
    assert said(NPD / "ridgepoint-gate.sh").returncode == 2


def test_the_detector_would_take_its_configuration():
    """The fields, and the rules of Validate(), in node-problem-detector's pkg/custompluginmonitor/types/config.go."""
    found = json.loads((NPD / "ridgepoint-gate.json").read_text())
    settings = {"invoke_interval", "timeout", "max_output_length", "concurrency"}
    settings |= {"enable_message_change_based_condition_update", "skip_initial_status"}
    assert found.keys() <= {"plugin", "pluginConfig", "source", "conditions", "rules", "metricsReporting"}
    assert found["plugin"] == "custom"
    assert found["pluginConfig"].keys() <= settings
    durations = {"s": 1, "m": 60, "h": 3600}

    def seconds(text: str) -> int:
        number, letter = re.fullmatch(r"(\d+)([smh])", text).groups()
        return int(number) * durations[letter]

    longest = seconds(found["pluginConfig"]["timeout"])
    assert longest < seconds(found["pluginConfig"]["invoke_interval"])
    assert all(each.keys() == {"type", "reason", "message"} for each in found["conditions"])
    for rule in found["rules"]:
        assert rule.keys() <= {"type", "condition", "reason", "path", "args", "timeout"}
        assert rule["type"] in ("temporary", "permanent")
        assert rule["condition"] in {each["type"] for each in found["conditions"]}
        assert seconds(rule["timeout"]) <= longest
        assert (NPD / Path(rule["path"]).name).stat().st_mode & 0o111
        exports = parsed(service())[1].arguments["options"].export
        export = next(text for text in exports if text.startswith("prometheus="))
        assert rule["args"][0] == export.removeprefix("prometheus=")
