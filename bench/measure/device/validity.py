"""Whether a measurement counts, from what the GPU's driver counted and saw meanwhile.

"invalid": the number is not this GPU's, because heat or a power brake slowed it, another process worked on it, its
memory failed or it was lost. "suspect": something moved that should stand still. A power cap is how a GPU works at
full load, and its clock may go up and down under it without end: words, no blame. What was not read judges nothing, so
"valid" means that no cause was seen, and a reading without counters has seen little. Throttle times are compared with
the time between their own readings; each may be off by one step of the driver's, hence a tolerance of a hundredth.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from bench import units

# Counter -> the cause that it counts, which is also its word among the events. These say that the machine is unwell.
SLOWDOWNS = {
    "throttled_hw_thermal_s": "hardware thermal slowdown",
    "throttled_power_brake_s": "hardware power brake",
    "throttled_sw_thermal_s": "software thermal slowdown",
}
HARDWARE = ("throttled_hw_thermal_s", "throttled_power_brake_s")
# Events that only explain a clock -> how a person says it.
LIMITS = {
    "application clocks": "clocks held by application clocks that someone set",
    "board limit": "clocks held by the board's limit",
    "sync boost": "clocks held by a sync boost group",
}
SHARE = 0.01  # of the time; a slowdown of zero length once failed a diagnostic (NVIDIA/DCGM#242)
CORRECTED = 100  # corrected errors in one measurement; below are cosmic rays
WANDER = 0.02  # of a clock; the memory's stands still under load


def judge(telemetry: Mapping[str, Any], elapsed: float) -> tuple[str, tuple[str, ...]]:
    """("valid" | "suspect" | "invalid", reasons) of what ran between the readings "before" and "after".

    "during" is nvml.summary of what was polled meanwhile. Any of the three may lack anything. elapsed: seconds from
    before to after, for readings that bear no time of their own.
    """
    before, after, during = (telemetry.get(name) or {} for name in ("before", "after", "during"))
    if "at_s" in before and "at_s" in after:
        elapsed = after["at_s"] - before["at_s"]
    invalid = [*_slowdowns(before, after, during, elapsed), *_defects(before, after)]
    suspect = [*_doubts(before, after, during, elapsed)]
    words = [*_limits(before, after, during, elapsed)]
    return "invalid" if invalid else "suspect" if suspect else "valid", (*invalid, *suspect, *words)


def _slowdowns(before: Mapping, after: Mapping, during: Mapping, elapsed: float) -> Iterator[str]:
    seen = during.get("events", ())
    for key, cause in SLOWDOWNS.items():
        if _counted(before, after, key):
            if (share := _share(before, after, key, elapsed)) > SHARE:
                yield f"{cause} for {share:.0%} of the time"
        elif cause in seen:
            yield f"{cause} seen while measuring"
    if "hardware slowdown" in seen and not _hardware_counted(before, after):
        yield "hardware slowdown seen while measuring"


def _defects(before: Mapping, after: Mapping) -> Iterator[str]:
    lost = before.get("lost") or after.get("lost")
    if lost:
        yield f"the GPU fell off the bus (NVML: {lost})"
    others = sorted({*before.get("other_processes", ()), *after.get("other_processes", ())})
    if others:
        yield f"other processes computed on this GPU: {', '.join(map(str, others))}"
    if (errors := _grown(before, after, "ecc_double_bit")) > 0:
        yield f"{errors:.0f} uncorrectable memory error{'s' if errors != 1 else ''}"
    if before.get("remap_failed") or after.get("remap_failed"):
        yield "a row of memory could not be remapped: this GPU's memory is defective"


def _doubts(before: Mapping, after: Mapping, during: Mapping, elapsed: float) -> Iterator[str]:
    # An umbrella over heat, the brake and power that rises too fast, which alone has no counter; drivers may also show
    # it during an ordinary change of clocks (nvml.h), so beside quiet counters it proves nothing.
    # Under a power cap the clock changes all the time.
    quiet = all(_share(before, after, key, elapsed) <= SHARE for key in HARDWARE)
    seen = "hardware slowdown" in during.get("events", ()) and _hardware_counted(before, after)
    if seen and quiet and not _capped(before, after, during, elapsed):
        yield "hardware slowdown seen while measuring, by neither heat nor a power brake as the driver counts them"
    for key, cause in SLOWDOWNS.items():
        # a counter may step late, or in another unit than the header says: what was seen is not explained away
        still = _counted(before, after, key) and _share(before, after, key, elapsed) <= SHARE
        if still and cause in during.get("events", ()):
            yield f"{cause} seen while measuring, though its counter hardly moved"
    if after.get("remap_pending") and before.get("remap_pending") is False:
        yield "a row of memory failed and waits to be remapped: reset the GPU"
    if (lanes := -_grown(before, after, "pcie_width")) > 0:
        yield f"the PCIe link lost {lanes} of its {before['pcie_width']} lanes"
    if (errors := _grown(before, after, "ecc_single_bit")) > CORRECTED:
        yield f"{errors:.0f} corrected memory errors"
    least, _, most = during.get("memory_clock_hz", (0.0, 0.0, 0.0))
    if most - least > WANDER * most:
        yield f"the memory clock moved between {units.hertz(least)} and {units.hertz(most)}"


def _limits(before: Mapping, after: Mapping, during: Mapping, elapsed: float) -> Iterator[str]:
    seen = during.get("events", ())
    if (share := _share(before, after, "throttled_power_cap_s", elapsed)) > SHARE:
        yield f"clocks held by the power limit for {share:.0%} of the time"
    elif _capped(before, after, during, elapsed):
        yield "clocks held by the power limit"
    least, _, most = during.get("sm_clock_hz", (0.0, 0.0, 0.0))
    if most - least > WANDER * most and _capped(before, after, during, elapsed):
        yield f"the clock went up and down between {units.hertz(least)} and {units.hertz(most)} under the power limit"
    yield from (words for event, words in LIMITS.items() if event in seen)


def _capped(before: Mapping, after: Mapping, during: Mapping, elapsed: float) -> bool:
    """Whether the power limit held the clocks: as counted, or where nothing counts as seen."""
    if _counted(before, after, "throttled_power_cap_s"):
        return _share(before, after, "throttled_power_cap_s", elapsed) > SHARE
    return "software power cap" in during.get("events", ())


def _hardware_counted(before: Mapping, after: Mapping) -> bool:
    return all(_counted(before, after, key) for key in HARDWARE)


def _counted(before: Mapping, after: Mapping, key: str) -> bool:
    return key in before and key in after


def _grown(before: Mapping, after: Mapping, key: str) -> float:
    return after[key] - before[key] if _counted(before, after, key) else 0


def _share(before: Mapping, after: Mapping, key: str, elapsed: float) -> float:
    """Of the time, at most all of it: the two counters and the clock are not read at one instant."""
    return min(_grown(before, after, key) / elapsed, 1.0) if elapsed > 0 else 0.0
