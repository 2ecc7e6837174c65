"""Whether time is time: proportional to work, alike by every clock, without the host, no matter the company."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench import work
from bench.measure.probes.bandwidth import dram_bytes
from bench.measure.verify.assumption import NO_COMPILER, NO_GPU, Outcome, absent, assumption, compiled, failed, passed
from bench.measure.verify.interval import Interval, interval, judged
from bench.measure.verify.pairs import MIB, SAMPLE, Timed, chains, ratios, shuffled, steps, stream, timed
from bench.measure.workloads import matmul

# Relative errors that are allowed of a slope, between clocks, and between the same case twice.
SLOPE, CLOCKS, SAME = 0.10, 0.03, 0.02
# Seconds of the host that an empty case may show beyond what calling it costs.
HOST = 1e-6
# And what a GPU may take for an empty kernel as a node of a graph: about 1 µs is usual, a launch by the host takes 5.
NODE = 3e-6
PAIRS = 20


@assumption(expected="no others at work", fix="", timed=False, seconds=0.5)
def alone(device: Any, rounds: int) -> Outcome:
    """Nothing else works on the device while it is tried; where something does, a timed failure says nothing."""
    before, begun = device.telemetry(), time.perf_counter()
    device.rest(0.4)
    elapsed = time.perf_counter() - begun
    word, reasons = device.judge({"before": before, "after": device.telemetry(), "during": {}}, elapsed)
    if word != "valid":
        return absent(f"{'; '.join(reasons)}: timed checks that fail are not held against the instrument")
    return passed(f"{elapsed:.1f} s left alone")


def _slope(device: Any, rounds: int, one: Timed, two: Timed, four: Timed) -> Interval:
    """(t4 - t2) / (2 (t2 - t1)): 1 where time is proportional to work beyond a fixed cost."""
    each = (one, two, four)
    counts = [part.count(device, 4 * SAMPLE) for part in each]
    found = []
    for order in shuffled(rounds, 3):
        seconds = {i: each[i].seconds(device, counts[i]) for i in order}
        if seconds[1] > seconds[0]:
            found.append((seconds[2] - seconds[1]) / (2 * (seconds[1] - seconds[0])))
    if 2 * len(found) < rounds:
        return Interval(0.0, 0.0, 0.0, rounds)  # twice the work took no longer in most rounds
    return interval(found)


def _linear(found: Interval, what: str) -> Outcome:
    return judged(
        found,
        1 - SLOPE,
        1 + SLOPE,
        f"{what} that do twice the work do not take twice the time, beyond a fixed cost",
        widest=0.5,
    )


_SLOPE = {
    "expected": f"slope 1 ± {SLOPE}",
    "fix": "work is left out, or time is not what the clock says: trust no rate of this kind here",
    "seconds": 1.5,
}


@assumption(**_SLOPE)
def linear_copy(device: Any, rounds: int) -> Outcome:
    """Twice the bytes copied take twice the time."""
    # every size walks over the same memory, or the smallest would meet warm caches
    whole = stream(device, "copy", dram_bytes(device.info), "cold", ring=1, store=device.info.stores[-1])
    (launch,) = whole.launches
    x, y, n, *rest = launch.args

    def parts(count: int) -> Timed:
        size = n // count // 1024 * 1024
        spans = [slice(i * size, (i + 1) * size) for i in range(count)]
        demand = work.stream("copy", size)
        return timed([partial(launch.func, x[span], y[span], size, *rest) for span in spans], demand, "cold")

    return _linear(_slope(device, rounds, parts(4), parts(2), parts(1)), "copies")


@assumption(**_SLOPE, brief=True)
def linear_fma(device: Any, rounds: int) -> Outcome:
    """Twice the multiply-adds take twice the time."""
    if not compiled(device):
        return absent(NO_COMPILER)
    few = steps(device, SAMPLE / 4)
    return _linear(_slope(device, rounds, *(chains(device, few * times) for times in (1, 2, 4))), "FMA loops")


@assumption(**_SLOPE)
def linear_gemm(device: Any, rounds: int) -> Outcome:
    """Twice the rows of a matrix product take twice the time."""
    rows, width, dtype = (65536, 4096, "bfloat16") if device.info.sms else (2048, 512, "float32")
    a, b, c = matmul.operands(device, rows, width, width, dtype)

    def parts(count: int) -> Timed:
        # as the copies: every size walks over the same operands, or the largest would meet another cache
        size = rows // count
        spans = [slice(i * size, (i + 1) * size) for i in range(count)]
        demand = matmul.work_of(size, width, width, dtype, device.info.units.get(dtype, "vector"))
        return timed([matmul.launch(device, a[span], b, c[span], dtype) for span in spans], demand)

    return _linear(_slope(device, rounds, parts(4), parts(2), parts(1)), "GEMMs")


def _product(device: Any, rows: int, width: int, dtype: str) -> tuple[Timed, tuple]:
    a, b, c = matmul.operands(device, rows, width, width, dtype)
    demand = matmul.work_of(rows, width, width, dtype, device.info.units.get(dtype, "vector"))
    return timed([matmul.launch(device, a, b, c, dtype)], demand), (a, b, c)


@assumption(
    expected=f"a call + {HOST * 1e6:g} µs at most; on a GPU {NODE * 1e6:g} µs",
    fix="the host's time is in what is timed: short cases read too long",
    seconds=0.3,
    brief=True,
)
def empty(device: Any, rounds: int) -> Outcome:
    """A case that does nothing takes what a launch takes: no other time of the host is in a sample."""
    if device.info.sms:
        from bench.measure.probes.launch import kernel

        launch, least, most, said = partial(device.load(kernel()), 1), NODE, NODE, f"{NODE * 1e6:g} µs a node allowed"
    else:
        launch = partial(_nothing)
        least = min(_plain(launch, 2000) for _ in range(rounds))
        most, said = least + HOST, f"a call alone {least * 1e6:.2f} µs"
    mine = timed([launch])
    # what the host adds it adds to every sample: the quicker ones show it, the slower ones were disturbed
    seconds = sorted(mine.seconds(device, 1000) for _ in range(3 * rounds))
    found = Interval(seconds[rounds], seconds[0], seconds[-1], len(seconds))
    return judged(
        found,
        most=most,
        reason=f"each launch takes {(found.low - least) * 1e6:.2f} µs more than launching it costs",
        text=lambda found: f"{found.value * 1e6:.2f} µs, {said}",
        widest=float("inf"),
    )


def _nothing() -> None:
    pass


def _plain(launch: Callable[[], Any], count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        launch()
    return (time.perf_counter() - begun) / count


@assumption(
    expected=f"1 ± {CLOCKS} of the host's clock",
    fix="the clock that times cases runs wrong: every number is off by this factor",
    seconds=0.6,
)
def host(device: Any, rounds: int) -> Outcome:
    """Long launches take as long by the device's clock as by another clock of the host (CLOCK_MONOTONIC_RAW)."""
    one, _ = _long(device)
    count = one.count(device, 0.05)

    def ratio() -> float:
        device.synchronize()
        begun = time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
        inside = one.seconds(device, count) * count
        device.synchronize()
        return (time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - begun) / inside

    # a GPU's stream is held until enough is queued, which only the host sees
    slack = 0.05 if device.info.sms else 0.0
    return judged(
        interval([ratio() for _ in range(rounds)]),
        1 - CLOCKS,
        1 + CLOCKS + slack,
        "the host's clock and the one that times launches disagree",
    )


