"""What probably slowed a metric, from what else moved: a hint for where to look first, never part of the verdict.

Work per SM clock tells slow clocks from slow work: where the rate fell and the work per clock did not, heat, power or a
clock setting is behind it. What streams from memory falls with memory; a library's kernel that falls alone, while the
loops and the memory beneath it stand, is that library's, or that kernel's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.gate.samples import MetricSamples

CLOCK, MEMORY, CACHE, LINK = "clock, heat or power", "memory", "cache", "link"
SOFTWARE, KERNEL, HOST = "software change", "kernel or library", "host or launch path"
ARITHMETIC = "arithmetic units"
# Less of a fall than this share of it is explained by another cause.
_MOST = 0.5


@dataclass(frozen=True)
class Moved:
    """How a metric stands to what was expected: ratio of speeds, and of work per SM clock where clocks are known."""

    measured: MetricSamples
    ratio: float
    per_clock: float | None
    slow: bool


def per_clock(measured: MetricSamples, ratio: float, clock_hz: float | None) -> float | None:
    """The ratio of work per SM clock; None without clocks, and for what no SM clock drives."""
    if not (measured.clock_hz and clock_hz) or measured.metric.domain in ("memory", "link", "latency"):
        return None
    return ratio * clock_hz / measured.clock_hz


def cause(name: str, moved: Mapping[str, Moved], changes: Sequence[str], limits: Sequence[str]) -> str:
    """Why a slow metric is probably slow. changes: of the environment; limits: what held the clocks, by the driver."""
    this = moved[name]
    domain, fall = this.measured.metric.domain, 1 - this.ratio
    slow = {domain: [m for m in moved.values() if m.slow and m.measured.metric.domain == domain] for domain in _DOMAINS}
    if changes:
        return f"{SOFTWARE} ({', '.join(changes)})"
    if domain in ("cache", "arithmetic", "library"):
        clocked = this.per_clock is not None and 1 - this.per_clock < (1 - _MOST) * fall
        if clocked:
            return f"{CLOCK}{f' ({limits[0]})' if limits else ''}"
    if domain == "memory":
        return MEMORY
    if domain == "link":
        return LINK
    if domain == "latency":
        return HOST
    if domain == "cache":
        return CACHE
    if domain == "library":
        beneath = "memory" if this.measured.metric.amount == "bytes" else "arithmetic"
        if any(1 - m.ratio > _MOST * fall for m in slow[beneath]):
            return MEMORY if beneath == "memory" else _hot(limits)
        stands = any(m.measured.metric.domain == beneath and not m.slow for m in moved.values())
        return KERNEL if stands else ""
    return _hot(limits)


_DOMAINS = ("memory", "cache", "arithmetic", "library", "link", "latency")


def _hot(limits: Sequence[str]) -> str:
    return f"{CLOCK} ({limits[0]})" if limits else f"{CLOCK}, or {ARITHMETIC}"
