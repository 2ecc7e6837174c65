"""How long one load takes to come back: a pointer chase over ever larger working sets, level by level.

One thread follows a random cycle over lines of 128 bytes, so that nothing can be fetched ahead and every load waits for
the one before. A chase goes on where the last one stopped; else a launch would find the lines of the one before it.
"""

from functools import partial
from typing import Any

from bench.measure.device.protocol import CheckFailed, Device, Kernel
from bench.measure.probes import Cases, probe
from bench.schema import Case, DeviceInfo, Setup
from bench.work import Work

LINE = 128
# A set that fits in a few kilobytes is walked so often that its first, cold walk does not show.
_ROUNDS, _LEAST = 512, 1 << 15


def chase_twin(lines, at, n, hops):
    """Follows the addresses as the kernels do, one by one on the host."""
    base, following = lines.data_ptr(), lines.view(-1, LINE // 8)[:, 0].tolist()
    here = int(at)
    for _ in range(hops):
        here = following[(here - base) // LINE]
    at.fill_(here)


def kernel() -> Kernel:
    return Kernel("chase", "chase", chase_twin, elements=2, per_thread=1, threads=32)


@probe(version=1, title="Memory latency")
def latency(info: DeviceInfo, budget) -> Cases:
    """How long does one load take that waits for the one before?

    One thread follows addresses around a random cycle over lines of 128 bytes; latency = time / hops, cycles =
    latency × clock. A level's plateau is the median over working sets from four times the level below to half of
    the level.
    """
    # powers of two with a step between, from 4 KiB to far beyond the last level: TLBs go on to show there
    beyond = max(min(1 << 30, info.memory_bytes // 64), 8 * info.last_level)
    sizes = [size for power in range(12, beyond.bit_length()) for size in (1 << power, 3 << (power - 1))]
    for footprint in budget.thin(sizes[:-1]):
        hops = max(_LEAST, min(_ROUNDS * footprint // LINE, 1 << 18)) if footprint <= 1 << 18 else _LEAST
        prepare = partial(_prepare, footprint, hops, footprint <= 2 * info.last_level)
        yield Case(params={"bytes": footprint, "hops": hops}, work=Work(), prepare=prepare, cache="hot")


def _prepare(footprint: int, hops: int, cached: bool, device: Device) -> Setup:
    lines = device.empty(footprint // 8, dtype="int64").zero_()  # whole lines, or their rest would be fetched later
    addresses = cycle(lines)
    at = device.empty(1, dtype="int64")
    at.copy_(addresses[:1])
    run = device.load(kernel())
    if cached:
        run(lines, at, 1, len(addresses))  # a cache answers for what it has seen: once around before it counts
    return Setup([partial(run, lines, at, 1, hops)], partial(_check, partial(run, lines, at, 1, 1000), addresses))


def cycle(lines: Any) -> Any:
    """Addresses of all lines in the order of one random cycle, each line pointing at the next.

    Where there is no memory, a tensor of that length: torch would load its compiler, for seconds, to compute more.
    """
    import torch

    order = torch.randperm(lines.numel() // (LINE // 8), device=lines.device)
    if lines.is_meta:
        return order
    addresses = lines.data_ptr() + LINE * order
    lines.view(-1, LINE // 8)[order, 0] = addresses.roll(-1)
    return addresses


def _check(launch: Any, addresses: Any) -> None:
    """A thousand hops and three end where the cycle says."""
    lines, at, *_ = launch.args
    at.copy_(addresses[:1])
    launch()
    launch.func(lines, at, 1, 3)
    if int(at) != int(addresses[1003 % len(addresses)]):
        raise CheckFailed("the chase left its cycle")
