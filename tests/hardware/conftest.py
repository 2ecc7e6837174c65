"""One device for the session, and the clock that pytest-benchmark reads: the device's own seconds, not the host's.

Nothing here is private to pytest-benchmark: its marker takes a timer, its hook shows what a run is compared with.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bench.measure import exclusive
from bench.measure.device.cpu import pinned_environment
from bench.measure.device.open import open_device, resolve
from bench.measure.device.protocol import Device, DeviceError
from bench.measure.device.sim import open_simulated

SAVED = pytest.StashKey[list]()
# Seconds to wait for a Run that has the machine: a standard one takes less.
PATIENCE = 300.0


def pytest_addoption(parser):
    parser.addoption(
        "--hardware-device",
        metavar="DEVICE",
        help="what tests/hardware measures: cuda:N, a UUID, cpu or sim:SKU (the first GPU if there is one, else cpu)",
    )


def pytest_benchmark_compare_machine_info(config, compared_benchmark):
    """Keeps what this run is compared with, so that a test can refuse to be compared with something else."""
    config.stash.setdefault(SAVED, []).append(compared_benchmark)


class Clock:
    """A timer that stands still but for what it is told; from zero in each round, so that no digit is rounded away."""

    def __init__(self):
        self._seconds = 0.0

    def device_seconds(self) -> float:
        return self._seconds

    def reset(self) -> None:
        self._seconds = 0.0

    def advance(self, seconds: float) -> None:
        self._seconds += seconds


@pytest.fixture
def clock(request) -> Clock:
    """Ask for it before `benchmark`, which reads its marker when it is made."""
    found = Clock()
    request.node.add_marker(pytest.mark.benchmark(timer=found.device_seconds))
    return found


@pytest.fixture(scope="session")
def device(request) -> Iterator[Device]:
    """The device under test; it gives its memory back when the session ends, each case's goes when it is measured."""
    # a run of more than this folder has collected it too late for pytest to know its options
    name = request.config.getoption("hardware_device", default=None)
    with ExitStack() as stack:
        try:
            found = _opened(name, request.config.getoption("benchmark_enable"), stack)
        except (DeviceError, exclusive.MachineBusy) as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
        stack.callback(found.close)
        yield found


def _opened(name: str | None, measuring: bool, stack: ExitStack) -> Device:
    """A device by its name. measuring: alone on its machine, and a CPU with the threads that the suite's own processes
    have; the other tests only look whether results are right.
    """
    if name and name.startswith("sim:"):
        return open_simulated(name)[0]
    if measuring:
        stack.enter_context(exclusive.exclusive(PATIENCE))
    if measuring and name == "cpu":
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        # too late once torch is loaded, and whoever asks for GPUs loads it
        for key, value in pinned_environment().items():
            patch.setenv(key, value)
    return open_device(resolve(name or "auto")[0])


@pytest.fixture(scope="session")
def saved(request) -> list:
    """The saved runs that this one is compared with, newest last."""
    return request.config.stash.get(SAVED, [])
