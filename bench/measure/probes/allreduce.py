"""How fast ranks sum an array together: bus bandwidth over size, latency and its tail, per algorithm.

busbw = 2 (n-1)/n * size / time is a ring's traffic (NCCL-tests, doc/PERFORMANCE.md), so only the ring claims `link`.
What a library chooses by itself may reduce in the switch (NVLS): the wire then carries (n+1)/n of the array and busbw
may exceed it, so those cases count as the `fabric`'s, which has no roof.
"""

from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device
from bench.measure.probes import Cases, probe
from bench.schema import Case, DeviceInfo, Setup

SIZES = tuple(2**p for p in range(10, 34))
_TAIL = 512 * 1024  # up to here a size is repeated 1,000 times, so that p99 means something


@probe(version=1, together=True, title="All-reduce")
def allreduce(info: DeviceInfo, budget) -> Cases:
    """How fast do ranks sum an array together?

    bytes on each link = 2 (n−1)/n × size, as a ring moves them. Bus bandwidth is that over time for every algorithm
    (NCCL-tests), so that algorithms compare; only the ring claims the link's roof. α and β: time = α + size / β
    (Hockney), relative least squares over all sizes of an algorithm.
    """
    if info.ranks < 2:
        yield Case(params={"ranks": info.ranks}, work=work.Work(), skip="one device: nothing to reduce with")
        return
    for algorithm in info.algorithms:
        channel = "link" if algorithm == "ring" else "fabric"
        fitting = [size for size in SIZES if size <= info.memory_bytes // 8]
        for size in budget.thin(fitting):
            yield Case(
                params={"algorithm": algorithm, "ranks": info.ranks, "bytes": size},
                work=work.all_reduce(size, info.ranks, channel),
                prepare=partial(_prepare, size, algorithm),
                saturates="link" if channel == "link" and size == fitting[-1] else "",
                cache="hot",
                samples=1000 if size <= _TAIL else 0,
            )


def _prepare(size: int, algorithm: str, device: Device) -> Setup:
    tensor = device.random(size // 4, dtype="float32")
    launch = device.all_reduce(tensor, algorithm)
    return Setup([launch], partial(_check, launch, tensor, device), notes={"algorithm": algorithm})


def _check(launch: Any, tensor: Any, device: Device) -> None:
    # every rank contributes rank + 1: exact in float32, and wrong if any rank is missing or counted twice
    tensor.fill_(device.rank + 1)
    launch()
    device.synchronize()
    expected = device.world * (device.world + 1) / 2
    if not bool((tensor == expected).all()):
        raise CheckFailed(f"all-reduce gave {float(tensor.flatten()[0])}, not {expected}")
    # Repeated in-place sums of anything else overflow within a hundred launches. Links carry zeros no faster; only
    # power would differ, and a link is not limited by it.
    tensor.zero_()
