"""The timing loop against a device whose every answer is planted."""

from dataclasses import replace
from functools import partial

import pytest

from bench.measure.budget import BUDGETS
from bench.measure.device.protocol import CheckFailed, OutOfMemory, Sample, Unsupported
from bench.measure.device.sim import open_simulated
from bench.measure.timing import measure
from bench.schema import Case, Setup
from bench.work import Work

QUICK = replace(BUDGETS["quick"], case=0.03, headline=0.06)


class Planted:
    """A simulated device that times as told: `times` are seconds per launch, in order, the last one for ever."""

    world = rank = 1

    def __init__(self, times, after=None):
        self._device = open_simulated("sim:h200-sxm")[0]
        self.info = replace(self._device.info, simulated=False)
        self._times, self._clock, self.counts, self.world = list(times), 0.0, [], 1
        self._after = after

    def time(self, case, launches, count):
        self.counts.append(count)
        seconds = self._times.pop(0) if len(self._times) > 1 else self._times[0]
        self._clock += seconds * count
        if self._after:
            self._after(launches)
        return Sample(seconds, 1.5e9)

    def now(self):
        return self._clock

    def judge(self, telemetry, elapsed):
        return "suspect", ("planted",)

    def telemetry(self):
        return {"at_s": self._clock}

    def __getattr__(self, name):
        return getattr(self._device, name)


def case(launches=1, check=None, **more):
    setup = Setup([partial(int)] * launches, check)
    return Case(params={"x": 1}, work=Work(bytes=1.0), prepare=lambda device: setup, **more)


def test_a_steady_case_stops_when_its_median_is_known():
    found = measure(Planted([1e-4]), "p", 1, case(), QUICK)
    assert found.stop_reason == "median known to 0.5 %"
    assert len(found.seconds) == QUICK.min_samples
    assert found.launches == 10, "one sample is a millisecond, long against any clock"
    assert found.seconds[0] == 1e-4
    assert found.clock_hz == (1.5e9,) * QUICK.min_samples


def test_a_restless_case_stops_after_fifty_samples_or_its_share():
    restless = [1e-5, 2e-5] * 100
    found = measure(Planted(restless), "p", 1, case(), replace(QUICK, case=100.0))
    assert (len(found.seconds), found.stop_reason) == (50, "50 samples")
    found = measure(Planted([0.01, 0.02] * 100), "p", 1, case(), QUICK)
    assert found.stop_reason == "the case's share of the budget is spent"
    assert 1 <= len(found.seconds) < 20


def test_a_slow_case_is_measured_once():
    found = measure(Planted([5.0]), "p", 1, case(), QUICK)
    assert len(found.seconds) == 1
    assert found.launches == 1


@pytest.mark.parametrize("seconds", [1e-6, 1e-4], ids=["and calibration repeats", "beyond calibration"])
def test_every_buffer_is_touched_before_timing(seconds):
    device = Planted([seconds])
    measure(device, "p", 1, case(launches=37), QUICK)
    assert device.counts[0] == 1
    assert sum(device.counts[: -QUICK.min_samples]) >= 37


def test_the_first_launch_does_not_calibrate():
    """A cold first launch a thousand times slower must not leave samples a thousand times too short."""
    found = measure(Planted([1e-4, 1e-7]), "p", 1, case(), QUICK)
    assert found.launches == 10_000


def test_a_tail_gets_its_thousand_samples():
    found = measure(Planted([1e-4]), "p", 1, case(samples=1000), QUICK)
    assert len(found.seconds) == 1000
    assert found.launches == 1


def test_judgement_is_kept():
    found = measure(Planted([1e-4]), "p", 1, case(), QUICK)
    assert (found.validity, found.reasons) == ("suspect", ("planted",))


@pytest.mark.parametrize("error", [OutOfMemory("out of memory: 3 GiB"), Unsupported("no such dtype")])
def test_what_cannot_run_is_a_skip_with_its_reason(error):
    def prepare(device):
        raise error

    found = measure(Planted([1e-4]), "p", 1, replace(case(), prepare=prepare), QUICK)
    assert found.skip == str(error)
    assert found.seconds == ()


def test_a_wrong_result_is_invalid():
    def check():
        raise CheckFailed("off by 3")

    found = measure(Planted([1e-4]), "p", 1, case(check=check), QUICK)
    assert (found.validity, found.reasons) == ("invalid", ("wrong result: off by 3",))
    assert not found.usable


def test_a_library_that_refuses_costs_one_case():
    def prepare(device):
        raise RuntimeError("addmm not implemented for 'Half'\nand a long stack")

    found = measure(Planted([1e-4]), "p", 1, replace(case(), prepare=prepare), QUICK)
    assert found.reasons == ("RuntimeError: addmm not implemented for 'Half'",)
    assert found.validity == "invalid"


