"""Every CUDA body against its twin on fresh random inputs and poisoned outputs, where there is a GPU."""

import pytest

from bench.budget import BUDGETS
from bench.device import Unsupported, cuda
from bench.measure import measure
from bench.probes import describe, probes
from bench.session import kernels

GPU = bool(cuda.visible())
pytestmark = pytest.mark.skipif(not GPU, reason="needs an NVIDIA GPU")
# Probes whose cases run a body of kernels/; each case's own check poisons its output and compares it with the twin.
OWN = ("bandwidth", "onchip", "latency", "peak", "intensity", "launch")


@pytest.fixture(scope="module")
def device():
    found = cuda.CudaDevice(0, seed=7)
    yield found
    found.close()


def planned():
    """One case of each kernel body, the smallest that the plan has."""
    if not GPU:
        return []
    info = cuda.CudaDevice(0).info
    found = {}
    for name in OWN:
        for case in describe(info, probes()[name], BUDGETS["quick"]):
            key = (
                name,
                *(str(case.params.get(word, "")) for word in ("kind", "mix", "memory", "dtype", "instruction")),
            )
            settings = tuple(sorted((k, str(v)) for k, v in case.params.items() if k in ("unroll", "hint", "width")))
            found.setdefault((*key, *settings), case)
    return [pytest.param(name, case, id="-".join(map(str, key))) for (name, *key), case in found.items()]


@pytest.mark.parametrize(("name", "case"), planned())
def test_a_body_does_what_its_twin_does(device, name, case):
    if case.skip:
        pytest.skip(case.skip)
    try:
        setup = case.prepare(device)
    except Unsupported as error:
        pytest.skip(str(error))
    setup.launches[0]()
    device.synchronize()
    if setup.check:
        setup.check()  # raises CheckFailed


def test_every_body_of_the_plan_loads(device):
    for kernel in kernels(device.info, [probes()[name] for name in OWN], BUDGETS["quick"]):
        device.load(kernel)


def test_the_clock_is_read_within_the_chips_range(device):
    case = next(c for c in describe(device.info, probes()["peak"], BUDGETS["quick"]) if not c.skip)
    found = measure(device, "peak", 2, case, BUDGETS["quick"])
    assert found.clock_hz
    assert all(3e8 < hertz < 1.1 * float(device.info.facts.get("sm_clock_max_hz", 3e9)) for hertz in found.clock_hz)
