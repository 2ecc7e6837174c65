"""The headline cases themselves: the gate's own, each with a check that comes first, and none beyond physics."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from weakref import ref

import pytest

from bench.analysis.datasheet import datasheet
from bench.analysis.gate.metrics import metrics
from bench.gatekeeper import GateSession
from bench.measure.device.protocol import CheckFailed, DeviceError, Unsupported
from bench.measure.device.sim import open_simulated
from bench.measure.probes import probes
from bench.schema import Setup
from tests.hardware.headline import headline, names
from tests.hardware.rounds import GLANCE, Rounds
from tests.hardware.saved import unlike


class Told:
    """Hears what a clock would be told."""

    def __init__(self):
        self.seconds = []

    def advance(self, seconds):
        self.seconds.append(seconds)


def simulated(options: str = ""):
    return open_simulated(f"sim:h200-sxm{options}")[0]


def rounds_of(device, name: str) -> Rounds:
    return Rounds(device, headline(device.info, name), Told(), GLANCE)


def headlines(device):
    for name in names():
        try:
            yield name, headline(device.info, name)
        except Unsupported:
            continue


@pytest.mark.parametrize("own", [True, False], ids=["this device", "a simulated H200"])
def test_they_are_the_gates_cases(own, device, tmp_path):
    device = device if own else simulated()
    gating = {name for name, metric in metrics(device.info).items() if metric.gates}
    found = dict(headlines(device))
    assert found.keys() <= gating <= set(names())
    followed = GateSession(tmp_path, list(probes().values()), None).everything([device.info])
    assert len(found) >= 7
    assert {each.pin for each in found.values()} <= set(followed.cases[device.info.id])


def test_each_comes_with_a_check_of_its_result():
    device = simulated()
    for name, found in headlines(device):
        assert found.case.prepare(device).check is not None, name


def test_a_wrong_result_is_never_timed(device):
    if device.info.simulated:
        pytest.skip("a simulated device computes nothing that could be wrong")
    launched = []

    def prepared(_):
        return Setup([partial(launched.append, 1)], check=wrong)

    def wrong():
        raise CheckFailed("off by one")

    rounds = rounds_of(device, "memory.dram.read")
    rounds = replace(rounds, headline=replace(rounds.headline, case=replace(rounds.headline.case, prepare=prepared)))
    with pytest.raises(DeviceError, match="wrong result: off by one"):
        rounds.once()
    assert not launched
    assert not rounds.clock.seconds


def test_a_round_leaves_no_memory_behind(device):
    rounds, ready = rounds_of(device, "memory.dram.read"), []
    original = rounds.headline.case

    def prepared(place):
        setup = original.prepare(place)
        ready.append(ref(setup))
        return setup

    rounds = replace(rounds, headline=replace(rounds.headline, case=replace(original, prepare=prepared)))
    rounds.once()
    assert len(ready) == len(rounds.measured) == 1
    assert ready[0]() is None


@pytest.mark.parametrize(
    ("fault", "name"), [("dram=1.03", "memory.dram.read"), ("tensor.bfloat16=1.03", "gemm.bfloat16")]
)
def test_faster_than_the_datasheet_is_no_measurement(fault, name):
    rounds_of(simulated(f",{fault.replace('1.03', '1.01')}"), name).once()
    rounds = rounds_of(simulated(f",{fault}"), name)
    with pytest.raises(AssertionError, match="faster than the datasheet"):
        rounds.once()
    assert not rounds.clock.seconds


def test_a_gpu_that_may_clock_higher_may_be_faster():
    device = simulated()
    claimed = headline(device.info, "gemm.bfloat16").ceiling
    assert claimed == 989.4e12
    # the datasheet's tensor peak is at 1830 MHz
    device.info = replace(device.info, facts={**device.info.facts, "sm_clock_max_hz": "1980000000"})
    assert headline(device.info, "gemm.bfloat16").ceiling == pytest.approx(claimed * 1980 / 1830, rel=1e-3)
    assert headline(device.info, "memory.dram.read").ceiling == 4.8e12


def test_an_assumed_peak_is_no_ceiling():
    """A CPU's is assumed from its clock, and the clock is read with a stopwatch: beside other work it is read too low,
    and a loop that ran well was then called faster than the datasheet.
    """
    gpu = simulated().info
    facts = {"family": "zen4", "cores": "1", "clock_hz": "1e6"}
    host = replace(gpu, id="cpu", sku="", units=dict.fromkeys(gpu.units, "vector"), regime="steady", facts=facts)
    assert datasheet(host).find("vector.float32").rate < 1e9
    found = dict(headlines(SimpleNamespace(info=host)))
    assert "vector.float32.loop" in found
    assert {each.ceiling for each in found.values()} == {None}


def test_a_brake_makes_no_time():
    with pytest.raises(DeviceError, match="power brake"):
        rounds_of(simulated(",throttle=power_brake"), "gemm.bfloat16").once()


def test_a_saved_time_of_something_else_is_named():
    info = simulated().info
    identity = headline(info, "memory.dram.read").identity(info)
    test = "tests/hardware/test_headline.py::test_headline[memory.dram.read]"

    def saved(**other):
        benchmark = {"fullname": test, "extra_info": {**identity, "driver": "580", **other}}
        return [{"datetime": "2026-01-01T00:00:00", "benchmarks": [benchmark]}]

    assert unlike(identity, test, []) == ""
    assert unlike(identity, test, saved()) == ""
    assert unlike(identity, "another test", saved(device="AMD EPYC")) == ""
    assert "device was AMD EPYC and is simulated h200-sxm" in unlike(identity, test, saved(device="AMD EPYC"))
    assert "version was 0" in unlike(identity, test, saved(version=0))
    assert "params was" in unlike(identity, test, saved(params={**identity["params"], "bytes": 1}))
