"""What trials time: launches on a device with their case, in samples of a length."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from bench.measure.device.protocol import Kernel
from bench.measure.probes import bandwidth, peak
from bench.measure.workloads import matmul
from bench.schema import Case
from bench.work import MIXES, Work, fma_loop
from bench.work import stream as stream_work

# Seconds of one sample: long beside an interrupt, short beside the drift of a clock.
SAMPLE = 5e-3
MIB = 1 << 20

Launch = Callable[[], Any]


@dataclass(frozen=True)
class TimedLaunches:
    """Launches on a device under a case, as the timing loop has them."""

    device: Any
    launches: Sequence[Launch]
    work: Work = field(default_factory=Work)
    cache: str = "hot"
    timing: str = ""

    @cached_property
    def case(self) -> Case:
        return Case(params={}, work=self.work, cache=self.cache, timing=self.timing)

    def seconds(self, count: int) -> float:
        """Of one launch, by the device."""
        return self.device.time(self.case, self.launches, count).seconds

    def count(self, length: float = SAMPLE) -> int:
        """Launches that take about `length` seconds; each buffer is touched once on the way."""
        self.device.begin(self.case)
        self.seconds(len(self.launches))
        return max(1, round(length / self.seconds(max(2, len(self.launches)))))

    def sampler(self, length: float = SAMPLE) -> Callable[[], float]:
        """Takes samples of about that length: seconds of one launch."""
        return partial(self.seconds, self.count(length))


def plainly(device: Any, launch: Launch, count: int) -> float:
    """Seconds of one launch as anybody would time it: by events around a loop on a GPU, by a clock around it else."""
    if not device.info.sms:
        start = time.perf_counter()
        for _ in range(count):
            launch()
        return (time.perf_counter() - start) / count
    import torch

    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begun.record()
    for _ in range(count):
        launch()
    ended.record()
    torch.cuda.synchronize()
    return begun.elapsed_time(ended) / 1e3 / count


def stream(device: Any, mix: str, footprint: int, cache: str, ring: int = 0, store: str = "") -> TimedLaunches:
    """A mix of stream.c or stream.cu over `footprint` bytes a launch, on as many sets of buffers as the device asks."""
    words, _ = MIXES[mix]
    n = max(1024, footprint // (4 * words) // 1024 * 1024)
    # read as its probe loads it: with a tile per block its additions to one address would show (stream.cu)
    run = device.load(bandwidth.kernel(mix, store or device.info.stores[0], tiles=4 if mix == "read" else 1))
    scalars = {"triad": (0.75,), "scale": (0.75,), "write": (0.5,)}.get(mix, ())
    launches = []
    for _ in range(ring or device.rotation(4 * words * n, cache)):
        arrays = [device.random(n, dtype="float32") for _ in range(words if mix == "read" else words - 1)]
        out = device.empty(1, dtype="float64").zero_() if mix == "read" else device.empty(n, dtype="float32")
        launches.append(partial(run, *arrays, out, n, 1, *scalars))
    return TimedLaunches(device, launches, stream_work(mix, n), cache)


def chains(device: Any, steps: int, kernel: Kernel | None = None) -> TimedLaunches:
    """The float32 FMA loop of fma.c or fma.cu on all pipes, or another kernel of its signature."""
    n, dtype = device.info.loops["float32"], "float32"
    x, y = device.random(n, dtype=dtype), device.empty(n, dtype=dtype)
    run = device.load(kernel or peak.kernel(dtype))
    launch = partial(run, x, y, n, steps, peak.FACTOR[dtype], peak.OFFSET)
    return TimedLaunches(device, [launch], fma_loop(n, steps, dtype))


def steps(device: Any, length: float = SAMPLE) -> int:
    """FMAs in a row, a multiple of 32, that keep the float32 loop busy for about `length` seconds."""
    row = 1 << 12
    while (seconds := chains(device, row).seconds(2)) < length / 4:
        row *= 4
    return max(32, round(row * length / seconds / 32) * 32)


def products(device: Any, operands: Sequence[tuple[Any, Any, Any]], dtype: str) -> TimedLaunches:
    """The library's C = A B of equal sets of matrices A[m, k], B[k, n], C."""
    (m, k), n = operands[0][0].shape, operands[0][1].shape[1]
    demand = matmul.work_of(m, n, k, dtype, device.info.units.get(dtype, "vector"))
    return TimedLaunches(device, [matmul.launch(device, *matrices, dtype) for matrices in operands], demand)
