"""What every device's driver counted over a Run, from the first reading to the last, and what was polled meanwhile.

Throttle times and errors are differences of counters, so nothing between two readings is missed; power, clocks and
temperature are polled while a case runs, so they say nothing of the pauses. What was not read is named with its reason.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from bench.analysis.names import told
from bench.schema import DeviceInfo, Measurement, Run

# Counter of throttle time -> what slowed the GPU. Only the first is how a GPU works at full load.
THROTTLES = {
    "throttled_power_cap_s": "power limit",
    "throttled_sync_boost_s": "sync boost group",
    "throttled_sw_thermal_s": "heat, by software",
    "throttled_hw_thermal_s": "heat, by hardware",
    "throttled_power_brake_s": "power brake",
}
POLLED = ("power_w", "sm_clock_hz", "memory_clock_hz", "temperature_c")

# least, mean, most
Span = tuple[float, float, float]


@dataclass(frozen=True)
class Point:
    """What was polled during one measurement. at: seconds since the first reading, or its number."""

    at: float
    label: str
    validity: str
    reasons: tuple[str, ...]
    polled: Mapping[str, Span]


@dataclass(frozen=True)
class DeviceTelemetry:
    """One device over the whole Run, from its measurements in the order they ran."""

    info: DeviceInfo
    measurements: tuple[Measurement, ...]

    @cached_property
    def _read(self) -> tuple[Measurement, ...]:
        return tuple(m for m in self.measurements if m.telemetry)

    @cached_property
    def readings(self) -> tuple[Mapping[str, Any], ...]:
        """Every reading of the counters, two per measurement."""
        return tuple(m.telemetry[when] for m in self._read for when in ("before", "after") if m.telemetry.get(when))

    @property
    def is_gpu(self) -> bool:
        """Whether a driver was asked, successfully or not."""
        return any("at_s" in reading or "absent" in reading for reading in self.readings)

    @property
    def is_slice(self) -> bool:
        """A MIG slice: a part of a GPU, with counters of its own only in part."""
        return self.info.uuid.startswith("MIG-") or self.info.facts.get("mig") == "True"

    @cached_property
    def counts(self) -> Counter:
        return Counter(m.validity for m in self.measurements if not m.skip)

    @cached_property
    def seconds(self) -> float:
        """From the first reading to the last; 0 where the readings bear no time."""
        times = [reading["at_s"] for reading in self.readings if "at_s" in reading]
        return times[-1] - times[0] if times else 0.0

    def last(self, key: str) -> Any:
        return next((reading[key] for reading in reversed(self.readings) if key in reading), None)

    def ever(self, key: str) -> Any:
        """The first reading of a key that is more than nothing: what was lost or failed once stays so."""
        return next((reading[key] for reading in self.readings if reading.get(key)), None)

    def grown(self, key: str) -> float | None:
        """What a counter gained from reading to reading; None where it was never read twice."""
        values = [reading[key] for reading in self.readings if key in reading]
        # a driver that was loaded anew counts from zero again
        return sum(max(0.0, b - a) for a, b in pairwise(values)) if len(values) > 1 else None

    def gained(self, key: str) -> float:
        """What a counter gained within the measurements alone."""
        pairs = [(m.telemetry.get("before", {}), m.telemetry.get("after", {})) for m in self._read]
        return sum(after[key] - before[key] for before, after in pairs if key in before and key in after)

    @cached_property
    def throttled(self) -> Mapping[str, float]:
        """Cause -> seconds, for the causes that were counted."""
        found = {cause: self.grown(key) for key, cause in THROTTLES.items()}
        return {cause: seconds for cause, seconds in found.items() if seconds is not None}

    @cached_property
    def throttled_share(self) -> Mapping[str, float]:
        """Cause -> share of the time, at most all of it; empty where the readings bear no time."""
        if not self.seconds:
            return {}
        return {cause: min(seconds / self.seconds, 1.0) for cause, seconds in self.throttled.items()}

    def polled(self, key: str) -> Span | None:
        """Least, mean over all readings, and most."""
        seen = [(m.telemetry["during"][key], m.telemetry["during"].get("n", 1)) for m in self._read if _has(m, key)]
        if not seen:
            return None
        weight = sum(n for _, n in seen)
        return (
            min(span[0] for span, _ in seen),
            sum(span[1] * n for span, n in seen) / weight,
            max(span[2] for span, _ in seen),
        )

    @cached_property
    def others(self) -> tuple[int, ...]:
        """Processes of others that were seen on the GPU."""
        return tuple(sorted({pid for reading in self.readings for pid in reading.get("other_processes", ())}))

    @cached_property
    def absent(self) -> Mapping[str, tuple[str, ...]]:
        """Reason -> what was never read because of it."""
        reasons: dict[str, str] = {}
        for reading in self.readings:
            reasons |= reading.get("absent", {})
        grouped: dict[str, list[str]] = {}
        for key, reason in reasons.items():
            if not any(key in reading for reading in self.readings):
                grouped.setdefault(reason, []).append(key)
        return {reason: tuple(keys) for reason, keys in grouped.items()}

    @cached_property
    def causes(self) -> Counter:
        return Counter(reason for m in self.measurements if m.validity != "valid" for reason in m.reasons)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        return tuple(self._points())

    def _points(self) -> Iterator[Point]:
        timed = self.seconds > 0
        start = next((reading["at_s"] for reading in self.readings if "at_s" in reading), 0.0)
        for number, m in enumerate(self._read, 1):
            after = m.telemetry.get("after", {})
            spans = {key: tuple(m.telemetry["during"][key]) for key in POLLED if _has(m, key)}
            # too short to be polled: what the reading right behind it says
            spans = {key: (after[key],) * 3 for key in POLLED if key in after} | spans
            if spans and (not timed or "at_s" in after):
                label = f"{m.probe} {', '.join(str(value) for value in told(m.params).values())}"
                yield Point(after["at_s"] - start if timed else number, label, m.validity, m.reasons, spans)


def _has(m: Measurement, key: str) -> bool:
    return key in (m.telemetry.get("during") or {})


def telemetry(run: Run, infos: Sequence[DeviceInfo]) -> tuple[DeviceTelemetry, ...]:
    """Every device, with what ran on it."""
    return tuple(DeviceTelemetry(info, run.of(info.id)) for info in infos)
