"""Timings for trials: launches with their case, lengths of samples, and pairs taken in turns.

Both halves of a pair are taken next to each other and the order of the halves alternates, so that a machine that
drifts drifts through both.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.measure.device.protocol import Kernel
from bench.measure.probes import bandwidth, peak
from bench.schema import Case
from bench.work import Work

# Seconds of one sample: long beside an interrupt, short beside the drift of a clock.
SAMPLE = 5e-3
MIB = 1 << 20


@dataclass(frozen=True)
class Timed:
    """Launches under a case, as the timing loop has them."""

    case: Case
    launches: Sequence[Callable[[], Any]]

    def seconds(self, device: Any, count: int) -> float:
        """Of one launch, by the device."""
        return device.time(self.case, self.launches, count).seconds

    def count(self, device: Any, length: float = SAMPLE) -> int:
        """Launches that take about `length` seconds; each buffer is touched once on the way."""
        device.begin(self.case)
        self.seconds(device, len(self.launches))
        return max(1, round(length / self.seconds(device, max(2, len(self.launches)))))


def timed(
    launches: Sequence[Callable[[], Any]], work: Work | None = None, cache: str = "hot", timing: str = ""
) -> Timed:
    return Timed(Case(params={}, work=work or Work(), cache=cache, timing=timing), launches)


def ratios(rounds: int, one: Callable[[], float], other: Callable[[], float]) -> list[float]:
    """one() / other() of each round, the two taking turns to be first."""
    found = []
    for number in range(rounds):
        if number % 2:
            second = other()
            first = one()
        else:
            first = one()
            second = other()
        found.append(first / second)
    return found


def stream(device: Any, mix: str, footprint: int, cache: str, ring: int = 0, store: str = "") -> Timed:
    """A mix of stream.c or stream.cu over `footprint` bytes a launch, on as many sets of buffers as the device asks."""
    words, _ = bandwidth.work.MIXES[mix]
    n = max(1024, footprint // (4 * words) // 1024 * 1024)
    # read as its probe loads it: with a tile per block its additions to one address would show (stream.cu)
    run = device.load(bandwidth.kernel(mix, store or device.info.stores[0], tiles=4 if mix == "read" else 1))
    launches = []
    for _ in range(ring or device.rotation(4 * words * n, cache)):
        arrays = [device.random(n, dtype="float32") for _ in range(words if mix == "read" else words - 1)]
        out = device.empty(1, dtype="float64").zero_() if mix == "read" else device.empty(n, dtype="float32")
        launches.append(
            partial(run, *arrays, out, n, 1, *({"triad": (0.75,), "scale": (0.75,), "write": (0.5,)}.get(mix, ())))
        )
    return timed(launches, bandwidth.work.stream(mix, n), cache)


def chains(device: Any, steps: int, dtype: str = "float32", kernel: Kernel | None = None) -> Timed:
    """The FMA loop of fma.c or fma.cu on all pipes, or another kernel of its signature."""
    n = device.info.loops[dtype]
    x, y = device.random(n, dtype=dtype), device.empty(n, dtype=dtype)
    run = device.load(kernel or peak.kernel(dtype))
    return timed(
        [partial(run, x, y, n, steps, peak.FACTOR[dtype], peak.OFFSET)], bandwidth.work.fma_loop(n, steps, dtype)
    )


def steps(device: Any, length: float = SAMPLE) -> int:
    """FMAs in a row, a multiple of 32, that keep the float32 loop busy for about `length` seconds."""
    found = 1 << 12
    while (seconds := chains(device, found).seconds(device, 2)) < length / 4:
        found *= 4
    return max(32, round(found * length / seconds / 32) * 32)


def shuffled(rounds: int, size: int) -> Iterator[list[int]]:
    """An order of `size` things for each round, every one once in each place over `size` rounds."""
    for number in range(rounds):
        yield [(number + each) % size for each in range(size)]
