"""How fast bytes move: six mixes of loads and stores, inside each cache and far beyond the last one.

Counting is STREAM's: read n, write n, copy and scale 2n, add and triad 3n bytes; what a write-allocate policy fetches
on top is not counted, so plain stores on a CPU read about two thirds of the bus. The largest size, at least eight
last-level caches per launch, claims `dram`; every roof is the envelope over the mixes. Where a kernel has settings
worth a search (width, loads in flight, cache hints, grid), each mix tries one after the other and keeps the fastest;
the winner's settings stand among its params.

Bytes written count when they are stored, and reach DRAM later. A ring in its stride drives out as many dirty lines as
it makes, so only the ends of a sample can differ: lines that were dirty as it began may have left in the pause before
it, and up to a last level of lines is still dirty as it ends. A sample that claims `dram` therefore writes 200 times
what the last level holds, and the difference stays below 0.5 %.

The last level's roof is searched too where loads have cache hints: the default policy, no allocation in L1, and past
L1, which compiles to a load that is coherent over the whole GPU and may be slower; then smaller working sets, because
a last level of two halves (A100, H100, B200) reads faster what lies in the near one. The winner is measured again and
claims the roof, its hint and its size among its params.
"""

import math
from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import CheckFailed, Device, Kernel
from bench.measure.probes import Cases, probe
from bench.schema import Case, DeviceInfo, Setup

_GRAIN = 1024  # elements: every body handles whole blocks of them, so no tail is tested inside the loop


def _read(x, out, n, passes):
    out += passes * x.sum()


def _write(y, n, passes, value):
    import torch

    y.view(-1, 16).copy_(value + torch.arange(16, dtype=y.dtype, device=y.device))


def _copy(x, y, n, passes):
    y.copy_(x)


def _scale(x, y, n, passes, a):
    import torch

    torch.mul(x, a, out=y)


def _add(x, z, y, n, passes):
    import torch

    torch.add(x, z, out=y)


def _triad(x, z, y, n, passes, a):
    import torch

    torch.add(x, z, alpha=a, out=y)


_TWINS = {"read": _read, "write": _write, "copy": _copy, "scale": _scale, "add": _add, "triad": _triad}
_INPUTS = {"read": 1, "write": 0, "copy": 1, "scale": 1, "add": 2, "triad": 2}
_SCALARS = {"write": (0.5,), "scale": (0.75,), "triad": (0.75,)}


# Settings of stream.cu that a mix does not have: nothing to load, nothing to store.
_FOREIGN = {"read": ("STORE",), "write": ("HINT",)}
# A setting that gains less than this is no better than the default: one look at each cannot tell.
_GAIN = 0.005
# Most of the bytes written by a sample that may not have reached DRAM by its end.
_DIRTY = 0.005
# Ways to load what is re-read out of the last level, where stream.cu is tuned by them; its default first.
_HINTS = (".cg", "", ".L1::no_allocate")
# Bytes of a block's tile (256 threads x 4 loads x 16 bytes), of which each multiprocessor should get equally many.
_TILE = 16 << 10
# What the settings are called among the params; STORE is a hint, and `store` a kind of store.
_CALLED = {"HINT": "load_hint", "STORE": "store_hint"}
# Not a define but the grid: blocks per multiprocessor that walk over the tiles, 0 for a block per tile.
WAVES = "WAVES"

Tuning = Mapping[str, int | str]


def kernel(mix: str, store: str = "default", tuning: Tuning | None = None, tiles: int = 1) -> Kernel:
    """The device code of one mix, `tiles` of them a block; "plain" stores are a body of their own where the host has
    streaming ones.
    """
    function = f"{mix}_plain" if store == "plain" and mix != "read" else mix
    arrays = 2 if mix == "read" else _INPUTS[mix] + 1
    tuning = tuning or {}
    defines = tuple((name, value) for name, value in tuning.items() if name not in (WAVES, "THREADS"))
    return Kernel(
        "stream",
        function,
        _TWINS[mix],
        elements=arrays,
        per_thread=tiles * tuning.get("UNROLL", 4) * tuning.get("WIDTH", 16) // 4,
        threads=tuning.get("THREADS", 256),
        defines=defines,
        waves=tuning.get(WAVES, 0),
    )


# "copy 2, scale 2 and 1 flop, ...", as work.MIXES counts
_COUNTED = ", ".join(
    f"{mix} {words}" + (f" and {flops} flop{'s' * (flops > 1)}" if flops else "")
    for mix, (words, flops) in work.MIXES.items()
)


