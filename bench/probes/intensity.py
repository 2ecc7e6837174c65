"""Where memory stops binding and arithmetic starts: one kernel with ever more FMAs per element it reads and writes.

The ridge is usually quoted as peak over bandwidth; here it is also seen, as the knee of one kernel family's ladder.
"""

from functools import partial
from typing import Any

from bench import work
from bench.device import CheckFailed, Device, Kernel
from bench.probes import Cases, probe
from bench.probes.bandwidth import dram_bytes
from bench.probes.peak import FACTOR, OFFSET, fma_twin
from bench.schema import Case, DeviceInfo, Setup

# FMAs per element; a float32 read and written makes the intensity a quarter of it in FLOP/B.
RUNGS = (0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
# Two neighbouring rungs in a row that gain less than this over the best before lie on the plateau.
_PLATEAU = 0.02

KERNEL = Kernel("ladder", "ladder", fma_twin, elements=2, per_thread=16)


@probe(version=1)
def intensity(info: DeviceInfo, budget) -> Cases:
    """The FMA ladder: performance over arithmetic intensity, from a copy up to the compute plateau."""
    elements = dram_bytes(info) // 8 // 1024 * 1024
    before, flat = 0.0, 0
    # a knee needs six rungs, so a thin budget takes every second one and no fewer
    stride = min(budget.density, 2)
    for fmas in RUNGS[::stride]:
        seconds = yield Case(
            params={"fmas": fmas, "elements": elements},
            work=work.ladder(elements, fmas),
            prepare=partial(_prepare, elements, fmas),
            repeat=True,
        )
        reached = work.ladder(elements, fmas).flops / seconds if seconds else 0.0
        flat = flat + 1 if fmas > 16 and reached < before * (1 + _PLATEAU) else 0
        before = max(before, reached)
        if flat * stride >= 2:
            return


def _prepare(elements: int, fmas: int, device: Device) -> Setup:
    run = device.load(KERNEL)
    launches = []
    for _ in range(device.rotation(8 * elements, "cold")):
        x, y = device.random(elements, dtype="float32"), device.empty(elements, dtype="float32")
        launches.append(partial(run, x, y, elements, fmas, FACTOR["float32"], OFFSET))
    return Setup(launches, partial(_check, launches[-1]))


def _check(launch: Any) -> None:
    import torch

    x, y, n, fmas, a, b = launch.args
    y.fill_(float("nan"))
    launch()
    part = slice(-4096, None)
    wide = torch.empty_like(x[part], dtype=torch.float64)
    fma_twin(x[part].double(), wide, n, fmas, a, b)
    error, allowed = float((y[part].double() - wide).abs().max()), (fmas + 1) * 1.2e-7
    if not error <= allowed:
        raise CheckFailed(f"{fmas} FMAs per element are off by {error:.2g} (allowed {allowed:.2g})")
    if bool(torch.isnan(y.sum())):
        raise CheckFailed("the ladder left elements unwritten")
