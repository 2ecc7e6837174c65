"""How checks are found, tried, decided, and told."""

import errno
import importlib
import inspect
import json
import random
import re
import time
from dataclasses import replace
from functools import partial
from math import comb
from pathlib import Path
from statistics import median

import pytest

from bench import cli
from bench.measure import exclusive, verify
from bench.measure.device import cc, cpu, stack
from bench.measure.device.protocol import DeviceError, OutOfMemory, Unsupported
from bench.measure.device.sim import open_simulated
from bench.measure.verify import Assumption, absent, apart, assumptions, brief, failed, passed, tried, work
from bench.measure.verify.__main__ import document
from bench.measure.verify.pairs import CONFIDENCE, Interval, interval, judged, rank, ratios
from bench.measure.verify.sensors import implausible
from bench.schema import FAIL, NOT_AVAILABLE, PASS
from tests.measure.verify import living
from tests.measure.verify.virtual import Faulty, VirtualGpu

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def host():
    return cpu.open_cpu(seed=4)


class Disturbed(VirtualGpu):
    def judge(self, telemetry, elapsed):
        return "suspect", ("other processes took 40 % of the cores' time",)


def made(trial, **more):
    return Assumption(name="test.made", trial=trial, proves="", expected="so", fix="mend it", **more)


# what is decided, and how surely


@pytest.mark.parametrize("n", [8, 12, 20, 36, 60])
def test_an_interval_covers_the_median_as_often_as_it_says(n):
    r = rank(n)
    outside = 2 * sum(comb(n, k) for k in range(r + 1)) / 2**n
    assert outside <= 1 - CONFIDENCE
    assert 2 * sum(comb(n, k) for k in range(r + 2)) / 2**n > 1 - CONFIDENCE


def test_the_halves_of_a_pair_take_turns_so_that_a_drift_cancels():
    taken = []

    def timed(name):
        taken.append(name)
        return 1 + 0.01 * len(taken)  # each takes a hundredth longer than the one before, whichever it is

    found = ratios(12, partial(timed, "one"), partial(timed, "other"))
    assert taken == ["one", "other", "other", "one"] * 6
    assert median(found) == pytest.approx(1, abs=1e-3)


def test_an_interval_of_few_values_is_their_range():
    assert interval([3.0, 1.0, 2.0]) == Interval(2.0, 1.0, 3.0, 3)


def test_a_true_ratio_never_fails_whatever_the_noise():
    """Heavy tails and stalls of one side: 2,000 looks at a ratio of 1 with a tolerance of 1 %, each repeated once."""
    source = random.Random(7)

    def look(n):
        def one():
            stall = source.expovariate(1 / 0.3) if source.random() < 0.1 else 0.0
            return 1 + abs(source.gauss(0, 0.03)) + stall

        return judged(interval([one() / one() for _ in range(n)]), 0.99, 1.01).state

    assert not [1 for _ in range(2000) if look(12) == FAIL and look(36) == FAIL]


def test_a_ratio_that_is_wrong_fails_through_the_same_noise():
    source = random.Random(8)
    values = [1.10 * (1 + abs(source.gauss(0, 0.01))) / (1 + abs(source.gauss(0, 0.01))) for _ in range(12)]
    assert judged(interval(values), 0.97, 1.03).state == FAIL


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (Interval(1.0, 0.999, 1.001, 12), PASS),
        (Interval(1.02, 0.99, 1.03, 12), PASS),  # not told apart from what is allowed, but known well
        (Interval(1.02, 0.95, 1.07, 12), NOT_AVAILABLE),  # its middle misses, and it is not known well
        (Interval(1.02, 0.5, 3.0, 12), NOT_AVAILABLE),
        (Interval(-0.2, -0.5, 9.0, 12), NOT_AVAILABLE),
        (Interval(1.2, 1.1, 1.3, 12), FAIL),
        (Interval(0.8, 0.7, 0.9, 12), FAIL),
    ],
)
def test_what_an_interval_decides(found, state):
    assert judged(found, 0.99, 1.01).state == state


