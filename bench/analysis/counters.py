"""What the driver counted and read of a device over a Run, quantity by quantity, beside what is expected of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.reasons import MOST_CORRECTED, links
from bench.analysis.telemetry import THROTTLES, DeviceTelemetry


@dataclass(frozen=True)
class Reading:
    """One quantity. unit: "W", "Hz", "°C", "s", "J" or "" for a count or a word. low, high: what a polled one reached.

    share: of the time. most: what the device has of it at most. doubtful: not as expected.
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


def readings(seen: DeviceTelemetry, every: Sequence[DeviceTelemetry] = ()) -> Iterator[Reading]:
    """In the order of a table; what was not read is left out. every: all devices of the Run, for what siblings have."""
    counts = {word: count for word, count in seen.counts.items() if count}
    text = ", ".join(f"{count:,} {word}" for word, count in counts.items())
    yield Reading("measurements", "all valid", "", text or "none", doubtful=bool(counts.keys() - {"valid"}))
    yield from _polled(seen, "power", "up to the limit", "W", "power_w")
    default, limit = seen.info.facts.get("power_limit_default_w", ""), seen.last("power_limit_w")
    differs = bool(limit) and default.isdigit() and abs(limit - float(default)) > 1
    yield from _known("power limit", "the default", "W", limit, most=default if differs else "", doubtful=differs)
    yield from _polled(seen, "SM clock", "", "Hz", "sm_clock_hz")
    yield from _polled(seen, "memory clock", "constant", "Hz", "memory_clock_hz")
    yield from _polled(seen, "temperature", "", "°C", "temperature_c")
    yield from _known("memory temperature", "", "°C", seen.last("memory_temperature_c"))
    for cause in THROTTLES.values():
        normal, seconds = cause == "power limit", seen.throttled.get(cause)
        share = seconds / seen.seconds if seconds and seen.seconds else None
        expected = "at full load" if normal else "0 s"
        yield from _known(f"slowed by {cause}", expected, "s", seconds, share, doubtful=bool(seconds) and not normal)
    yield from _known("energy", "", "J", seen.grown("energy_j"))
    for quantity, key, most in (
        ("uncorrectable", "ecc_double_bit", 0),
        ("corrected", "ecc_single_bit", MOST_CORRECTED),
    ):
        errors = seen.grown(key)
        yield from _known(f"{quantity} memory errors", "0", "", errors, doubtful=(errors or 0) > most)
    for quantity, key in (("row remap pending", "remap_pending"), ("row remap failed", "remap_failed")):
        yield from _known(quantity, "no", "", _word(seen.last(key)), doubtful=bool(seen.last(key)))
    for quantity, key, fact, expected in _LINKS:
        value, most = seen.last(key), seen.info.facts.get(fact, "")
        less = value is not None and most.isdigit() and value < int(most)
        yield from _known(quantity, expected, "", value, most=most if most.isdigit() else "", doubtful=less)
    yield from _nvlinks(seen, every)
    for quantity, expected, key in _FACTS:
        yield from _known(quantity, expected, "", _word(seen.info.facts.get(key)))
    if any("other_processes" in reading for reading in seen.readings):
        others = ", ".join(map(str, seen.others))
        yield Reading("other processes", "none", "", others or "none", doubtful=bool(others))


_LINKS = (
    ("PCIe generation", "pcie_generation", "pcie_generation_max", "the maximum under load"),
    ("PCIe lanes", "pcie_width", "pcie_width_max", "the maximum"),
)
_FACTS = (
    ("MIG", "off", "mig"),
    ("ECC", "on", "ecc"),
    ("compute mode", "default", "compute_mode"),
    ("driver", "", "driver"),
)


def _nvlinks(seen: DeviceTelemetry, every: Sequence[DeviceTelemetry]) -> Iterator[Reading]:
    """Of so many as its siblings have up or the product has, never of what this one was found with.

    Fewer than the product has are no doubt by themselves: a board may leave some unused.
    """
    up = seen.last("nvlinks")
    usual = max(links(each) for each in (seen, *every) if each.info.name == seen.info.name)
    total = seen.info.facts.get("nvlinks_total", "")
    beside = any(each.info.name == seen.info.name and each.info.id != seen.info.id for each in every)
    known = max(usual if beside else 0, int(total) if total.isdigit() else 0)
    most = str(max(known, usual)) if known else ""
    yield from _known("NVLinks up", "all", "", up, most=most, doubtful=up is not None and up < usual)


def _polled(seen: DeviceTelemetry, quantity: str, expected: str, unit: str, key: str) -> Iterator[Reading]:
    if span := seen.polled(key):
        yield Reading(quantity, expected, unit, span[1], span[0], span[2])


def _known(
    quantity: str, expected: str, unit: str, value: Any, share: float | None = None, most: str = "", doubtful=False
) -> Iterator[Reading]:
    if value is not None and value != "":
        yield Reading(quantity, expected, unit, value, share=share, most=most, doubtful=doubtful)


def _word(value: Any) -> str | None:
    return None if value is None else {"True": "on", "False": "off", True: "yes", False: "no"}.get(value, str(value))