@probe(
    version=3,
    title="Memory bandwidth",
    question="How fast do bytes move, in every cache and beyond?",
    formula=f"Words moved per element: {_COUNTED}. Bytes = words × elements × size of an element × passes.",
)
def bandwidth(info: DeviceInfo, budget) -> Cases:
    """Memory bandwidth by mix and working set: each cache level as a plateau, and the DRAM roof.

    Hot cases re-read a working set in place; cold ones touch more than four last-level caches before coming back.
    """
    # Sizes are powers of two of bytes per launch; the one that claims the roof depends on no budget.
    largest = dram_bytes(info)
    # each mix is looked at twice, some seconds apart, before one of them wins the roof
    tuned = {}
    for mix in work.MIXES:
        tuned[mix] = yield from _tuned(info, budget, mix, largest)
    for mix in work.MIXES:
        yield _cold(info, mix, largest, info.stores[0], saturates="dram", tuning=tuned[mix])
    for store in info.stores[1:]:
        for mix in work.MIXES:
            if mix != "read":  # nothing is stored
                yield _cold(info, mix, largest, store)
    sizes = [largest >> shift for shift in range(12, 0, -1) if largest >> shift >= 1 << 20]
    # the smallest moves next to nothing: its time is the launch's own
    for footprint in [8 * _GRAIN, *budget.thin(sizes)]:
        yield _cold(info, "copy", footprint, info.stores[0])

    # Streaming stores leave the cache by design, so inside the caches the last kind of store counts.
    store = info.stores[-1]
    claims: dict[int, tuple[str, Tuning]] = {
        _claiming(info, index): (cache.name, {}) for index, cache in enumerate(info.caches)
    }
    if "HINT" in info.tuning.get("stream", {}) and info.caches:
        name, _ = claims.popitem()[1]
        footprint, tuning = yield from _nearest(info, store)
        claims[footprint] = name, tuning
    for footprint in sorted({*claims, *budget.thin(_hot_sizes(info))}):
        yield _hot(info, "read", footprint, store, *claims.get(footprint, ()))
    for mix in ("copy", "triad"):
        for footprint, claim in claims.items():
            yield _hot(info, mix, footprint, store, *claim)


def _nearest(info: DeviceInfo, store: str) -> Generator[Case, float | None, tuple[int, Tuning]]:
    """(working set, settings) that the last level is read fastest with: every hint with every size, the default first.

    All of them, because the best hint may depend on the size.
    """
    sizes, hints = _near_sizes(info), [hint for hint in _HINTS if hint in info.tuning["stream"]["HINT"]]
    name = info.caches[-1].name
    best, fastest = (sizes[0], {"HINT": hints[0]}), 0.0
    for hint in hints:
        for footprint in sizes:
            case = _hot(info, "read", footprint, store, tuning={"HINT": hint})
            seconds = yield replace(case, search=name)
            if seconds and case.work.bytes / seconds > fastest * (1 + _GAIN):
                best, fastest = (footprint, {"HINT": hint}), case.work.bytes / seconds
    return best


