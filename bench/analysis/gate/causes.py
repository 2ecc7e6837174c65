"""What probably slowed a metric, from what else moved: a hint for where to look first, never part of the verdict; and
what a GPU's own counters say of it.

Work per SM clock tells slow clocks from slow work: where the rate fell and the work per clock did not, heat, power or a
clock setting is behind it. What streams from memory falls with memory; a library's kernel that falls alone, while the
loops and the memory beneath it stand, is that library's, or that kernel's.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from bench.analysis.gate.samples import MetricSamples
from bench.analysis.gate.verdict import CLOCK, IMPROVED, KERNEL, OK, SOFTWARE, MetricVerdict
from bench.schema import Run

ARITHMETIC = "arithmetic units"
# Domain -> what slows it, where one thing does.
_ALONE = {"memory": "memory", "link": "link", "latency": "host or launch path", "cache": "cache"}
# Less of a fall than this share of it is explained by another cause.
_MOST = 0.5


def per_clock(measured: MetricSamples, ratio: float, clock_hz: float | None) -> float | None:
    """The ratio of work per SM clock; None without clocks, and for what no SM clock drives."""
    if not (measured.clock_hz and clock_hz) or measured.metric.domain in ("memory", "link", "latency"):
        return None
    return ratio * clock_hz / measured.clock_hz


def cause(this: MetricVerdict, device: Collection[MetricVerdict], changes: Sequence[str], limits: Sequence[str]) -> str:
    """Why a slow metric is probably slow. device: every verdict of it; changes: of its environment; limits: what held
    its clocks, by the driver.
    """
    domain, fall, held = this.metric.domain, 1 - this.ratio, f" ({limits[0]})" if limits else ""
    if changes:
        return f"{SOFTWARE} ({', '.join(changes)})"
    # of memory, links and launches there is no work per clock
    if this.per_clock is not None and 1 - this.per_clock < (1 - _MOST) * fall:
        return f"{CLOCK}{held}"
    if domain in _ALONE:
        return _ALONE[domain]
    if domain == "library":
        beneath = "memory" if this.metric.amount == "bytes" else "arithmetic"
        under = [each for each in device if each.ratio and each.metric.domain == beneath]
        if not any(_slow(each) and 1 - each.ratio > _MOST * fall for each in under):
            return "" if all(map(_slow, under)) else KERNEL
        if beneath == "memory":
            return _ALONE["memory"]
    return f"{CLOCK}{held}" if limits else f"{CLOCK}, or {ARITHMETIC}"


def _slow(verdict: MetricVerdict) -> bool:
    return verdict.status not in (OK, IMPROVED)


def defects(run: Run) -> tuple[tuple[str, str], ...]:
    """(device, what moved) for each hardware-defect counter that moved while measuring, or says so already: it is no
    longer the machine that was bought, however fast it still is.
    """
    found = []
    for info in run.environment.devices:
        readings = [m.telemetry.get(name) or {} for m in run.of(info.id) for name in ("before", "after")]
        found += [(info.id, words) for words in dict.fromkeys(_broken(readings))]
    return tuple(found)


def _broken(readings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """By all readings of one device in their order: between two measurements it works too."""
    if lost := next((reading["lost"] for reading in readings if reading.get("lost")), None):
        yield f"the GPU fell off the bus (NVML: {lost})"
    errors = [reading["ecc_double_bit"] for reading in readings if "ecc_double_bit" in reading]
    if errors and max(errors) > errors[0]:
        yield f"uncorrectable memory errors during the Run: {max(errors) - errors[0]:.0f}"
    if any(reading.get("remap_failed") for reading in readings):
        yield "a row of memory could not be remapped"
    if any(reading.get("remap_pending") for reading in readings):
        yield "a row of memory waits to be remapped: reset the GPU"


def limits(run: Run, device: str) -> tuple[str, ...]:
    """What held a device's clocks while it was measured, in the words of its verdicts, most often said first."""
    reasons = (reason for m in run.of(device) for reason in m.reasons)
    held = (r for r in reasons if r.startswith("clocks held by") or "slowdown" in r or "power brake" in r)
    return tuple(words for words, _ in Counter(reason.split(" for ")[0] for reason in held).most_common())
