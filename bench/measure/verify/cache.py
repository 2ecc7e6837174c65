"""Whether cold is cold and hot is hot: by time, by the roof of memory, and by which buffers launches really touch."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from bench.measure.device.protocol import DeviceError, OutOfMemory, Unsupported
from bench.measure.probes import probes
from bench.measure.probes.bandwidth import dram_bytes
from bench.measure.verify.assumption import Outcome, absent, assumption, failed, passed
from bench.measure.verify.interval import interval, judged
from bench.measure.verify.kernels import planned
from bench.measure.verify.pairs import MIB, ratios, stream
from bench.schema import Case

# How much faster a warm set must be, and how far a rotated one may be above the roof of memory.
HOTTER, ABOVE = 1.15, 1.05
# Share of a case's bytes that two neighbouring launches may have in common: a table, a scale, a vector of gains.
SHARED = 0.10
# Launches that are looked at, the most bytes and flops of one (which buffers it touches depends on neither), and
# the seconds for all of them; rounds of those launches, with the first of which an allocator settles.
LOOKED, MOST_BYTES, MOST_FLOPS, LONGEST, LAPS = 2, 256 * MIB, 2e9, 8.0, 4


@assumption(
    expected=f"in place ≥ {HOTTER:g} times as fast",
    fix="a cold case meets warm caches, or a hot one cold ones: no roof of memory or cache is true here",
    seconds=1.0,
    brief=True,
)
def rotated(device: Any, rounds: int) -> Outcome:
    """The same bytes are read faster in place than on rotating buffers: cold is cold, and hot is hot."""
    caches = device.info.caches
    # half of the level below the last: it serves no one else, and still is far from memory
    footprint = (caches[-2] if len(caches) > 1 else caches[-1]).bytes // 2
    cold, hot = stream(device, "read", footprint, "cold"), stream(device, "read", footprint, "hot", ring=1)
    count = cold.count(device), hot.count(device)

    def warm() -> float:
        hot.seconds(device, 2)
        return hot.seconds(device, count[1])

    found = ratios(rounds, lambda: cold.seconds(device, count[0]), warm)
    return judged(
        interval(found), HOTTER, reason="rotating buffers are as fast as one: they are still in a cache", widest=1
    )


@assumption(
    expected=f"≤ {ABOVE:g} of the roof",
    fix="what is called cold is served by a cache: its numbers are no evidence for memory",
    seconds=3.0,
)
def roof(device: Any, rounds: int) -> Outcome:
    """No case on rotating buffers is faster than the roof of memory, which far larger arrays state."""
    wholes = [stream(device, mix, dram_bytes(device.info), "cold", ring=2) for mix in ("read", "copy", "triad")]
    worst = None
    for footprint in (MIB, 8 * MIB):
        small = stream(device, "read", footprint, "cold")
        count = small.count(device, 0.02)
        found = []
        for _ in range(max(8, rounds // 2)):
            # the envelope over the mixes, as a Run takes it
            rates = [whole.case.work.bytes / whole.seconds(device, 2) for whole in wholes]
            found.append(small.case.work.bytes / small.seconds(device, count) / max(rates))
        each = interval(found)
        worst = each if worst is None or each.low > worst.low else worst
    return judged(worst, most=ABOVE, reason="a rotated case is faster than memory", widest=1)


@assumption(
    expected=f"none shares {100 * SHARED:g} % of its bytes",
    fix="the case counts bytes that a cache serves: rotate what is named, or call it hot",
    timed=False,
    seconds=LONGEST,
)
def buffers(device: Any, rounds: int) -> Outcome:
    """Neighbouring launches of a cold case share no buffer: neither what they read nor what they write."""
    looked, wrong, left = 0, [], ""
    until = time.perf_counter() + LONGEST
    for name, case in _cold(device):
        if time.perf_counter() > until:
            left = " (no time for more)"
            break
        with suppress(Unsupported, OutOfMemory, DeviceError):
            setup = case.prepare(_Short(device))
            if len(setup.launches) < LOOKED or _said(setup.notes):
                continue
            shared = _shared(setup.launches[:LOOKED], case.work.bytes)
            looked += 1
            if shared > SHARED * case.work.bytes:
                words = " ".join(str(value) for value in case.params.values() if isinstance(value, str) and value)
                wrong.append(f"{name} {words}: {100 * shared / case.work.bytes:.0f} %")
    if not looked:
        return absent("no case of this device rotates")
    text = f"{len(wrong)} share more, of {looked} kinds of case{left}"
    return failed(text, f"launches share buffers: {'; '.join(wrong)}") if wrong else passed(text)


def _cold(device: Any) -> list[tuple[str, Case]]:
    """A case of each kind that rotates here, the soonest prepared first; what a host multiplies long is left out."""
    found = []
    for probe in probes().values():
        for case in planned(device.info, probe):
            if case.cache != "cold" or case.work.channel != "dram":
                continue
            slow = case.work.bytes > MOST_BYTES or (not device.info.sms and case.work.flops > MOST_FLOPS)
            if case.work.bytes and not slow and device.rotation(case.work.bytes, "cold") >= LOOKED:
                found.append((probe.name, case))
    return sorted(found, key=lambda each: each[1].work.bytes + each[1].work.flops / 10)


class _Short:
    """A device on which a ring is short: which buffers are shared shows with the first few."""

    def __init__(self, device: Any):
        self._device = device

    def rotation(self, launch_bytes: float, cache: str) -> int:
        return min(LOOKED, self._device.rotation(launch_bytes, cache))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


def _said(notes: Any) -> bool:
    """Whether a case says itself that a part of it is hot, and so counts only what is not."""
    return any("hot" in str(value).split() for value in notes.values())


def _shared(launches: Sequence[Callable[[], Any]], most: float) -> float:
    """Bytes that a launch and the one before it both touch, arguments and results together, at most.

    A tensor of more bytes than a launch declares is left out: it is read in part, and in which is not seen from here.
    Results that a library allocates lie where its allocator says: in one block on a GPU, on a host at times.
    """
    worst, before = 0, {}
    for launch in [*launches] * LAPS:
        # where a result lies, and no more: kept alive here, the next one would have to lie elsewhere
        touched = {part.data_ptr(): part.nbytes() for part in _storages((launch, launch()))}
        worst = max(worst, sum(size for address, size in touched.items() if address in before and size <= most))
        before = touched
    return float(worst)


def _storages(thing: Any) -> Iterator[Any]:
    """The storages of every tensor in a launch, a result, or what they are made of."""
    import torch

    if isinstance(thing, torch.Tensor):
        if thing.untyped_storage().nbytes():
            yield _Span(thing)
    elif isinstance(thing, partial):
        yield from _storages((thing.func, thing.args, thing.keywords))
    elif isinstance(thing, dict):
        yield from _storages(tuple(thing.values()))
    elif isinstance(thing, list | tuple):
        for part in thing:
            yield from _storages(part)


class _Span:
    """What of a tensor lies in memory: from its first element on, as many bytes as it has (views share storage)."""

    def __init__(self, tensor: Any):
        self._address = tensor.data_ptr()
        self._bytes = min(tensor.nbytes, tensor.untyped_storage().nbytes())

    def data_ptr(self) -> int:
        return self._address

    def nbytes(self) -> int:
        return self._bytes