def _near_sizes(info: DeviceInfo) -> list[int]:
    """Half of the last level, a quarter and an eighth, in equally many tiles for each multiprocessor.

    Each of them is far above one multiprocessor's L1, which is what matters: from pass to pass it meets its own tiles
    again only after it has seen all the others (stream.cu), so that the sum of the L1s serves nobody.
    """
    even = _TILE * max(1, info.sms)
    half = _claiming(info, len(info.caches) - 1)
    return [half // share // even * even for share in (1, 2, 4) if half // share >= even] or [half]


def _tuned(info: DeviceInfo, budget, mix: str, footprint: int) -> Generator[Case, float | None, Tuning]:
    """The settings that a mix runs fastest with, one after the other: all combinations would take minutes."""
    axes = {name: values for name, values in info.tuning.get("stream", {}).items() if name not in _FOREIGN.get(mix, ())}
    best: Tuning = {}
    if budget.level == 0:  # no time for anything but the claim
        return best
    fastest = yield replace(_cold(info, mix, footprint, info.stores[0]), search="dram")
    for name, values in axes.items():
        for value in values[1:] if budget.whole else values[1:2]:
            tried = best | {name: value}
            seconds = yield replace(_cold(info, mix, footprint, info.stores[0], tuning=tried), search="dram")
            if seconds and (fastest is None or seconds < fastest * (1 - _GAIN)):
                fastest, best = seconds, tried
    return best


def dram_bytes(info: DeviceInfo) -> int:
    """Bytes of one launch that certainly come from DRAM: a 64th of the memory, up to 4 GiB.

    At least eight last levels, and 64 MiB, unless that is more than an eighth of the memory. A power of two.
    """
    least = 1 << (max(8 * info.last_level, 64 << 20) - 1).bit_length()
    usual, most = (1 << (size.bit_length() - 1) for size in (info.memory_bytes // 64, info.memory_bytes // 8))
    return min(max(least, min(usual, 4 << 30)), most)


def _batch(info: DeviceInfo, mix: str, elements: int) -> int:
    """Launches that write so much that a last level of dirty lines is no more than _DIRTY of it.

    On a host each sample follows the last at once, and what is dirty at its ends is the same: any number will do.
    """
    if mix == "read" or not info.host_memory:
        return 1
    return math.ceil(info.last_level / _DIRTY / (work.ITEMSIZE["float32"] * elements))


def _claiming(info: DeviceInfo, index: int) -> int:
    """Bytes that fill half of a cache level; more where the level below would still serve that."""
    below = info.caches[index - 1].bytes if index else 0
    half = info.caches[index].bytes // 2 // 4096 * 4096
    return half if half > 2 * below else 2 * below // 4096 * 4096 + 4096


def _hot_sizes(info: DeviceInfo) -> list[int]:
    """A working set from a quarter of the first cache to four times the last."""
    if not info.caches:
        return []
    sizes, size = [], info.caches[0].bytes // 4
    while size <= 4 * info.last_level:
        sizes.append(size // 4096 * 4096 or 4096)
        size = int(size * 1.5)
    return sizes


def _cold(
    info: DeviceInfo, mix: str, footprint: int, store: str, saturates: str = "", tuning: Tuning | None = None
) -> Case:
    elements, tuning = _elements(mix, footprint), tuning or {}
    # read ends every block with an addition to one address: see stream.cu
    body = kernel(mix, store, tuning, tiles=4 if mix == "read" else 1)
    return Case(
        params={"mix": mix, "bytes": footprint, "cache": "cold", "store": store} | _named(tuning),
        work=work.stream(mix, elements),
        prepare=partial(_prepare, body, mix, elements, 1, "cold"),
        saturates=saturates,
        batch=_batch(info, mix, elements) if saturates else 1,
    )


def _hot(
    info: DeviceInfo, mix: str, footprint: int, store: str, saturates: str = "", tuning: Tuning | None = None
) -> Case:
    elements = _elements(mix, footprint)
    # one launch re-reads its set until the launch itself no longer shows: a millisecond, however many read at once
    passes = max(1, max(16 * info.last_level, info.sms << 26) // footprint)
    params = {"mix": mix, "bytes": footprint, "cache": "hot", "store": store} | _named(tuning or {})
    demand = work.stream(mix, elements, channel=info.level(footprint), passes=passes)
    prepare = partial(_prepare, kernel(mix, store, tuning), mix, elements, passes, "hot")
    return Case(params=params, work=demand, prepare=prepare, saturates=saturates, cache="hot")


def _named(tuning: Tuning) -> dict[str, int | str]:
    """Settings as they stand among the params."""
    return {_CALLED.get(name, name.lower()): "default" if value == "" else value for name, value in tuning.items()}


def _elements(mix: str, footprint: int) -> int:
    words, _ = work.MIXES[mix]
    return max(_GRAIN, footprint // (4 * words) // _GRAIN * _GRAIN)


def _prepare(body: Kernel, mix: str, elements: int, passes: int, cache: str, device: Device) -> Setup:
    words, _ = work.MIXES[mix]
    run = device.load(body)
    launches = []
    for _ in range(device.rotation(4 * words * elements, cache)):
        arrays = [device.random(elements, dtype="float32") for _ in range(_INPUTS[mix])]
        if mix == "read":
            # to one sign: in a sum of both signs a hundredth of the array could be lost unseen. Not by abs_(), which
            # loads torch's compiler where tensors have no memory
            arrays[0].add_(1.0)
        out = device.empty(1, dtype="float64") if mix == "read" else device.empty(elements, dtype="float32")
        launches.append(partial(run, *arrays, out, elements, passes, *_SCALARS.get(mix, ())))
    return Setup(launches, partial(_check, mix, launches[-1]))


def _check(mix: str, launch: Any) -> None:
    import torch

    *arrays, out = (argument for argument in launch.args if isinstance(argument, torch.Tensor))
    _, passes, *scalars = (argument for argument in launch.args if not isinstance(argument, torch.Tensor))
    if mix == "read":
        out.zero_()
        launch()
        # short float32 sums, then float64: a plain float64 sum takes a hundred times longer than the case
        expected = passes * float(arrays[0].view(-1, _GRAIN).sum(1).double().sum())
        if not abs(float(out) - expected) <= 1e-5 * expected:
            raise CheckFailed(f"read sums to {float(out):g}, not {expected:g}")
        return
    out.fill_(float("nan"))
    launch()
    # the twin on a slice at each end: a whole second array would cost more time than the case
    for part in (slice(0, 1 << 16), slice(-(1 << 16), None)):
        twin = torch.empty_like(out[part])
        _TWINS[mix](*(array[part] for array in arrays), twin, 0, 1, *scalars)
        if not torch.allclose(out[part], twin, rtol=1e-6, atol=1e-6):
            raise CheckFailed(f"{mix} differs from its twin")
    if bool(torch.isnan(out.sum())):
        raise CheckFailed(f"{mix} left elements unwritten")
