"""Whether the reported clock is the one that ticks, whether energy is power over time, and every field in its unit."""

import time
from collections.abc import Mapping
from functools import partial
from statistics import median
from typing import Any

from bench import units
from bench.measure.device import cc
from bench.measure.device.host import CORES, cpuinfo
from bench.measure.device.protocol import Kernel
from bench.measure.verify import Outcome, absent, failed, passed, unless
from bench.measure.verify.launches import TimedLaunches, chains, steps
from bench.measure.verify.pairs import alike, interval, judged
from bench.theory import cpu as families

# Watts of any GPU that works, from a small one at rest to a large module; hertz of any clock; degrees of a chip alive.
# A factor of a thousand, the usual error of a unit, is far outside of each.
WATTS = (1.0, 3000.0)
_POSSIBLE = (
    (("power_w", "power_mean_w", "power_limit_w"), WATTS, units.watts),
    (("sm_clock_hz", "memory_clock_hz"), (1e8, 2e10), units.hertz),
    (("temperature_c", "memory_temperature_c"), (1.0, 130.0), "{:.0f} °C".format),
)
# Seconds that the energy counter is watched: it steps every 20 to 100 ms.
WATCHED = 3.0


def chain(device: Any, rounds: int, tolerance: float) -> Outcome:
    if "clock_hz" not in device.info.facts:
        return absent("this CPU's family is not known, and with it how long an FMA takes")
    n, count = cc.integer("fma", "fma_vector_float32") * cc.integer("fma", "threads"), 1 << 19
    x, y = device.random(n, dtype="float32"), device.empty(n, dtype="float32")
    run_fmas = device.load(Kernel("fma", "fma_float32", None, elements=2))
    fmas = TimedLaunches(device, [partial(run_fmas, x, y, n, count, -1.0, 0.5)])
    pair, cycles = device.empty(2, dtype="int64").fill_(1), count * families.find(cpuinfo()).fma_latency_cycles
    run_adds = device.load(Kernel("witness", "witness_adds", None, elements=1))
    adds = TimedLaunches(device, [partial(run_adds, pair, 1, cycles // 16)])
    ratios = []
    for _ in range(max(8, rounds)):
        # in turns, as a clock may be another by kind of load, and the quickest of a few: a stall only ever adds
        both = [(adds.seconds(1), fmas.seconds(1)) for _ in range(8)]
        ratios.append(min(add for add, _ in both) / min(fma for _, fma in both))
    return alike(ratios, tolerance, "a chain of FMAs and a chain of additions run at different clocks")


def _clocks(device: Any, samples: int) -> tuple[list[float], dict[str, Any]]:
    """Stamped clocks of so many samples of the FMA loop, as far as they arrived, and what the driver said meanwhile."""
    load = chains(device, steps(device))
    count = load.count(0.02)
    with device.watch() as during:
        clocks = [device.time(load.case, load.launches, count).clock_hz for _ in range(samples)]
    return [clock for clock in clocks if clock], during


def stamps(device: Any, rounds: int, arrived: float, off: float) -> Outcome:
    samples = 4 * rounds
    clocks, _ = _clocks(device, samples)
    share = 100 * len(clocks) / samples
    text = f"{share:.0f} % of {samples} arrived"
    if share < arrived:
        return failed(text, "stamps of the SM clock are missing")
    middle = median(clocks)
    far = [clock for clock in clocks if 100 * abs(clock / middle - 1) > off]
    text += f", {units.hertz(middle)}, {len(far)} far off"
    if far:
        return failed(text, f"a stamp is not of the SM that the other one is of: {units.hertz(far[0])}")
    return passed(text)


def driver(device: Any, rounds: int, tolerance: float) -> Outcome:
    clocks, during = _clocks(device, 8 * rounds)
    if not clocks or "sm_clock_hz" not in during:
        return absent("the driver tells no SM clock" if clocks else "no stamp arrived: see clock.stamps")
    low, mean, high = during["sm_clock_hz"]
    # a clock that moves while it is polled is met at another moment by each
    least, most = low / mean * (1 - tolerance), high / mean * (1 + tolerance)
    return judged(interval([clock / mean for clock in clocks]), least, most, "the kernel's clock is not the driver's")


def timer(device: Any, rounds: int, most: float) -> Outcome:
    out = device.empty(1000, dtype="int64").zero_()
    device.load(Kernel("timer", "steps", None, elements=1, per_thread=1, threads=1024))(out, 1000)
    device.synchronize()
    step = interval([float(step) for step in out.tolist()])
    text = f"{step.value:.0f} ns ({step.low:.0f}–{step.high:.0f})"
    sound = 0 < step.value <= most
    return passed(text) if sound else failed(text, "%globaltimer is too coarse, or stands still")


def counter(device: Any, rounds: int, least: float, most: float) -> Outcome:
    if "energy_j" not in device.telemetry():
        return absent("no energy counter is read on this device")
    before, after, during, _ = _loaded(device, WATCHED)
    if "power_w" not in during:
        return absent("no power is read on this device")
    joules = after["energy_j"] - before["energy_j"]
    integrated = during["power_w"][1] * (after["at_s"] - before["at_s"])
    text = f"{joules / integrated:.3f} ({units.joules(joules)} over {units.joules(integrated)})"
    agree = least <= joules / integrated <= most
    return passed(text) if agree else failed(text, "the energy counter and the power sensor disagree")


def fields(device: Any, rounds: int) -> Outcome:
    before, after, during, elapsed = _loaded(device, 0.5)
    if not {"at_s", "power_w", "sm_clock_hz"} & after.keys():
        why = "; ".join(dict.fromkeys(after.get("absent", {}).values()))
        return absent(f"the driver answers none of them: {why or 'no reason given'}")
    known = [name for name in after if isinstance(after[name], int | float)]
    doubts = implausible(before, after, during, elapsed)
    return unless(doubts, doubts[0] if doubts else f"{len(known)} fields plausible")


def counters(device: Any, rounds: int, tolerance: float, tick: float) -> Outcome:
    before, cpu, wall = device.telemetry(), time.process_time(), time.perf_counter()
    if "own_s" not in before:
        return absent("this host counts no CPU time of a process")
    while time.process_time() - cpu < 0.25:
        sum(range(10_000))
    after, spent, elapsed = device.telemetry(), time.process_time() - cpu, time.perf_counter() - wall
    doubts = implausible(before, after, {}, elapsed)
    ratio = (after["own_s"] - before["own_s"]) / spent
    if not doubts and abs(ratio - 1) > tolerance + 2 * tick / spent:
        doubts = ["own_s does not count this process's seconds"]
    return unless(doubts, f"{ratio:.3f}")


def implausible(before: Mapping, after: Mapping, during: Mapping, elapsed: float) -> list[str]:
    """What cannot be, of two readings `elapsed` seconds of wall time apart, in words; nothing where all can."""
    doubts = [
        f"{name} reads {text(after[name])}"
        for names, (low, high), text in _POSSIBLE
        for name in names
        if after.get(name) and not low <= after[name] <= high  # sensors that a part does not have read 0
    ]
    grown = {name: after[name] - before[name] for name in after if isinstance(before.get(name), int | float)}
    if "at_s" in grown and abs(grown["at_s"] / elapsed - 1) > 0.1 + 0.05 / elapsed:
        doubts.append(f"at_s grew by {grown['at_s']:.4g} s in {elapsed:.4g} s")
    if "energy_j" in grown and elapsed > 0.3 and not WATTS[0] <= grown["energy_j"] / elapsed <= WATTS[1]:
        doubts.append(f"energy_j grew by {grown['energy_j'] / elapsed:.4g} J a second")
    for name, grew in grown.items():
        if name.startswith("throttled_"):
            most = elapsed
        elif name in ("own_s", "busy_s", "steal_s"):
            most = elapsed * len(CORES)  # counters of a host add up its cores
        else:
            continue
        if grew < -0.05:
            doubts.append(f"{name} fell by {-grew:.4g} s")
        elif grew > 1.1 * most + 0.1:
            doubts.append(f"{name} grew by {grew:.4g} s in {elapsed:.4g} s")
    if {"own_s", "busy_s"} <= grown.keys() and grown["own_s"] > 1.1 * grown["busy_s"] + 0.1:
        doubts.append(f"own_s grew by {grown['own_s']:.4g} s, all processes together by {grown['busy_s']:.4g} s")
    capped = "software power cap" in during.get("events", ()) and grown.get("throttled_power_cap_s", 0.0)
    if capped and capped < 1e-4 * elapsed:
        doubts.append(f"throttled_power_cap_s grew by {capped:.2g} s while the driver said that power held the clock")
    return doubts


def _loaded(device: Any, seconds: float) -> tuple[Mapping, Mapping, Mapping, float]:
    """(telemetry before, after, what was polled, wall seconds between) of so long a load on every pipe."""
    sample = chains(device, steps(device)).sampler(0.05)
    sample()
    with device.watch() as during:
        before, begun = device.telemetry(), time.perf_counter()
        while time.perf_counter() - begun < seconds:
            sample()
        after, elapsed = device.telemetry(), time.perf_counter() - begun
    return before, after, during, elapsed
