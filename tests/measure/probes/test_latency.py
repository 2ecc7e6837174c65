"""What a chase meets before it counts, and that one which leaves its cycle is found."""

import pytest

from bench.measure.device import cpu
from bench.measure.device.protocol import CheckFailed
from bench.measure.probes import latency as probe
from tests.measure.verify.virtual import Faulty

FOOTPRINT, HOPS = 1 << 14, 1 << 15


class Counting(Faulty):
    """The hops of each chase, by the kernel's twin; `lost`: how many of them it does not make."""

    def __init__(self, device, lost=0):
        super().__init__(device)
        self.hops, self._lost = [], lost

    def load(self, kernel):
        def run(lines, at, n, hops):
            self.hops.append(hops)
            kernel.twin(lines, at, n, hops - self._lost)

        return run


@pytest.fixture(scope="module")
def device():
    return cpu.open_cpu(seed=1)


@pytest.mark.parametrize("cached", [True, False])
def test_what_a_cache_serves_is_walked_once_around_before_it_counts(device, cached):
    counting = Counting(device)
    setup = probe._prepare(FOOTPRINT, HOPS, cached, counting)
    assert counting.hops == [FOOTPRINT // probe.LINE] * cached
    setup.check()


def test_a_chase_that_stops_early_is_found(device):
    with pytest.raises(CheckFailed, match="left its cycle"):
        probe._prepare(FOOTPRINT, HOPS, False, Counting(device, lost=1)).check()
