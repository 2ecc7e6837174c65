"""Whether time is time, whatever clock, host and company, and whether cold is cold and hot is hot."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from bench import work
from bench.measure.device.protocol import DeviceError, OutOfMemory, Unsupported
from bench.measure.probes import launch as launch_probe
from bench.measure.probes import probes
from bench.measure.probes.bandwidth import dram_bytes
from bench.measure.verify import Outcome, absent, disturbed, failed, passed
from bench.measure.verify.kernels import planned
from bench.measure.verify.launches import MIB, SAMPLE, Launch, TimedLaunches, chains, plainly, products, steps, stream
from bench.measure.verify.pairs import Interval, alike, interval, judged, ratios
from bench.measure.workloads import matmul
from bench.schema import Case

# Launches that are looked at, the most bytes and flops of one (which buffers it touches depends on neither), and
# the seconds for all of them; rounds of those launches, with the first of which an allocator settles.
LOOKED, MOST_BYTES, MOST_FLOPS, LONGEST, LAPS = 2, 256 * MIB, 2e9, 8.0, 4


def alone(device: Any, rounds: int) -> Outcome:
    before, begun = device.telemetry(), time.perf_counter()
    device.rest(0.4)
    elapsed = time.perf_counter() - begun
    if reasons := disturbed(device, before, begun):
        return absent(f"{reasons}: timed checks that fail are not held against the instrument")
    return passed(f"{elapsed:.1f} s left alone")


def _linear(rounds: int, tolerance: float, what: str, parts: Callable[[int], TimedLaunches]) -> Outcome:
    """Whether (t4 - t2) / (2 (t2 - t1)) is 1: time is proportional to one, two, four parts, beyond a fixed cost."""
    samples = [part.sampler(4 * SAMPLE) for part in [parts(times) for times in (1, 2, 4)]]
    slopes = []
    for number in range(rounds):
        seconds = {i % 3: samples[i % 3]() for i in range(number, number + 3)}  # each is first in its turn
        if seconds[1] > seconds[0]:
            slopes.append((seconds[2] - seconds[1]) / (2 * (seconds[1] - seconds[0])))
    if 2 * len(slopes) < rounds:  # twice the work took no longer in most rounds
        slopes = [0.0] * rounds
    reason = f"{what} that do twice the work do not take twice the time, beyond a fixed cost"
    return judged(interval(slopes), 1 - tolerance, 1 + tolerance, reason, widest=0.5)


def linear_copy(device: Any, rounds: int, tolerance: float) -> Outcome:
    # every size walks over the same memory, or the smallest would meet warm caches
    store = device.info.stores[-1]
    (launch,) = stream(device, "copy", dram_bytes(device.info), "cold", ring=1, store=store).launches
    x, y, n, *rest = launch.args

    def parts(share: int) -> TimedLaunches:
        size = n * share // 4 // 1024 * 1024
        spans = [slice(i * size, (i + 1) * size) for i in range(4 // share)]
        launches = [partial(launch.func, x[span], y[span], size, *rest) for span in spans]
        return TimedLaunches(device, launches, work.stream("copy", size), "cold")

    return _linear(rounds, tolerance, "copies", parts)


def linear_fma(device: Any, rounds: int, tolerance: float) -> Outcome:
    few = steps(device, SAMPLE / 4)
    return _linear(rounds, tolerance, "FMA loops", lambda times: chains(device, few * times))


def linear_gemm(device: Any, rounds: int, tolerance: float) -> Outcome:
    rows, width, dtype = (65536, 4096, "bfloat16") if device.info.sms else (2048, 512, "float32")
    a, b, c = matmul.operands(device, rows, width, width, dtype)

    def parts(share: int) -> TimedLaunches:
        # as the copies: every size walks over the same operands, or the largest would meet another cache
        size = rows * share // 4
        spans = [slice(i * size, (i + 1) * size) for i in range(4 // share)]
        return products(device, [(a[span], b, c[span]) for span in spans], dtype)

    return _linear(rounds, tolerance, "GEMMs", parts)


def empty(device: Any, rounds: int, host: float, node: float) -> Outcome:
    if device.info.sms:
        launch = partial(device.load(launch_probe.kernel()), 1)
        least, most, said = node, node, f"{node * 1e6:g} µs a node allowed"
    else:
        launch = partial(lambda: None)
        least = min(plainly(device, launch, 2000) for _ in range(rounds))
        most, said = least + host, f"a call alone {least * 1e6:.2f} µs"
    case = TimedLaunches(device, [launch])
    # what the host adds it adds to every sample: the quicker ones show it, the slower ones were disturbed
    seconds = sorted(case.seconds(1000) for _ in range(3 * rounds))
    seen = Interval(seconds[rounds], seconds[0], seconds[-1], len(seconds))
    reason = f"each launch takes {(seen.low - least) * 1e6:.2f} µs more than launching it costs"
    outcome = judged(seen, most=most, reason=reason, widest=float("inf"))
    return replace(outcome, value=f"{seen.value * 1e6:.2f} µs, {said}")


def host(device: Any, rounds: int, tolerance: float) -> Outcome:
    product = _long(device)
    count = product.count(0.05)

    def ratio() -> float:
        device.synchronize()
        begun = time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
        inside = product.seconds(count) * count
        device.synchronize()
        return (time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - begun) / inside

    # a GPU's stream is held until enough is queued, which only the host sees
    slack = 0.05 if device.info.sms else 0.0
    reason = "the host's clock and the one that times launches disagree"
    return judged(interval([ratio() for _ in range(rounds)]), 1 - tolerance, 1 + tolerance + slack, reason)


def profiler(device: Any, rounds: int, tolerance: float) -> Outcome:
    from torch.profiler import ProfilerActivity, profile

    gpu = bool(device.info.sms)
    # on a host what watching an operator costs is between the two clocks: 0.1 ms and more, which 4 ms would show
    product = _long(device) if gpu else _product(device, _rows(device), 512, "float32")
    count = product.count(0.02)
    activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * gpu]
    seen = []
    for _ in range(rounds + 1):
        with profile(activities=activities) as watched:
            inside = product.seconds(count)
            device.synchronize()
        theirs, calls = _profiled(watched, gpu)
        if not theirs or not calls:
            return absent("torch's profiler saw no kernel (is another profiler at work?)")
        seen.append(theirs / calls / inside)
    return alike(seen[1:], tolerance, "torch's profiler and the device's clock disagree")


def _rows(device: Any) -> int:
    """Rows of a host's product that takes some 30 ms, as memory permits."""
    few = 2048
    product = _product(device, few, 512, "float32")
    product.seconds(1)
    most = int(few * device.info.memory_bytes / 64 / product.work.bytes)
    return max(few, min(round(few * 0.03 / product.seconds(2)), most))