def test_a_broken_device_is_not_survived_in_process():
    def fault(launches):
        raise RuntimeError("device-side fault")

    device = Planted([1e-4], after=fault)
    device.synchronize = partial(fault, None)
    with pytest.raises(RuntimeError, match="device-side fault"):
        measure(device, "p", 1, case(), QUICK)


def test_skips_are_records():
    found = measure(Planted([1e-4]), "p", 1, case(skip="too large"), QUICK)
    assert (found.skip, found.stop_reason, found.seconds) == ("too large", "skipped", ())


def test_three_samples_outvote_a_stall():
    """One stall longer than the case's share must not become its median."""
    found = measure(Planted([1e-4, 1e-4, 0.009, 1e-4]), "p", 1, case(), QUICK)
    assert len(found.seconds) >= 3
    assert found.median == pytest.approx(1e-4)


def test_a_sample_in_doubt_makes_the_case_suspect():
    device = Planted([1e-4])
    device.time = lambda case, launches, count: Sample(1e-4, None, 7, "the stream ran dry")
    device.judge = lambda telemetry, elapsed: ("valid", ())
    found = measure(device, "p", 1, case(), replace(QUICK, max_samples=20))
    assert (found.validity, found.reasons, found.launches) == ("suspect", ("the stream ran dry",), 7)


def test_a_sustained_case_settles_before_it_counts():
    """Two windows of two seconds in samples of 100 ms, and the energy counter read around what counts."""
    device = Planted([1e-4])
    found = measure(device, "p", 1, case(regime="sustained"), QUICK, 2)
    assert found.regime == "sustained"
    assert len(found.seconds) == 40
    assert found.launches == 1000
    assert found.stop_reason == "clock and power level over 4.0 s"
    spent = found.telemetry["after"]["at_s"] - found.telemetry["before"]["at_s"]
    assert found.telemetry["launched"] * 1e-4 == pytest.approx(spent)
    assert spent >= 3.0, "or the energy counter's steps of 100 ms would show"


def test_what_comes_before_the_clock_has_settled_does_not_count():
    class Falling(Planted):
        def time(self, case, launches, count):
            self._times = [1e-4 * (1 + min(self._clock / 4, 0.8))]
            sample = super().time(case, launches, count)
            return Sample(sample.seconds, 2e9 / (1 + min(self._clock / 4, 0.8)))

    found = measure(Falling([1e-4]), "p", 1, case(regime="sustained"), QUICK, 2)
    assert min(found.seconds) > 1.75e-4
    assert not any("settled" in reason for reason in found.reasons)


def test_a_clock_that_never_settles_is_a_doubt():
    class Wandering(Planted):
        def time(self, case, launches, count):
            sample = super().time(case, launches, count)
            return Sample(sample.seconds, 1e9 * (1 + self._clock))

    found = measure(Wandering([1e-4]), "p", 1, case(regime="sustained"), QUICK, 2)
    assert any("the clock had not settled after" in reason for reason in found.reasons)


def test_a_missed_clock_stamp_costs_its_own_sample_only():
    """One miss in fifty once left the whole case without a clock."""

    class Missing(Planted):
        def time(self, case, launches, count):
            sample = super().time(case, launches, count)
            return replace(sample, clock_hz=None if len(self.counts) % 5 == 0 else 1.5e9)

    found = measure(Missing([1e-4]), "p", 1, case(), QUICK)
    assert 0 < len(found.clock_hz) < len(found.seconds)
    assert set(found.clock_hz) == {1.5e9}


def test_how_a_time_was_taken_is_told():
    device = Planted([1e-4])
    device.time = lambda case, launches, count: Sample(1e-4, None, 7, timing="graph" if count > 1 else "queued")
    assert measure(device, "p", 1, case(), QUICK).notes["timing"] == "graph"


def test_a_burst_case_that_computes_rests_between_its_samples():
    """Otherwise the clock that it is timed at would depend on what ran before it."""
    from bench.measure.timing import DUTY

    class Resting(Planted):
        rested = 0.0

        def rest(self, seconds):
            self.rested += seconds
            self._clock += seconds

    def found(work, regime="burst"):
        device = Resting([1e-4])
        device.info = replace(device.info, regime=regime)
        measure(device, "p", 1, replace(case(), work=work), QUICK)
        return device.rested / device.now()

    computes = Work(1e9, "tensor", "bfloat16", bytes=1e6)
    assert found(computes) == pytest.approx(1 - DUTY, abs=0.05)
    assert found(Work(bytes=1e6)) == 0
    assert found(Work(1e6, "vector", "float32", bytes=4e6)) == 0, "a stream that adds"
    assert found(computes, regime="steady") == 0