def test_a_failure_is_tried_again_with_more_rounds():
    asked = []

    def trial(device, rounds):
        asked.append(rounds)
        return failed("1.5", "wrong") if len(asked) == 1 else passed("1.0")

    assert tried(VirtualGpu(), made(trial), 12).state == PASS
    assert asked == [12, 36]


def test_two_failures_count_on_a_quiet_machine_and_not_on_a_disturbed_one():
    each = made(lambda device, rounds: failed("1.5", "wrong"))
    assert tried(VirtualGpu(), each).state == FAIL
    found = tried(Disturbed(), each)
    assert found.state == NOT_AVAILABLE
    assert found.reason.startswith("too noisy: other processes took 40 %")
    assert not found.fix


def test_too_wide_an_interval_gets_more_rounds_where_nobody_is_to_blame():
    def trial(device, rounds):
        asked.append(rounds)
        return absent("too noisy: pairs differ by 40 %") if rounds == 12 else passed("1.0")

    asked = []
    assert tried(VirtualGpu(), made(trial), 12).state == PASS
    assert asked == [12, 36]
    asked = []
    assert tried(Disturbed(), made(trial), 12).state == NOT_AVAILABLE
    assert asked == [12]


def test_what_is_not_timed_fails_on_a_disturbed_machine_too_and_at_once():
    asked = []

    def trial(device, rounds):
        asked.append(rounds)
        return failed("", "wrong")

    assert tried(Disturbed(), made(trial, timed=False)).state == FAIL
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Unsupported("no such unit"), NOT_AVAILABLE),
        (OutOfMemory("full"), NOT_AVAILABLE),
        (DeviceError("stream.c does not compile"), FAIL),
        (RuntimeError("CUDA error: misaligned address\nmore"), FAIL),
        (NameError("a mistake of ours"), FAIL),
    ],
)
def test_a_check_that_breaks_costs_itself_only(error, state):
    def trial(device, rounds):
        raise error

    found = tried(VirtualGpu(), made(trial))
    assert found.state == state
    assert str(error).splitlines()[0] in found.reason
    assert "\n" not in found.reason


# what there is


def test_every_group_of_the_issue_is_there_and_says_what_it_proves():
    groups = {name.partition(".")[0] for name in assumptions()}
    assert groups == set(verify.TEXTS["groups"])
    for each in assumptions().values():
        assert each.proves.endswith("."), each.name
        assert each.expected, each.name
        assert len(each.expected) <= 40, f"{each.name}: a column of 80"
        assert each.fix or each.name == "time.alone"


def test_every_trial_of_a_file_is_in_the_table():
    described = {about["trial"] for about in verify.TEXTS["assumptions"].values()}
    for file in {trial.partition(".")[0] for trial in described}:
        for name, function in vars(importlib.import_module(f"bench.measure.verify.{file}")).items():
            if inspect.isfunction(function) and [*inspect.signature(function).parameters][:2] == ["device", "rounds"]:
                assert f"{file}.{name}" in described


def test_the_document_is_current():
    """python -m bench.measure.verify > docs/verify.md"""
    assert (REPOSITORY / "docs" / "verify.md").read_text() == document()


def test_the_short_subset_takes_less_than_three_seconds(host):
    begun = time.process_time()
    found = brief(host)
    assert {check.name for check in found} == {each.name for each in assumptions().values() if each.brief}
    # of two cores; the wall's seconds depend on who else is here
    assert time.process_time() - begun < 8
    assert sum(each.seconds for each in assumptions().values() if each.brief and "GPU" not in each.proves) < 8


def test_a_simulated_device_has_no_instrument_to_try():
    (device,) = open_simulated("sim:h200-sxm")
    assert brief(device) == []
    assert {check.state for check in apart.checks("sim:h200-sxm")} == {NOT_AVAILABLE}


def test_deep_checks_are_only_tried_when_asked():
    shallow, deep = ({check.name for check in apart.checks("sim:h200-sxm", asked)} for asked in (False, True))
    assert deep - shallow == {"kernels.sanitizer", "work.traffic", "witness.likwid"}


