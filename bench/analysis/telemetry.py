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
# Corrected memory errors in a Run; fewer are cosmic rays.
MOST_CORRECTED = 100
POLLED = ("power_w", "sm_clock_hz", "memory_clock_hz", "temperature_c")

# least, mean, most
Span = tuple[float, float, float]


@dataclass(frozen=True)
class PolledPoint:
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
        mean = sum(span[1] * n for span, n in seen) / sum(n for _, n in seen)
        return min(span[0] for span, _ in seen), mean, max(span[2] for span, _ in seen)

    @property
    def most_links(self) -> int:
        """NVLinks that were up at any time; how many there could be says nothing, a board may leave some unused."""
        first = self.info.facts.get("nvlinks", "")
        known = [reading["nvlinks"] for reading in self.readings if "nvlinks" in reading]
        return max([*known, int(first) if first.isdigit() else 0])

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
    def points(self) -> tuple[PolledPoint, ...]:
        timed, found = self.seconds > 0, []
        start = next((reading["at_s"] for reading in self.readings if "at_s" in reading), 0.0)
        for number, m in enumerate(self._read, 1):
            after = m.telemetry.get("after", {})
            spans = {key: tuple(m.telemetry["during"][key]) for key in POLLED if _has(m, key)}
            # too short to be polled: what the reading right behind it says
            spans = {key: (after[key],) * 3 for key in POLLED if key in after} | spans
            if spans and (not timed or "at_s" in after):
                label = f"{m.probe} {', '.join(str(value) for value in told(m.params).values())}"
                at = after["at_s"] - start if timed else number
                found.append(PolledPoint(at, label, m.validity, m.reasons, spans))
        return tuple(found)


def _has(m: Measurement, key: str) -> bool:
    return key in (m.telemetry.get("during") or {})


def telemetry(run: Run, infos: Sequence[DeviceInfo]) -> tuple[DeviceTelemetry, ...]:
    """Every device, with what ran on it."""
    return tuple(DeviceTelemetry(info, run.of(info.id)) for info in infos)


@dataclass(frozen=True)
class DriverReading:
    """One quantity that a driver counted or read over a Run, beside what is expected of it. unit: "W", "Hz", "°C", "s",
    "J" or "" for a count or a word. low, high: what a polled one reached. share: of the time. most: what the device has
    of it at most. doubtful: not as expected.
    """

    quantity: str
    expected: str
    unit: str
    value: Any
    low: float | None = None
    high: float | None = None
    share: float | None = None
    most: str = ""
    doubtful: bool = False


# (quantity, expected, key of a reading, fact that says the most)
_LINKS = (
    ("PCIe generation", "the maximum under load", "pcie_generation", "pcie_generation_max"),
    ("PCIe lanes", "the maximum", "pcie_width", "pcie_width_max"),
)
_ERRORS = (
    ("uncorrectable memory errors", "ecc_double_bit", 0),
    ("corrected memory errors", "ecc_single_bit", MOST_CORRECTED),
)
_REMAPS = (("row remap pending", "remap_pending"), ("row remap failed", "remap_failed"))
_FACTS = (("MIG", "off", "mig"), ("ECC", "on", "ecc"), ("compute mode", "default", "compute_mode"))


def readings(seen: DeviceTelemetry, every: Sequence[DeviceTelemetry] = ()) -> Iterator[DriverReading]:
    """In the order of a table; what was not read is left out. every: all devices of the Run, for what siblings have."""
    return (each for each in _readings(seen, every) if each.value is not None and each.value != "")


def _readings(seen: DeviceTelemetry, every: Sequence[DeviceTelemetry]) -> Iterator[DriverReading]:
    facts, found = seen.info.facts, DriverReading
    counts = {word: count for word, count in seen.counts.items() if count}
    text = ", ".join(f"{count:,} {word}" for word, count in counts.items())
    yield found("measurements", "all valid", "", text or "none", doubtful=bool(counts.keys() - {"valid"}))
    yield _polled(seen, "power", "up to the limit", "W", "power_w")
    default, limit = facts.get("power_limit_default_w", ""), seen.last("power_limit_w")
    differs = bool(limit) and default.isdigit() and abs(limit - float(default)) > 1
    yield found("power limit", "the default", "W", limit, most=default if differs else "", doubtful=differs)
    yield _polled(seen, "SM clock", "", "Hz", "sm_clock_hz")
    yield _polled(seen, "memory clock", "constant", "Hz", "memory_clock_hz")
    yield _polled(seen, "temperature", "", "°C", "temperature_c")
    yield found("memory temperature", "", "°C", seen.last("memory_temperature_c"))
    for cause in THROTTLES.values():
        normal, seconds = cause == "power limit", seen.throttled.get(cause)
        share = seconds / seen.seconds if seconds and seen.seconds else None
        expected, doubtful = ("at full load", False) if normal else ("0 s", bool(seconds))
        yield found(f"slowed by {cause}", expected, "s", seconds, share=share, doubtful=doubtful)
    yield found("energy", "", "J", seen.grown("energy_j"))
    for quantity, key, most in _ERRORS:
        errors = seen.grown(key)
        yield found(quantity, "0", "", errors, doubtful=(errors or 0) > most)
    for quantity, key in _REMAPS:
        yield found(quantity, "no", "", _word(seen.last(key)), doubtful=bool(seen.last(key)))
    for quantity, expected, key, fact in _LINKS:
        value, most = seen.last(key), facts.get(fact, "")
        most = most if most.isdigit() else ""
        yield found(quantity, expected, "", value, most=most, doubtful=bool(most) and (value or 0) < int(most))
    yield _nvlinks(seen, every)
    for quantity, expected, key in _FACTS:
        yield found(quantity, expected, "", _word(facts.get(key)))
    yield found("driver", "", "", facts.get("driver"))
    if any("other_processes" in reading for reading in seen.readings):
        others = ", ".join(map(str, seen.others))
        yield found("other processes", "none", "", others or "none", doubtful=bool(others))


def _polled(seen: DeviceTelemetry, quantity: str, expected: str, unit: str, key: str) -> DriverReading:
    low, mean, high = seen.polled(key) or (None, None, None)
    return DriverReading(quantity, expected, unit, mean, low, high)


def _nvlinks(seen: DeviceTelemetry, every: Sequence[DeviceTelemetry]) -> DriverReading:
    """Of so many as its siblings have up or the product has, never of what this one was found with. Fewer than the
    product has are no doubt by themselves: a board may leave some unused.
    """
    up, total = seen.last("nvlinks"), seen.info.facts.get("nvlinks_total", "")
    product = [each for each in every if each.info.name == seen.info.name]
    usual = max(each.most_links for each in (seen, *product))
    beside = any(each.info.id != seen.info.id for each in product)
    known = max(usual if beside else 0, int(total) if total.isdigit() else 0)
    most = str(max(known, usual)) if known else ""
    return DriverReading("NVLinks up", "all", "", up, most=most, doubtful=up is not None and up < usual)


def _word(value: Any) -> str | None:
    return None if value is None else {"True": "on", "False": "off", True: "yes", False: "no"}.get(value, str(value))