def _profiled(watched: Any, gpu: bool) -> tuple[float, int]:
    """(seconds, calls) of the products that a profile holds: their kernels on a GPU, the operator on a host."""
    if gpu:  # one kernel a product, or a few
        events = [e for e in watched.events() if "CUDA" in str(e.device_type) and "gemm" in e.name.lower()]
    else:
        events = [e for e in watched.events() if e.name == "aten::mm"]
    return sum(event.time_range.elapsed_us() for event in events) / 1e6, len(events)


def _product(device: Any, rows: int, width: int, dtype: str) -> TimedLaunches:
    return products(device, [matmul.operands(device, rows, width, width, dtype)], dtype)


def _long(device: Any) -> TimedLaunches:
    return _product(device, *((8192, 4096, "bfloat16") if device.info.sms else (1024, 512, "float32")))


def graph(device: Any, rounds: int, tolerance: float) -> Outcome:
    # about 100 us: long enough to be queued, short enough that host time would show
    copies = [stream(device, "copy", 256 * MIB, "cold", ring=4) for _ in range(2)]
    held, node = (replace(copy, timing=way).sampler() for copy, way in zip(copies, ("queued", "graph"), strict=True))
    return alike(ratios(rounds, node, held), tolerance, "a graph and a held stream disagree about the same launch")


def order(device: Any, rounds: int, tolerance: float, pairs: int) -> Outcome:
    fmas = chains(device, steps(device, SAMPLE / 10))
    crowd = [stream(device, "copy", max(device.info.last_level, 32 * MIB), "cold", ring=2), _long(device)]
    count = fmas.count()

    def timed_after(companion: TimedLaunches | None) -> float:
        if companion:
            companion.seconds(2)
        device.begin(fmas.case)
        fmas.seconds(1)  # as every case, warmed up
        return fmas.seconds(count)

    seen = []
    for number in range(max(pairs, rounds)):
        after, alone = partial(timed_after, crowd[number % 2]), partial(timed_after, None)
        seen += ratios(1, after, alone) if number % 4 < 2 else [1 / ratio for ratio in ratios(1, alone, after)]
    return alike(seen, tolerance, "the same case reads differently after other work")


