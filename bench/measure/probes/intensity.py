"""Where memory stops binding and arithmetic starts: one kernel with ever more FMAs per element it reads and writes.

The ridge is usually quoted as peak over bandwidth; here it is also seen, as the knee of one kernel family's FMA sweep.
"""

from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device, Kernel
from bench.measure.probes import Cases, probe
from bench.measure.probes.bandwidth import dram_bytes
from bench.measure.probes.peak import FACTOR, OFFSET, check_chain, fma_twin
from bench.measure.workloads import ring
from bench.schema import Case, DeviceInfo, Setup

# FMAs per element; an element read and written makes the intensity one over its size of it in FLOP/B.
RUNGS = (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
# Two neighbouring rungs in a row that gain less than this over the best before lie on the plateau.
_PLATEAU = 0.02


def kernel(dtype: str) -> Kernel:
    # four 16-byte loads lead the arithmetic of every thread
    return Kernel("ladder", f"ladder_{dtype}", fma_twin, elements=2, per_thread=64 // work.ITEMSIZE[dtype])


@probe(version=3, title="FMA sweep")
def intensity(info: DeviceInfo, budget) -> Cases:
    """At which arithmetic intensity does memory stop binding and arithmetic start?

    flops = 2 × elements × FMAs; bytes = 2 × elements × size, so intensity = FMAs / size of an element.
    """
    for dtype in info.ladders:
        elements = dram_bytes(info) // (2 * work.ITEMSIZE[dtype]) // 4096 * 4096
        before, flat = 0.0, 0
        # a knee needs six rungs, so a coarse pass takes every second one and no fewer; as do the later dtypes
        stride = 1 if budget.whole and dtype == info.ladders[0] else 2
        for fmas in RUNGS[::stride]:
            demand = work.ladder(elements, fmas, dtype)
            seconds = yield Case(
                params={"dtype": dtype, "fmas": fmas, "elements": elements},
                work=demand,
                prepare=partial(_prepare, dtype, elements, fmas, demand.bytes),
                # only who has the time sees the later dtypes more than once: a knee without an interval
                repeat=dtype == info.ladders[0] or budget.long,
            )
            reached = demand.flops / seconds if seconds else 0.0
            flat = flat + 1 if fmas > 16 and reached < before * (1 + _PLATEAU) else 0
            before = max(before, reached)
            if flat * stride >= 2:
                break


def _prepare(dtype: str, elements: int, fmas: int, size: float, device: Device) -> Setup:
    run = device.load(kernel(dtype))

    def make(device: Device) -> partial:
        x, y = device.random(elements, dtype=dtype), device.empty(elements, dtype=dtype)
        return partial(run, x, y, elements, fmas, FACTOR[dtype], OFFSET)

    return ring(make, _check, size, None, device)


def _check(launch: Any) -> None:
    x, y, _, fmas, a, b = launch.args
    y.fill_(float("nan"))
    launch()
    check_chain(x[-4096:], y[-4096:], fmas, a, b, roundings=fmas + 1)
    if bool(y.sum().isnan()):
        raise CheckFailed("the ladder left elements unwritten")
