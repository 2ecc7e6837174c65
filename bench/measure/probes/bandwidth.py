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
from bench.measure.workloads import compare_sum
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


# their parameters are what `verify` gives a kernel: none may have a default
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
    tuning = tuning or {}
    return Kernel(
        "stream",
        f"{mix}_plain" if store == "plain" and mix != "read" else mix,
        _TWINS[mix],
        elements=2 if mix == "read" else _INPUTS[mix] + 1,
        per_thread=tiles * tuning.get("UNROLL", 4) * tuning.get("WIDTH", 16) // 4,
        threads=tuning.get("THREADS", 256),
        defines=tuple((name, value) for name, value in tuning.items() if name not in (WAVES, "THREADS")),
        waves=tuning.get(WAVES, 0),
    )


@probe(version=3, title="Memory bandwidth")
def bandwidth(info: DeviceInfo, budget) -> Cases:
    """How fast do bytes move, in every cache and beyond?

    Words moved per element: read 1 and 1 flop, write 1, copy 2, scale 2 and 1 flop, add 3 and 1 flop, triad 3 and 2
    flops. Bytes = words × elements × size of an element × passes.
    """
    # Sizes are powers of two of bytes per launch; the one that claims the roof depends on no budget.
    largest = dram_bytes(info)
    # each mix is looked at twice, some seconds apart, before one of them wins the roof
    tuned = {}
    for mix in work.MIXES:
        tuned[mix] = yield from _tuned(info, budget, mix, largest)
    for mix in work.MIXES:
        yield _case(info, mix, largest, "cold", info.stores[0], "dram", tuned[mix])
    for store in info.stores[1:]:
        for mix in work.MIXES:
            if mix != "read":  # nothing is stored
                yield _case(info, mix, largest, "cold", store)
    sizes = [largest >> shift for shift in range(12, 0, -1) if largest >> shift >= 1 << 20]
    # the smallest moves next to nothing: its time is the launch's own
    for footprint in [8 * _GRAIN, *budget.thin(sizes)]:
        yield _case(info, "copy", footprint, "cold", info.stores[0])

    # half of each level, and the settings that claim its roof
    store = info.stores[-1]  # streaming stores leave the cache by design, so inside the caches the last kind counts
    claims: dict[int, tuple[str, Tuning]] = {
        _claiming(info, n): (cache.name, {}) for n, cache in enumerate(info.caches)
    }
    if "HINT" in info.tuning.get("stream", {}) and info.caches:
        name, _ = claims.popitem()[1]
        footprint, tuning = yield from _nearest(info)
        claims[footprint] = name, tuning
    for footprint in sorted({*claims, *budget.thin(_hot_sizes(info))}):
        yield _case(info, "read", footprint, "hot", store, *claims.get(footprint, ()))
    for mix in ("copy", "triad"):
        for footprint, claim in claims.items():
            yield _case(info, mix, footprint, "hot", store, *claim)


def _nearest(info: DeviceInfo) -> Generator[Case, float | None, tuple[int, Tuning]]:
    """(working set, settings) that the last level is read fastest with: every hint with every size, the default first.

    All of them, because the best hint may depend on the size.
    """
    # half, a quarter and an eighth, in equally many tiles for each multiprocessor. Each is far above one's L1, which is
    # what matters: from pass to pass it meets its own tiles again only after it has seen all the others (stream.cu), so
    # that the sum of the L1s serves nobody
    even, half = _TILE * max(1, info.sms), _claiming(info, len(info.caches) - 1)
    sizes = [half // share // even * even for share in (1, 2, 4) if half // share >= even] or [half]
    hints = [hint for hint in _HINTS if hint in info.tuning["stream"]["HINT"]]
    best, fastest = (sizes[0], {"HINT": hints[0]}), 0.0
    for hint in hints:
        for footprint in sizes:
            case = _case(info, "read", footprint, "hot", info.stores[-1], tuning={"HINT": hint})
            seconds = yield replace(case, search=info.caches[-1].name)
            if seconds and case.work.bytes / seconds > fastest * (1 + _GAIN):
                best, fastest = (footprint, {"HINT": hint}), case.work.bytes / seconds
    return best


def _tuned(info: DeviceInfo, budget, mix: str, footprint: int) -> Generator[Case, float | None, Tuning]:
    """The settings that a mix runs fastest with, one after the other: all combinations would take minutes."""
    best: Tuning = {}
    if budget.level == 0:  # no time for anything but the claim
        return best
    case = partial(_case, info, mix, footprint, "cold", info.stores[0])
    fastest = yield replace(case(), search="dram")
    for name, values in info.tuning.get("stream", {}).items():
        if name in _FOREIGN.get(mix, ()):
            continue
        for value in values[1:] if budget.whole else values[1:2]:
            tried = best | {name: value}
            seconds = yield replace(case(tuning=tried), search="dram")
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


def _case(
    info: DeviceInfo, mix: str, footprint: int, cache: str, store: str, saturates="", tuning: Tuning | None = None
) -> Case:
    tuning, (words, _), hot = tuning or {}, work.MIXES[mix], cache == "hot"
    elements = max(_GRAIN, footprint // (4 * words) // _GRAIN * _GRAIN)
    # one launch re-reads its set until the launch itself no longer shows: a millisecond, however many read at once
    passes = max(1, max(16 * info.last_level, info.sms << 26) // footprint) if hot else 1
    # read ends every block with an addition to one address: see stream.cu
    body = kernel(mix, store, tuning, tiles=4 if mix == "read" and not hot else 1)
    # launches that write so much that a last level of dirty lines is no more than _DIRTY of it; on a host each sample
    # follows the last at once, and what is dirty at its ends is the same: any number will do
    stores = saturates == "dram" and mix != "read" and info.host_memory
    settings = {_CALLED.get(name, name.lower()): "default" if value == "" else value for name, value in tuning.items()}
    return Case(
        params={"mix": mix, "bytes": footprint, "cache": cache, "store": store} | settings,
        work=work.stream(mix, elements, channel=info.level(footprint) if hot else "dram", passes=passes),
        prepare=partial(_prepare, body, mix, elements, passes, cache),
        saturates=saturates,
        cache=cache,
        batch=math.ceil(info.last_level / _DIRTY / (4 * elements)) if stores else 1,
    )


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
        compare_sum("read", out, passes * float(arrays[0].view(-1, _GRAIN).sum(1).double().sum()))
        return
    out.fill_(float("nan"))
    launch()
    # the twin on a slice at each end: a whole second array would cost more time than the case
    for part in (slice(0, 1 << 16), slice(-(1 << 16), None)):
        twin = torch.empty_like(out[part])
        _TWINS[mix](*(array[part] for array in arrays), twin, 0, 1, *scalars)
        if not torch.allclose(out[part], twin, rtol=1e-6, atol=1e-6):
            raise CheckFailed(f"{mix} differs from its twin")
    if bool(out.sum().isnan()):
        raise CheckFailed(f"{mix} left elements unwritten")
