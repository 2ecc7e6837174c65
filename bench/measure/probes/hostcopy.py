"""How fast bytes cross the host link: to the device, back, and both at once, from pinned and from pageable memory.

Counted is the payload, once per direction. The host buffers lie on the NUMA node that the device hangs on. A pageable
copy goes through the driver's own pinned buffers in steps of the host's, so its time is taken around freely queued
copies; a pinned one is queued behind a held stream and the host is out of it.

Where there are several devices each link is measured alone, while others copy only if they hang on other roots of the
PCIe tree, and once more with all at once: what a switch, the host's memory or its processors' link leaves of it then.
Only alone does a copy claim the link's roof.
"""

from functools import partial
from typing import Any

from bench.measure.device.protocol import CheckFailed, Device
from bench.measure.probes import Cases, probe
from bench.schema import Case, DeviceInfo, Setup
from bench.work import Work

PATHS = ("h2d", "d2h", "duplex")
SIZES = tuple(2**p for p in range(12, 30))
# The size of a small message, whose copy is waited for.
_SMALL = 8
_CHECKED = 1 << 16


@probe(version=2, alone=True, title="Host link")
def hostcopy(info: DeviceInfo, budget) -> Cases:
    """How fast do bytes cross to the device and back?

    bytes = payload, once per direction; the link's claim is its lane rate less the encoding. Pinned copies are
    queued behind a held stream; pageable ones, which the host makes in steps, are timed freely queued.
    """
    sizes = budget.thin([size for size in SIZES if size <= info.memory_bytes // 16])
    if info.company:
        for path in PATHS if info.host_memory else ():
            yield _case(path, info.host_memory[0], sizes[-1], company=info.company)
        return
    if not info.host_memory:
        yield Case(params={"path": ""}, work=Work(), skip="this device has no link to the host: it is the host")
    for memory in info.host_memory:
        for path in PATHS:
            for size in sizes:
                claims = memory == info.host_memory[0] and size == sizes[-1]
                # duplex waits for two streams, which no pageable copy does without the host
                if path != "duplex" or memory == info.host_memory[0]:
                    yield _case(path, memory, size, claims=claims)
    for path in PATHS[:2]:
        for memory in info.host_memory:
            params = {"path": path, "memory": memory, "bytes": _SMALL, "waited": True}
            prepare = partial(_prepare, path, memory, _SMALL)
            yield Case(params=params, work=Work(), prepare=prepare, cache="hot", timing="synchronous", repeat=True)


def _case(path: str, memory: str, size: int, claims: bool = False, company: str = "") -> Case:
    return Case(
        params={"path": path, "memory": memory, "bytes": size} | ({"company": company} if company else {}),
        work=Work(bytes=float(size * (2 if path == "duplex" else 1)), channel=path),
        prepare=partial(_prepare, path, memory, size),
        saturates=path if claims else "",
        cache="hot",
        timing="" if memory == "pinned" else "back to back",
        family=f"{path} {memory}",
    )


def _prepare(path: str, memory: str, size: int, device: Device) -> Setup:
    count = size // 4
    pairs = []
    for direction in ("h2d", "d2h") if path == "duplex" else (path,):
        host, own = device.host(count, dtype="float32", memory=memory), device.random(count, dtype="float32")
        # other data on each side, so that a copy that did nothing shows; drawing it on the host would take a second
        host.copy_(own)
        own.mul_(-1.0)  # not neg_(), which loads torch's compiler where tensors have no memory
        pairs.append((own, host) if direction == "h2d" else (host, own))
    copies = [partial(_copy, target, source) for target, source in pairs]
    launch = copies[0] if len(copies) == 1 else device.duplex(*copies)
    return Setup([launch], partial(_check, launch, pairs, device))


def _copy(target: Any, source: Any) -> None:
    target.copy_(source, non_blocking=True)


def _check(launch: Any, pairs: list, device: Device) -> None:
    device.synchronize()
    launch()
    device.synchronize()
    for target, source in pairs:
        # both ends and the middle: to compare all of it on the host would take longer than the case
        length = target.numel()
        for begin in (0, length // 2, max(length - _CHECKED, 0)):
            part = slice(begin, begin + _CHECKED)
            if not bool((target[part].cpu() == source[part].cpu()).all()):
                raise CheckFailed("the copy differs from its source")
