"""What is told while a Run is made: from the first second on, with a count of cases and an honest time left."""

import io
import re
import time
from dataclasses import replace

import pytest
from rich.console import Console

from bench.measure.budget import BUDGETS
from bench.measure.environment import environment
from bench.measure.probes import select
from bench.measure.progress import Listener
from bench.measure.session import CaseSelection
from bench.measure.supervisor import Checked, Failed, Measured, Opened
from bench.measure.worker import Started
from bench.schema import CONFIRM, FIRST_ROUND, SUSTAINED, Cache, DeviceInfo, Measurement, Unreached, case_key
from bench.work import Work

STANDARD = BUDGETS["standard"]
INFO = DeviceInfo(
    id="cpu",
    name="Some CPU",
    product="some-cpu-2c",
    memory_bytes=2**34,
    caches=(Cache("l1", 2**16),),
    units={"float32": "vector"},
    loops={"float32": 64},
    regime="steady",
)


class Clock:
    """Seconds as a test wants them."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Watched:
    """A listener with what a person sees of it, on a terminal or in a pipe."""

    def __init__(self, terminal: bool, devices=("cpu",), budget=STANDARD, **more):
        self.clock, self.file = Clock(), io.StringIO()
        console = Console(file=self.file, force_terminal=terminal, width=100, color_system=None)
        self.listener = Listener(console, budget, devices, clock=self.clock, **more)

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.file.getvalue())

    def shows(self, *words: str) -> bool:
        """Whether the live line comes to hold all of these."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            last = [line for line in re.split(r"[\r\n]", self.text) if line.strip()][-1:]
            if last and all(word in last[0] for word in words):
                return True
            time.sleep(0.02)
        return False

    def opened(self, info=INFO) -> None:
        self.listener(Opened(info))

    def began(self, infos=(INFO,)) -> None:
        self.listener(environment(infos, ("bench",), "standard", 0, select(["gemm"])))


def measurement(step: int = 0, probe: str = "gemm", **more) -> Measurement:
    fields = {"seconds": (1e-3,), "work": Work(2e9, "vector", "float32", bytes=1e6), "params": {"batch": step}} | more
    return Measurement(probe=probe, version=1, device="cpu", **fields)


def test_the_first_seconds_are_not_silent():
    seen = Watched(terminal=True, verify=True)
    with seen.listener:
        assert seen.shows("opening", "0 s", "importing torch, opening cpu")
        seen.clock.now += 7
        assert seen.shows("opening", "7 s"), "it goes on while nothing happens"
        seen.opened()
        assert seen.shows("checking", "does the instrument read true here")
        seen.clock.now += 3
        seen.began()
        seen.listener(Checked(()))
        assert seen.shows("measuring", "at most 2 min 48 s left")
    assert "cpu: Some CPU, 16 GiB of memory, opened in 7.0 s" in seen.text


def test_a_run_without_checks_is_measuring_once_its_devices_are_open():
    seen = Watched(terminal=True, devices=("cuda:0", "cuda:1"))
    with seen.listener:
        assert seen.shows("opening cuda:0, cuda:1")
        seen.opened()
        assert seen.shows("opening", "1 of 2 devices")
        seen.opened()
        assert seen.shows("measuring")


def test_cases_are_counted_once_and_the_time_left_is_the_commands():
    seen = Watched(terminal=True, begun=90.0)
    with seen.listener:
        seen.opened()
        seen.began()
        for step in range(3):
            seen.listener(Measured(measurement(step)))
        assert seen.shows("gemm", "3 cases", "at most 2 min 48 s left", "2: 2.00 TFLOP/s"), "10 s had gone before"
        seen.listener(Measured(measurement(2, repetition=1)))
        seen.listener(Measured(measurement(2, repetition=FIRST_ROUND)))
        assert seen.shows("round 1", "3 cases")
        seen.listener(Measured(measurement(2, repetition=FIRST_ROUND, regime=SUSTAINED)))
        assert seen.shows("sustained", "3 cases")
        seen.clock.now = 90 + STANDARD.seconds - 1
        assert seen.shows("at most 1 s left")
        seen.clock.now += 21
        assert seen.shows("20 s over its time"), "no second that stands still"
    assert "gemm       3 measured" in seen.text


