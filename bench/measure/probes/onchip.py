"""How fast the memory inside a multiprocessor is: shared memory and L1, which no other multiprocessor can reach.

Every block re-reads a tile of its own, so that the rate is the sum over all multiprocessors. Caches that the whole
device shares are the bandwidth probe's; a CPU's caches are all measured there.
"""

from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import Device, Kernel
from bench.measure.probes import Cases, probe
from bench.measure.workloads import compare_sum
from bench.schema import Case, DeviceInfo, Setup

_TILE = 8192  # elements: 32 KiB of float32 per block of 1024 threads
_PASSES = 1 << 12
# Past every loop of the kernel: whole trips, the folding of its sums, and a remainder.
_CHECKED = _PASSES + 8 + 3


def read_twin(x, out, n, passes):
    out += passes * x.double().sum()


def kernel(channel: str) -> Kernel:
    return Kernel("onchip", f"{channel}_read", read_twin, elements=2, per_thread=_TILE // 1024, threads=1024)


@probe(version=1, title="Shared memory and L1")
def onchip(info: DeviceInfo, budget) -> Cases:
    """How fast are shared memory and L1, which no other multiprocessor can reach?

    bytes = multiprocessors × tiles × 32 KiB × passes. Bytes per clock = rate / clock / multiprocessors.
    """
    if not info.onchip:
        reason = "this device has no memory of a multiprocessor's own; its caches are the bandwidth probe's"
        yield Case(params={"memory": ""}, work=work.Work(), skip=reason)
    for channel, room in info.onchip.items():
        tiles = room // (4 * _TILE)
        elements = info.sms * tiles * _TILE
        yield Case(
            params={"memory": channel, "tiles": tiles, "passes": _PASSES},
            work=work.stream("read", elements, channel=channel, passes=_PASSES),
            prepare=partial(_prepare, channel, elements),
            saturates=channel,
            cache="hot",
        )


def _prepare(channel: str, elements: int, device: Device) -> Setup:
    run = device.load(kernel(channel))
    # to one sign, as in the bandwidth probe
    x, out = device.random(elements, dtype="float32").add_(1.0), device.empty(1, dtype="float64")
    return Setup([partial(run, x, out, elements, _PASSES)], partial(_check, partial(run, x, out, elements, _CHECKED)))


def _check(launch: Any) -> None:
    x, out, _, passes = launch.args
    out.zero_()
    launch()
    compare_sum("re-reading", out, passes * float(x.double().sum()))
