"""How every GPU fared, as a table: a row per quantity with what is expected of it, a column per device."""

from collections.abc import Callable, Sequence
from typing import Any

from bench import units
from bench.report import names
from bench.report.health import THROTTLES, Health
from bench.report.tables import Cell, Column, Table

_NONE = Cell("–")


def vitals(all_of_them: Sequence[Health]) -> Table | None:
    """None where no driver was asked."""
    if not any(each.is_gpu and not each.info.simulated for each in all_of_them):
        return None
    rows = [
        ("measurements", "all valid", _counts),
        ("power", "up to the limit", lambda each: _span(each, "power_w", units.watts)),
        ("power limit", "the default", _limit),
        ("SM clock", "", lambda each: _span(each, "sm_clock_hz", units.hertz)),
        ("memory clock", "still", lambda each: _span(each, "memory_clock_hz", units.hertz)),
        ("temperature", "", lambda each: _span(each, "temperature_c", lambda value: f"{value:.0f} °C")),
        ("memory temperature", "", lambda each: _last(each, "memory_temperature_c", lambda value: f"{value:.0f} °C")),
        *((f"slowed by: {cause}", _expected(cause), _slowed(cause)) for cause in THROTTLES.values()),
        ("energy", "", lambda each: _grown(each, "energy_j", units.joules)),
        ("uncorrectable memory errors", "0", lambda each: _grown(each, "ecc_double_bit", _count, bad=0)),
        ("corrected memory errors", "0", lambda each: _grown(each, "ecc_single_bit", _count, bad=100)),
        ("row remap pending", "no", lambda each: _flag(each, "remap_pending")),
        ("row remap failed", "no", lambda each: _flag(each, "remap_failed")),
        ("PCIe generation", "the maximum under load", lambda each: _of(each, "pcie_generation", "pcie_generation_max")),
        ("PCIe lanes", "the maximum", lambda each: _of(each, "pcie_width", "pcie_width_max")),
        ("NVLinks up", "all", lambda each: _of(each, "nvlinks", "nvlinks")),
        ("MIG", "off", lambda each: _fact(each, "mig")),
        ("ECC", "on", lambda each: _fact(each, "ecc")),
        ("compute mode", "default", lambda each: _fact(each, "compute_mode")),
        ("driver", "", lambda each: _fact(each, "driver")),
        ("other processes", "none", _others),
    ]
    columns = (Column("quantity"), Column("expected"), *(Column(names.device(each.info.id)) for each in all_of_them))
    body = [(Cell(name), Cell(wanted), *(cell(each) for each in all_of_them)) for name, wanted, cell in rows]
    kept = [row for row in body if any(cell != _NONE for cell in row[2:])]
    return Table("vitals", "How every device fared", columns, tuple(kept))


def _counts(each: Health) -> Cell:
    bad = each.counts["invalid"] + each.counts["suspect"]
    text = ", ".join(f"{count} {word}" for word, count in each.counts.items() if count)
    return Cell(text or "none", mark="suspect" if bad else "")


def _span(each: Health, key: str, text: Callable[[float], str]) -> Cell:
    span = each.polled(key)
    return Cell(f"mean {text(span[1])}, {units.between(span[0], span[2], text)}", span[1]) if span else _NONE


def _limit(each: Health) -> Cell:
    limit, default = each.last("power_limit_w"), each.info.facts.get("power_limit_default_w", "")
    if not limit:
        return _NONE
    differs = default.isdigit() and abs(limit - float(default)) > 1
    return Cell(units.watts(limit) + (f", default {default} W" if differs else ""), limit, "suspect" if differs else "")


def _expected(cause: str) -> str:
    return "at full load" if cause == "power limit" else "0 s"


def _slowed(cause: str) -> Callable[[Health], Cell]:
    def cell(each: Health) -> Cell:
        seconds = each.throttled.get(cause)
        if seconds is None:
            return _NONE
        if not seconds:
            return Cell("0 s", 0.0)
        share = f", {units.percent(seconds / each.seconds, 2)} of the time" if each.seconds else ""
        return Cell(f"{units.seconds(seconds)}{share}", seconds, "" if cause == "power limit" else "suspect")

    return cell


def _last(each: Health, key: str, text: Callable[[Any], str]) -> Cell:
    value = each.last(key)
    return _NONE if value is None else Cell(text(value), value)


def _grown(each: Health, key: str, text: Callable[[float], str], bad: float | None = None) -> Cell:
    value = each.grown(key)
    if value is None:
        return _NONE
    return Cell(text(value), value, "suspect" if bad is not None and value > bad else "")


def _count(value: float) -> str:
    return f"{value:.0f}"


def _flag(each: Health, key: str) -> Cell:
    value = each.last(key)
    return _NONE if value is None else Cell("yes" if value else "no", mark="suspect" if value else "")


def _of(each: Health, key: str, fact: str) -> Cell:
    """A value beside the most that the device has, where both are known."""
    value, most = each.last(key), each.info.facts.get(fact, "")
    if value is None:
        return _NONE
    less = most.isdigit() and value < int(most)
    return Cell(f"{value} of {most}" if most.isdigit() else str(value), value, "suspect" if less else "")


def _fact(each: Health, key: str) -> Cell:
    value = each.info.facts.get(key)
    return _NONE if value is None else Cell({"True": "on", "False": "off"}.get(value, value))


def _others(each: Health) -> Cell:
    if not any("other_processes" in reading for reading in each.readings):
        return _NONE
    return Cell(", ".join(map(str, each.others)) or "none", mark="suspect" if each.others else "")