# what may be missing


def test_without_a_compiler_the_other_checks_still_run(monkeypatch):
    monkeypatch.setattr(cc, "compiler", lambda: None)
    device = cpu.CpuDevice()
    for name in ("kernels.twins", "time.linear_fma", "witness.copy", "work.machine_code", "clock.chain"):
        found = tried(device, assumptions()[name], 2)
        assert found.state == NOT_AVAILABLE, found
        assert "compiler" in found.reason
    assert tried(device, assumptions()["time.counters"]).state == PASS


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "no permission for counters (perf_event_paranoid="),
        (errno.ENOENT, "shows no counter of instructions"),
        (errno.ENOSYS, "perf events:"),
    ],
)
def test_counters_that_may_not_be_read(host, monkeypatch, number, words):
    def refuse():
        raise OSError(number, "refused")

    monkeypatch.setattr(work, "retired", refuse)
    found = tried(host, assumptions()["work.instructions"])
    assert found.state == NOT_AVAILABLE
    assert words in found.reason


def test_tools_that_are_not_installed(monkeypatch):
    monkeypatch.setattr(verify, "which", lambda name: None)
    for name, tool in (("kernels.sanitizer", "compute-sanitizer"), ("work.traffic", "ncu")):
        found = tried(VirtualGpu(), assumptions()[name])
        assert (found.state, tool in found.reason) == (NOT_AVAILABLE, True)


def test_another_process_on_the_gpu_is_said_and_the_checks_go_on():
    class Shared(VirtualGpu):
        def judge(self, telemetry, elapsed):
            return "invalid", ("other processes computed on this GPU: 4711",)

    found = tried(Shared(), assumptions()["time.alone"])
    assert found.state == NOT_AVAILABLE
    assert "4711" in found.reason
    assert tried(Shared(), assumptions()["time.linear_fma"]).state == PASS


def test_no_check_fails_on_a_sound_virtual_gpu(monkeypatch):
    monkeypatch.setattr("bench.measure.verify.sensors.WATCHED", 0.3)
    names = ("time.linear_fma", "time.linear_copy", "time.empty", "time.alone", "time.order", "cache.rotated")
    for name in (*names, "clock.stamps", "clock.driver", "energy.counter", "energy.fields", "witness.fma"):
        found = tried(VirtualGpu(), assumptions()[name])
        assert found.state != FAIL, found


# what ncu and the driver tell

_NCU = """==PROF== Connected to process 1
{"declared": {}}
"ID","Process ID","Kernel Name","dram__bytes_read.sum","dram__bytes_write.sum","FFMA"
"","","","byte","byte",""
"0","1","copy(const Pack *, Pack *, long long)","100,000,000","%s","0"
"1","1","fma_float32(const uint4 *)","0","0","1,000"
""".replace("FFMA", work.FFMA)


def test_ncus_table_against_what_is_declared():
    declared = {"copy": {"bytes": 2e8}, "fma_float32": {"fmas": 1000.0}}
    assert work.counted(_NCU % "100,000,000", declared, 0.97, 1.1).state == PASS
    found = work.counted(_NCU % "50,000,000", declared, 0.97, 1.1)
    assert found.state == FAIL
    assert "copy: 0.750 of its bytes" in found.reason
    assert work.counted(_NCU % "1", {"read": {"bytes": 1.0}}, 0.97, 1.1).state == NOT_AVAILABLE


def test_a_power_cap_that_was_seen_but_hardly_counted():
    before, after = {"throttled_power_cap_s": 1.0}, {"throttled_power_cap_s": 1.0 + 1e-6}
    assert implausible(before, after, {"events": ["software power cap"]}, 1.0)
    assert not implausible(before, after, {"events": []}, 1.0)


# a process of its own


def told(monkeypatch, life):
    monkeypatch.setattr(apart, "_live", life)
    return list(apart.checks("cpu"))


