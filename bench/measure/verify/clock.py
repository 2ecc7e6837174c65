"""Whether the reported clock is the one that ticks: in the kernel, by the driver, and by chains of known length."""

from functools import partial
from statistics import median
from typing import Any

from bench import units
from bench.measure.device.protocol import Kernel
from bench.measure.verify.assumption import NO_COMPILER, NO_GPU, Outcome, absent, assumption, compiled, failed, passed
from bench.measure.verify.interval import Interval, interval, judged
from bench.measure.verify.pairs import chains, steps, timed

# Relative errors that are allowed: between two chains, between stamps, between stamps and the driver. A chain of loads
# was seen 10 % slower for seconds, with FMAs beside it left alone; a latency that is a cycle off is 17 to 33 % off.
CHAINS, APART, DRIVER = 0.11, 0.20, 0.05
ARRIVED = 0.9
# Nanoseconds that %globaltimer may step by: 1 us on most parts, 32 ns on some.
LONGEST_STEP = 1100


@assumption(
    expected=f"1 ± {CHAINS}",
    fix="the clock that theory is stated at is wrong: no % of theory counts here",
    seconds=0.6,
    brief=True,
)
def chain(device: Any, rounds: int) -> Outcome:
    """A host's clock by a chain of FMAs, whose latency a table states, is its clock by a chain of additions."""
    if device.info.sms:
        return absent("on a GPU by its stamps: see clock.stamps and clock.driver")
    if not compiled(device):
        return absent(NO_COMPILER)
    if "clock_hz" not in device.info.facts:
        return absent("this CPU's family is not known, and with it how long an FMA takes")
    from bench.measure.device import cc
    from bench.measure.device.host import cpuinfo
    from bench.theory import cpu as families

    n, count = cc.integer("fma", "fma_vector_float32") * cc.integer("fma", "threads"), 1 << 19
    x, y = device.random(n, dtype="float32"), device.empty(n, dtype="float32")
    fmas = timed([partial(device.load(Kernel("fma", "fma_float32", None, elements=2)), x, y, n, count, -1.0, 0.5)])
    pair, cycles = device.empty(2, dtype="int64").fill_(1), count * families.find(cpuinfo()).fma_latency_cycles
    adds = timed([partial(device.load(Kernel("witness", "witness_adds", None, elements=1)), pair, 1, cycles // 16)])
    found = []
    for _ in range(max(8, rounds)):
        # in turns, as a clock may be another by kind of load, and the quickest of a few: a stall only ever adds
        both = [(adds.seconds(device, 1), fmas.seconds(device, 1)) for _ in range(8)]
        found.append(min(add for add, _ in both) / min(fma for _, fma in both))
    return judged(
        interval(found), 1 - CHAINS, 1 + CHAINS, "a chain of FMAs and a chain of additions run at different clocks"
    )


def _clocks(device: Any, rounds: int) -> tuple[list[float | None], dict[str, Any]]:
    """Stamped clocks of samples of the FMA loop, and what the driver said meanwhile."""
    load = chains(device, steps(device))
    count = load.count(device, 0.02)
    with device.watch() as during:
        clocks = [device.time(load.case, load.launches, count).clock_hz for _ in range(4 * rounds)]
    return clocks, during


@assumption(
    expected=f"≥ {100 * ARRIVED:g} % arrived, none {100 * APART:g} % off",
    fix="stamps come from different SMs or get lost: no clock of this Run counts, and none of its % at that clock",
    seconds=1.5,
    brief=True,
)
def stamps(device: Any, rounds: int) -> Outcome:
    """The SM clock that each sample bears comes from two stamps of one SM, and hardly one sample lacks it."""
    if not device.info.sms:
        return absent(NO_GPU)
    clocks, _ = _clocks(device, rounds)
    seen = [clock for clock in clocks if clock]
    share = len(seen) / len(clocks)
    if share < ARRIVED:
        return failed(f"{100 * share:.0f} % of {len(clocks)} arrived", "stamps of the SM clock are missing")
    middle = median(seen)
    far = [clock for clock in seen if abs(clock / middle - 1) > APART]
    text = f"{100 * share:.0f} % of {len(clocks)} arrived, {units.hertz(middle)}, {len(far)} far off"
    if far:
        return failed(text, f"a stamp is not of the SM that the other one is of: {units.hertz(far[0])}")
    return passed(text)


@assumption(
    expected=f"1 ± {DRIVER} of the driver's",
    fix="the clock in the kernel and the driver's are not of the same thing: do not state % at the measured clock",
    seconds=1.5,
)
def driver(device: Any, rounds: int) -> Outcome:
    """The SM clock by stamps in a kernel is the one that the driver reads under the same load."""
    if not device.info.sms:
        return absent(NO_GPU)
    clocks, during = _clocks(device, 2 * rounds)
    seen = [clock for clock in clocks if clock]
    if not seen or "sm_clock_hz" not in during:
        return absent("the driver tells no SM clock" if seen else "no stamp arrived: see clock.stamps")
    least, mean, most = during["sm_clock_hz"]
    found = interval([clock / mean for clock in seen])
    # a clock that moves while it is polled is met at another moment by each
    return judged(
        found, least / mean * (1 - DRIVER), most / mean * (1 + DRIVER), "the kernel's clock is not the driver's"
    )


@assumption(
    expected=f"≤ {LONGEST_STEP} ns",
    fix="clocks of samples shorter than a thousand such steps are not to be trusted",
    timed=False,
    seconds=0.3,
)
def timer(device: Any, rounds: int) -> Outcome:
    """The step of %globaltimer is far below the shortest window that a clock is taken from."""
    if not device.info.sms:
        return absent(NO_GPU)
    out = device.empty(1000, dtype="int64").zero_()
    device.load(Kernel("timer", "steps", None, elements=1, per_thread=1, threads=1024))(out, 1000)
    device.synchronize()
    seen: Interval = interval([float(step) for step in out.tolist()])
    text = f"{seen.value:.0f} ns ({seen.low:.0f}–{seen.high:.0f})"
    return (
        passed(text) if 0 < seen.value <= LONGEST_STEP else failed(text, "%globaltimer is too coarse, or stands still")
    )
