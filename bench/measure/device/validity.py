"""Whether a measurement counts, from what the GPU's driver counted and saw meanwhile.

"invalid": the number is not this GPU's, because heat or a power brake slowed it, another process worked on it, its
memory failed or it was lost. "suspect": something moved that should stand still. A power cap is how a GPU works at
full load, and its clock may go up and down under it without end: words, no blame. What was not read judges nothing, so
"valid" means that no cause was seen, and a reading without counters has seen little. Throttle times are compared with
the time between their own readings; each may be off by one step of the driver's, hence a tolerance of a hundredth.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from bench import units

# Counter -> the event whose time it counts. These say that the machine is unwell.
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


def summary(readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What nvml.Monitor.watch saw of work: n readings, [least, mean, most] of each quantity, every event that came up.

    idle: readings left out, because the GPU was idle or left without work. energy_step_s: between two steps of the
    energy counter, on the mean and as far as it was looked at: what a window of energy may be wrong by.
    """
    busy = [reading for reading in readings if not reading.get("resting") and "idle" not in reading.get("events", ())]
    condensed: dict[str, Any] = {"n": len(busy)}
    if len(busy) < len(readings):
        condensed["idle"] = len(readings) - len(busy)
    for key in ("power_w", "sm_clock_hz", "memory_clock_hz", "temperature_c"):
        if values := [reading[key] for reading in busy if key in reading]:
            condensed[key] = [min(values), fmean(values), max(values)]
    if seen := [reading["events"] for reading in readings if "events" in reading]:
        condensed["events"] = sorted(set().union(*seen))
    # A single interval is no measure: a change is seen up to one poll late, so that two may seem close together.
    counted = [reading for reading in readings if "energy_j" in reading]
    steps = [now["at_s"] for last, now in pairwise(counted) if now["energy_j"] != last["energy_j"]]
    if len(steps) > 2:
        condensed["energy_step_s"] = (steps[-1] - steps[0]) / (len(steps) - 1)
    return condensed


def judge(telemetry: Mapping[str, Any], elapsed: float) -> tuple[str, tuple[str, ...]]:
    """("valid" | "suspect" | "invalid", reasons) of what ran between the readings "before" and "after".

    "during" is a summary of what was polled meanwhile. Any of the three may lack anything. elapsed: seconds from
    before to after, for readings that bear no time of their own.
    """
    before, after, during = (telemetry.get(name) or {} for name in ("before", "after", "during"))
    if "at_s" in before and "at_s" in after:
        elapsed = after["at_s"] - before["at_s"]
    window = _Window(before, after, during, elapsed)
    invalid = [*_slowdowns(window), *_defects(window)]
    suspect, words = [*_doubts(window)], [*_limits(window)]
    return "invalid" if invalid else "suspect" if suspect else "valid", (*invalid, *suspect, *words)


@dataclass(frozen=True)
class _Window:
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    during: Mapping[str, Any]
    elapsed: float

    def saw(self, event: str) -> bool:
        return event in self.during.get("events", ())

    def counted(self, *keys: str) -> bool:
        return all(key in self.before and key in self.after for key in keys)

    def grown(self, key: str) -> float:
        return self.after[key] - self.before[key] if self.counted(key) else 0

    def share(self, key: str) -> float:
        """Of the time, at most all of it: the two counters and the clock are not read at one instant."""
        return min(self.grown(key) / self.elapsed, 1.0) if self.elapsed > 0 else 0.0

    @property
    def capped(self) -> bool:
        """Whether the power limit held the clocks: as counted, or where nothing counts as seen."""
        key = "throttled_power_cap_s"
        return self.share(key) > SHARE if self.counted(key) else self.saw("software power cap")

    def wandered(self, clock: str) -> str:
        """Between which two a clock moved while it should stand still; "" where it did."""
        least, _, most = self.during.get(clock, (0.0, 0.0, 0.0))
        return f"between {units.hertz(least)} and {units.hertz(most)}" if most - least > WANDER * most else ""


def _slowdowns(window: _Window) -> Iterator[str]:
    for key, cause in SLOWDOWNS.items():
        if window.counted(key):
            if (share := window.share(key)) > SHARE:
                yield f"{cause} for {share:.0%} of the time"
        elif window.saw(cause):
            yield f"{cause} seen while measuring"
    if window.saw("hardware slowdown") and not window.counted(*HARDWARE):
        yield "hardware slowdown seen while measuring"


def _defects(window: _Window) -> Iterator[str]:
    before, after = window.before, window.after
    if lost := before.get("lost") or after.get("lost"):
        yield f"the GPU fell off the bus (NVML: {lost})"
    if others := sorted({*before.get("other_processes", ()), *after.get("other_processes", ())}):
        yield f"other processes computed on this GPU: {', '.join(map(str, others))}"
    if (errors := window.grown("ecc_double_bit")) > 0:
        yield f"{errors:.0f} uncorrectable memory error{'s' if errors != 1 else ''}"
    if before.get("remap_failed") or after.get("remap_failed"):
        yield "a row of memory could not be remapped: this GPU's memory is defective"


def _doubts(window: _Window) -> Iterator[str]:
    # An umbrella over heat, the brake and power that rises too fast, which alone has no counter; drivers may also show
    # it during an ordinary change of clocks (nvml.h), so beside quiet counters it proves nothing.
    # Under a power cap the clock changes all the time.
    quiet = window.counted(*HARDWARE) and all(window.share(key) <= SHARE for key in HARDWARE)
    if window.saw("hardware slowdown") and quiet and not window.capped:
        yield "hardware slowdown seen while measuring, by neither heat nor a power brake as the driver counts them"
    for key, cause in SLOWDOWNS.items():
        # a counter may step late, or in another unit than the header says: what was seen is not explained away
        if window.counted(key) and window.share(key) <= SHARE and window.saw(cause):
            yield f"{cause} seen while measuring, though its counter hardly moved"
    if window.after.get("remap_pending") and window.before.get("remap_pending") is False:
        yield "a row of memory failed and waits to be remapped: reset the GPU"
    if (lanes := -window.grown("pcie_width")) > 0:
        yield f"the PCIe link lost {lanes} of its {window.before['pcie_width']} lanes"
    if (errors := window.grown("ecc_single_bit")) > CORRECTED:
        yield f"{errors:.0f} corrected memory errors"
    if between := window.wandered("memory_clock_hz"):
        yield f"the memory clock moved {between}"


def _limits(window: _Window) -> Iterator[str]:
    if (share := window.share("throttled_power_cap_s")) > SHARE:
        yield f"clocks held by the power limit for {share:.0%} of the time"
    elif window.capped:
        yield "clocks held by the power limit"
    if (between := window.wandered("sm_clock_hz")) and window.capped:
        yield f"the clock went up and down {between} under the power limit"
    yield from (words for event, words in LIMITS.items() if window.saw(event))