@assumption(
    expected=f"1 ± {CLOCKS} of the profiler's",
    fix="one of the two clocks is wrong: compare a long launch with a stopwatch of your own",
    seconds=1.0,
)
def profiler(device: Any, rounds: int) -> Outcome:
    """torch's profiler sees the same launches take the same time: one run, timed by both."""
    from torch.profiler import ProfilerActivity, profile

    gpu = bool(device.info.sms)
    # on a host what watching an operator costs is between the two clocks: 0.1 ms and more, which 4 ms would show
    one, _ = _long(device) if gpu else _product(device, _rows(device), 512, "float32")
    count = one.count(device, 0.02)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    found = []
    for _ in range(rounds + 1):
        with profile(activities=activities) as watched:
            inside = one.seconds(device, count)
            device.synchronize()
        theirs, calls = _profiled(watched, gpu)
        if not theirs or not calls:
            return absent("torch's profiler saw no kernel (is another profiler at work?)")
        found.append(theirs / calls / inside)
    return judged(interval(found[1:]), 1 - CLOCKS, 1 + CLOCKS, "torch's profiler and the device's clock disagree")


def _rows(device: Any) -> int:
    """Rows of a host's product that takes some 30 ms, as memory permits."""
    few = 2048
    one, _ = _product(device, few, 512, "float32")
    one.seconds(device, 1)
    most = int(few * device.info.memory_bytes / 64 / one.case.work.bytes)
    return max(few, min(round(few * 0.03 / one.seconds(device, 2)), most))