def test_a_check_that_kills_its_process_costs_itself_only(monkeypatch):
    names = list(assumptions())[:4]
    found = told(monkeypatch, living.dies_at_its_second)
    assert [check.name for check in found] == names
    assert [check.state for check in found] == [PASS, FAIL, PASS, PASS]
    assert "code 9" in found[1].reason


def test_a_check_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(apart, "PATIENCE", 0.5)
    monkeypatch.setattr(apart, "SLOWER", 0)
    found = told(monkeypatch, living.hangs)
    assert [check.state for check in found] == [FAIL, PASS]
    assert "taken for hung" in found[0].reason


@pytest.mark.parametrize("life", [living.cannot_open, living.ends_while_opening])
def test_a_device_that_does_not_open(monkeypatch, life):
    with pytest.raises(DeviceError, match=r"exclusive-process|code 3"):
        told(monkeypatch, life)


# the verb


@pytest.fixture
def free(monkeypatch, tmp_path):
    """A lock of this test's own."""
    defaults = (*exclusive.exclusive.__wrapped__.__defaults__[:-1], tmp_path / "lock")
    monkeypatch.setattr(exclusive.exclusive.__wrapped__, "__defaults__", defaults)
    return tmp_path / "lock"


def answering(monkeypatch, *outcomes):
    names = list(assumptions())
    found = [
        replace(living.check(name), state=each.state, value=each.value, reason=each.reason, fix="mend it", elapsed=1.0)
        for name, each in zip(names, outcomes, strict=False)
    ]
    monkeypatch.setattr(apart, "checks", lambda name, deep=False: iter(found))


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((passed("1"), passed("2")), 0),
        ((passed("1"), absent("no GPU here")), 0),
        ((absent("no GPU here"), failed("3", "wrong"), passed("1")), 1),
    ],
)
def test_exit_codes(monkeypatch, free, capsys, outcomes, code):
    answering(monkeypatch, *outcomes)
    assert cli.main(["verify", "--device", "cpu"]) == code
    said = capsys.readouterr().out
    assert next(iter(assumptions())) in said
    assert ("mend it" in said) == (code == 1)


def test_json_has_every_check(monkeypatch, free, capsys):
    answering(monkeypatch, passed("1"), failed("3", "wrong"))
    assert cli.main(["verify", "--device", "cpu", "--json"]) == 1
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["exit_code"] == 1
    assert [check["state"] for check in found["checks"]] == ["pass", "fail"]
    assert set(found["checks"][0]) >= {"name", "proves", "value", "expected", "state", "reason"}


def test_a_simulated_machine_is_no_failure(capsys):
    assert cli.main(["verify", "--device", "sim:h200-sxm,gpus=2"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "NOT JUDGED Instrument: nothing could be tried here" in said
    assert said.endswith("there is no instrument to try: all of them.")


def test_a_device_that_is_not_here_is_one_clear_line(capsys):
    if stack.visible():
        pytest.skip("there is a GPU here")
    assert cli.main(["verify", "--device", "cuda:0"]) == 2
    said = capsys.readouterr().err
    assert "no device 'cuda:0'" in said
    assert "Traceback" not in said


def test_a_device_that_cannot_be_opened(monkeypatch, free, capsys):
    def refuse(name, deep=False):
        raise DeviceError("cuda:0 has no memory left for this process")
        yield

    monkeypatch.setattr(apart, "checks", refuse)
    assert cli.main(["verify", "--device", "cpu"]) == 5
    assert "no memory left" in capsys.readouterr().out


def test_a_machine_in_use(monkeypatch, free, capsys):
    with exclusive.exclusive(0, path=free):
        assert cli.main(["verify", "--device", "cpu", "--wait", "0"]) == 3
    assert "another measurement has this machine" in capsys.readouterr().err


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_fits_its_terminal(monkeypatch, free, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    answering(monkeypatch, passed("1.000 (0.999–1.001, n=12)"), failed("0.5", "wrong " * 30), absent("no GPU here"))
    cli.main(["verify", "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert any(re.search(r"kernels\.twins +pass +1\.000", line) for line in lines)


def test_a_faulty_proxy_is_otherwise_the_device(host):
    assert Faulty(host).info is host.info