def rotated(device: Any, rounds: int, least: float) -> Outcome:
    caches = device.info.caches
    # half of the level below the last: it serves no one else, and still is far from memory
    footprint = (caches[-2] if len(caches) > 1 else caches[-1]).bytes // 2
    cold, hot = stream(device, "read", footprint, "cold"), stream(device, "read", footprint, "hot", ring=1)
    sample_cold, sample_hot = cold.sampler(), hot.sampler()

    def warm() -> float:
        hot.seconds(2)
        return sample_hot()

    ratio = interval(ratios(rounds, sample_cold, warm))
    return judged(ratio, least, reason="rotating buffers are as fast as one: they are still in a cache", widest=1)


def roof(device: Any, rounds: int, most: float) -> Outcome:
    wholes = [stream(device, mix, dram_bytes(device.info), "cold", ring=2) for mix in ("read", "copy", "triad")]
    shares = []
    for footprint in (MIB, 8 * MIB):
        small = stream(device, "read", footprint, "cold")
        sample, rates = small.sampler(0.02), []
        for _ in range(max(8, rounds // 2)):
            # the envelope over the mixes, as a Run takes it
            fastest = max(whole.work.bytes / whole.seconds(2) for whole in wholes)
            rates.append(small.work.bytes / sample() / fastest)
        shares.append(interval(rates))
    worst = max(shares, key=lambda share: share.low)
    return judged(worst, most=most, reason="a rotated case is faster than memory", widest=1)


def buffers(device: Any, rounds: int, percent: float) -> Outcome:
    looked, wrong, left = 0, [], ""
    until = time.perf_counter() + LONGEST
    for name, case in _cold(device):
        if time.perf_counter() > until:
            left = " (no time for more)"
            break
        with suppress(Unsupported, OutOfMemory, DeviceError):
            setup = case.prepare(_Short(device))
            # a case that says itself that a part of it is hot counts only what is not
            if len(setup.launches) < LOOKED or any("hot" in str(note).split() for note in setup.notes.values()):
                continue
            share = 100 * _shared(setup.launches[:LOOKED], case.work.bytes) / case.work.bytes
            looked += 1
            if share > percent:
                wrong.append(f"{name}: {share:.0f} %")
    if not looked:
        return absent("no case of this device rotates")
    seen = f"{len(wrong)} share more, of {looked} kinds of case{left}"
    return failed(seen, f"launches share buffers: {'; '.join(wrong)}") if wrong else passed(seen)


def _cold(device: Any) -> list[tuple[str, Case]]:
    """A case of each kind that rotates here, the soonest prepared first; what a host multiplies long is left out."""
    rotating = []
    for name, case in planned(device.info, probes().values()):
        cold = case.cache == "cold" and case.work.channel == "dram" and 0 < case.work.bytes <= MOST_BYTES
        slow = not device.info.sms and case.work.flops > MOST_FLOPS
        if cold and not slow and device.rotation(case.work.bytes, "cold") >= LOOKED:
            rotating.append((name, case))
    return sorted(rotating, key=lambda named: named[1].work.bytes + named[1].work.flops / 10)


class _Short:
    """A device on which a ring is short: which buffers are shared shows with the first few."""

    def __init__(self, device: Any):
        self._device = device

    def rotation(self, launch_bytes: float, cache: str) -> int:
        return min(LOOKED, self._device.rotation(launch_bytes, cache))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


def _shared(launches: Sequence[Launch], most: float) -> float:
    """Bytes that a launch and the one before it both touch, arguments and results together, at most.

    A tensor of more bytes than a launch declares is left out: it is read in part, and in which is not seen from here.
    Results that a library allocates lie where its allocator says: in one block on a GPU, on a host at times.
    """
    worst, before = 0, {}
    for launch in [*launches] * LAPS:
        # where a result lies, and no more: kept alive here, the next one would have to lie elsewhere
        touched = dict(_blocks((launch, launch())))
        worst = max(worst, sum(size for address, size in touched.items() if address in before and size <= most))
        before = touched
    return float(worst)


def _blocks(thing: Any) -> Iterator[tuple[int, int]]:
    """(address, bytes) of every tensor in a launch, a result, or what they are made of; views share their storage."""
    import torch

    if isinstance(thing, torch.Tensor):
        if stored := thing.untyped_storage().nbytes():
            yield thing.data_ptr(), min(thing.nbytes, stored)
    elif isinstance(thing, partial):
        yield from _blocks((thing.func, thing.args, thing.keywords))
    elif isinstance(thing, dict):
        yield from _blocks(tuple(thing.values()))
    elif isinstance(thing, list | tuple):
        for part in thing:
            yield from _blocks(part)
