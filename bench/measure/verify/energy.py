"""Energy and the driver's units: a counter against integrated power, and every field against wall time."""

import time
from collections.abc import Mapping
from typing import Any

from bench import units
from bench.measure.verify.assumption import NO_GPU, Outcome, absent, assumption, failed, passed
from bench.measure.verify.pairs import chains, steps

# Watts of any GPU that works, from a small one at rest to a large module; hertz of any clock; degrees of a chip alive.
WATTS, HERTZ, CELSIUS = (1.0, 3000.0), (1e8, 2e10), (1.0, 130.0)
# Seconds that the energy counter is watched: it steps every 20 to 100 ms.
WATCHED = 3.0
# Energy over integrated power: a sensor that looks at a quarter of the time is off by so much (arXiv 2312.02741).
AGREES = (0.8, 1.25)


@assumption(
    expected=f"{AGREES[0]:g} to {AGREES[1]:g} of integrated power",
    fix="do not use joules from here: the counter's unit or step is not what nvml.py takes it for",
    seconds=WATCHED + 1,
)
def counter(device: Any, rounds: int) -> Outcome:
    """The energy counter and the power that was read meanwhile tell the same joules."""
    before = device.telemetry()
    if "energy_j" not in before:
        return absent("no energy counter is read on this device")
    before, after, during, _ = _loaded(device, WATCHED)
    if "power_w" not in during:
        return absent("no power is read on this device")
    spent = after["at_s"] - before["at_s"]
    joules, integrated = after["energy_j"] - before["energy_j"], during["power_w"][1] * spent
    text = f"{joules / integrated:.3f} ({units.joules(joules)} over {units.joules(integrated)})"
    if AGREES[0] <= joules / integrated <= AGREES[1]:
        return passed(text)
    return failed(text, "the energy counter and the power sensor disagree")


@assumption(
    expected="all possible",
    fix="one of the driver's fields has another unit than nvml.py takes it for: report driver and GPU",
    timed=False,
    seconds=1.0,
    brief=True,
)
def fields(device: Any, rounds: int) -> Outcome:
    """Every field that the driver answers has the unit it is taken for (ns or µs, mW or W), by what is possible."""
    if not device.info.sms:
        return absent(NO_GPU)
    before, after, during, elapsed = _loaded(device, 0.5)
    if not {"at_s", "power_w", "sm_clock_hz"} & after.keys():
        why = "; ".join(dict.fromkeys(after.get("absent", {}).values()))
        return absent(f"the driver answers none of them: {why or 'no reason given'}")
    known = [name for name in after if isinstance(after[name], int | float)]
    doubts = implausible(before, after, during, elapsed)
    return failed(doubts[0], "; ".join(doubts)) if doubts else passed(f"{len(known)} fields plausible")


def implausible(
    before: Mapping[str, Any], after: Mapping[str, Any], during: Mapping[str, Any], elapsed: float
) -> list[str]:
    """What cannot be, of two readings `elapsed` seconds of wall time apart, in words; nothing where all can.

    A factor of a thousand, the usual error of a unit, is far outside of each bound.
    """
    found = []
    for name, (low, high), text in (
        *((name, WATTS, units.watts) for name in ("power_w", "power_mean_w", "power_limit_w")),
        *((name, HERTZ, units.hertz) for name in ("sm_clock_hz", "memory_clock_hz")),
        *((name, CELSIUS, lambda value: f"{value:.0f} °C") for name in ("temperature_c", "memory_temperature_c")),
    ):
        # sensors that a part does not have read 0
        if after.get(name) and not low <= after[name] <= high:
            found.append(f"{name} reads {text(after[name])}")
    grown = {
        name: after[name] - before[name] for name in after if name in before and _number(before[name], after[name])
    }
    if "at_s" in grown and abs(grown["at_s"] / elapsed - 1) > 0.1 + 0.05 / elapsed:
        found.append(f"at_s grew by {grown['at_s']:.4g} s in {elapsed:.4g} s")
    if "energy_j" in grown and elapsed > 0.3:
        watts = grown["energy_j"] / elapsed
        if not WATTS[0] <= watts <= WATTS[1]:
            found.append(f"energy_j grew by {watts:.4g} J a second")
    for name, grew in grown.items():
        if not (name.startswith("throttled_") or name in ("own_s", "busy_s", "steal_s")):
            continue
        # counters of a host add up its cores
        most = elapsed * (1 if name.startswith("throttled_") else _cores())
        if grew < -0.05:
            found.append(f"{name} fell by {-grew:.4g} s")
        elif grew > 1.1 * most + 0.1:
            found.append(f"{name} grew by {grew:.4g} s in {elapsed:.4g} s")
    if {"own_s", "busy_s"} <= grown.keys() and grown["own_s"] > 1.1 * grown["busy_s"] + 0.1:
        found.append(f"own_s grew by {grown['own_s']:.4g} s, all processes together by {grown['busy_s']:.4g} s")
    capped = "software power cap" in during.get("events", ()) and grown.get("throttled_power_cap_s", 0.0)
    if capped and grown["throttled_power_cap_s"] < 1e-4 * elapsed:
        found.append(f"throttled_power_cap_s grew by {capped:.2g} s while the driver said that power held the clock")
    return found


def _number(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _cores() -> int:
    from bench.measure.device.cpu import CORES

    return len(CORES)


def _loaded(device: Any, seconds: float) -> tuple[Mapping, Mapping, Mapping, float]:
    """(telemetry before, after, what was polled, wall seconds between) of so long a load on every pipe."""
    load = chains(device, steps(device))
    count = load.count(device, 0.05)
    load.seconds(device, count)
    with device.watch() as during:
        before, begun = device.telemetry(), time.perf_counter()
        while time.perf_counter() - begun < seconds:
            load.seconds(device, count)
        after, elapsed = device.telemetry(), time.perf_counter() - begun
    return before, after, during, elapsed