def test_a_case_that_takes_long_is_named_while_it_runs():
    seen = Watched(terminal=True)
    with seen.listener:
        seen.opened()
        seen.began()
        seen.listener(Measured(measurement(1)))
        seen.listener(Started(measurement(7, seconds=()), 60.0, ("gemm", "gemm")))
        assert seen.shows("1: 2.00 TFLOP/s")
        seen.clock.now += 30
        assert seen.shows("7: 30 s so far")
        seen.listener(Measured(measurement(7)))
        assert seen.shows("7: 2.00 TFLOP/s")


@pytest.mark.parametrize(
    ("work", "said"), [(Work(), "1.00 ms"), (Work(bytes=1e6), "1.00 GB/s"), (Work(1e9, "vector"), "1.00 TFLOP/s")]
)
def test_what_moves_nothing_is_told_by_its_time(work, said):
    seen = Watched(terminal=True)
    with seen.listener:
        seen.listener(Measured(measurement(0, work=work)))
        assert seen.shows(f"0: {said}")


def test_a_gate_knows_how_many_it_will_measure_and_takes_the_time_from_their_pace():
    seen = Watched(terminal=True, gate=True)
    keys = [case_key("gemm", 1, {"batch": step}) for step in range(5)]
    pinned = CaseSelection({"cpu": [*((key, False) for key in keys), (keys[0], True)]}, (2, 3, 4))
    with seen.listener:
        seen.opened()
        assert seen.listener.expect(pinned) is pinned
        seen.began()
        assert seen.shows("0 of 23 measured"), "five of four each, one of three"
        for step in range(13):
            seen.listener(Measured(measurement(step % 5, repetition=step // 5)))
            seen.clock.now += 2.0
        assert seen.shows("13 of 23 measured", "about 22 s left")
        assert "at most" not in seen.text, "a gate takes as long as it takes"


def test_a_second_look_is_counted_anew():
    seen = Watched(terminal=True)
    with seen.listener:
        seen.opened()
        seen.began()
        seen.listener(Measured(measurement(0)))
        seen.listener.expect(CaseSelection())
        assert seen.shows("1 case", "at most")
        seen.listener.expect(CaseSelection({"cpu": [(measurement(0).key, False)]}, (CONFIRM + 1, CONFIRM + 2), CONFIRM))
        seen.listener(Measured(measurement(0, repetition=CONFIRM)))
        assert seen.shows("again", "1 of 3 measured")


def test_a_simulated_device_has_a_clock_of_its_own():
    seen = Watched(terminal=True, verify=True, devices=("sim:t4",))
    with seen.listener:
        seen.opened(replace(INFO, simulated=True))
        seen.began([replace(INFO, simulated=True)])
        seen.listener(Measured(measurement(0)))
        assert seen.shows("gemm", "1 case")
    assert "left" not in seen.text
    assert "checking" not in seen.text


def test_a_pipe_gets_plain_lines_ever_rarer():
    seen = Watched(terminal=False)
    with seen.listener:
        assert seen.text == "opening cpu\n"
        seen.opened()
        seen.began()
        for step in range(170):
            seen.clock.now += 1.0
            seen.listener(Measured(measurement(step)))
    lines = seen.text.splitlines()
    timed = [line for line in lines if " left" in line]
    assert timed[0] == "15 s, gemm, 15 cases, at most 2 min 43 s left"
    assert len(timed) == 11
    assert lines[-1] == "gemm       170 measured"
    soak = Watched(terminal=False, budget=BUDGETS["soak"])
    with soak.listener:
        soak.began()
        for step in range(3000):
            soak.clock.now += 1.0
            soak.listener(Measured(measurement(step)))
    assert soak.text.count(" left") == 10


def test_many_devices_are_told_in_short_and_a_lost_one_at_once():
    seen = Watched(terminal=False, devices=tuple(f"cuda:{index}" for index in range(8)))
    with seen.listener:
        assert seen.text == "opening cuda:0 to cuda:7\n"
        seen.listener(Failed("cuda:3", "has fallen off the bus"))
        seen.began([replace(INFO, id=f"cuda:{index}") for index in range(7)])
        seen.listener(Measured(measurement(0, validity="suspect")))
        seen.listener(Measured(measurement(1, skip="too large", seconds=())))
        seen.listener(Unreached("cpu", "gemm", 5, 9))
    assert "cuda:3 failed: has fallen off the bus" in seen.text
    assert "7 devices: Some CPU, 16 GiB of memory\n" in seen.text
    assert "gemm       1 measured, 1 skipped, 1 suspect, 5 not reached in 2 min 58 s" in seen.text