def _profiled(watched: Any, gpu: bool) -> tuple[float, int]:
    """(seconds, calls) of the products that a profile holds: their kernels on a GPU, the operator on a host."""
    if not gpu:
        events = [event for event in watched.events() if event.name == "aten::mm"]
        return sum(event.time_range.elapsed_us() for event in events) / 1e6, len(events)
    # one kernel a product, or a few: the launches are counted by their operator
    kernels = [e for e in watched.events() if "CUDA" in str(e.device_type) and "gemm" in e.name.lower()]
    return sum(event.time_range.elapsed_us() for event in kernels) / 1e6, len(kernels)


def _long(device: Any) -> tuple[Timed, tuple]:
    return _product(device, *((8192, 4096, "bfloat16") if device.info.sms else (1024, 512, "float32")))


@assumption(
    expected=f"1 ± {CLOCKS} of a held stream",
    fix="one way of timing is wrong: compare both with torch's profiler",
    seconds=1.0,
)
def graph(device: Any, rounds: int) -> Outcome:
    """A launch takes as long as a node of a graph as it takes queued behind a hold."""
    if not device.info.sms:
        return absent(NO_GPU)
    # about 100 us: long enough to be queued, short enough that host time would show
    size = 256 * MIB
    copies = [stream(device, "copy", size, "cold", ring=4).launches for _ in range(2)]
    held, node = (timed(each, cache="cold", timing=way) for each, way in zip(copies, ("queued", "graph"), strict=True))
    counts = held.count(device), node.count(device)
    found = ratios(rounds, lambda: node.seconds(device, counts[1]), lambda: held.seconds(device, counts[0]))
    return judged(interval(found), 1 - CLOCKS, 1 + CLOCKS, "a graph and a held stream disagree about the same launch")


@assumption(
    expected=f"1 ± {SAME}, over {PAIRS} pairs",
    fix="what ran before a case changes its time: raise the time of a case, let the machine settle, cool it",
    seconds=3.0,
)
def order(device: Any, rounds: int) -> Outcome:
    """The same case timed twice reads the same, whichever is first and whatever ran before it (A/A)."""
    if not compiled(device):
        return absent(NO_COMPILER)
    case = chains(device, steps(device, SAMPLE / 10))
    crowd = [stream(device, "copy", max(device.info.last_level, 32 * MIB), "cold", ring=2), _long(device)[0]]
    count = case.count(device)

    def timed_after(companion: Timed | None) -> float:
        if companion:
            companion.seconds(device, 2)
        device.begin(case.case)
        case.seconds(device, 1)  # as every case, warmed up
        return case.seconds(device, count)

    found = []
    for number in range(max(PAIRS, rounds)):
        after, alone = partial(timed_after, crowd[number % 2]), partial(timed_after, None)
        found += ratios(1, after, alone) if number % 4 < 2 else [1 / r for r in ratios(1, alone, after)]
    return judged(interval(found), 1 - SAME, 1 + SAME, "the same case reads differently after other work")


@assumption(
    expected="1 ± 0.05 and two ticks of 10 ms",
    fix="the counters that judge a disturbed machine are wrong: valid and suspect mean nothing here",
    timed=False,
    seconds=0.3,
    brief=True,
)
def counters(device: Any, rounds: int) -> Outcome:
    """The counters by which a measurement is called valid or suspect count seconds (on a host: CPU time)."""
    if device.info.sms:
        return absent("the host's counters are not used for a GPU; see energy.units")
    before, cpu, wall = device.telemetry(), time.process_time(), time.perf_counter()
    if "own_s" not in before:
        return absent("this host counts no CPU time of a process")
    while time.process_time() - cpu < 0.25:
        sum(range(10_000))
    after, spent, elapsed = device.telemetry(), time.process_time() - cpu, time.perf_counter() - wall
    from bench.measure.verify.energy import implausible

    doubts = implausible(before, after, {}, elapsed)
    ratio = (after["own_s"] - before["own_s"]) / spent
    # os.times counts in ticks of 10 ms: one at each end
    if doubts or abs(ratio - 1) > 0.05 + 0.02 / spent:
        return failed(f"{ratio:.3f}", "; ".join(doubts) or "own_s does not count this process's seconds")
    return passed(f"{ratio:.3f}")
