"""Two machines, roof by roof: measured against its datasheet, against a baseline, against a sibling. One function."""

from dataclasses import dataclass

from bench import theory
from bench.roofline import Roof, Roofline
from bench.schema import DeviceInfo
from bench.theory import cpu as cpus


@dataclass(frozen=True)
class Gap:
    """One roof of `ours` beside its counterpart; ratio = ours / theirs, low and high from our interval and theirs."""

    ours: Roof
    theirs: Roof
    ratio: float
    low: float
    high: float


def compare(ours: Roofline, theirs: Roofline) -> tuple[Gap, ...]:
    """A Gap for each roof of ours that theirs also has, by quantity whatever the method ("tensor.bfloat16", "dram")."""
    gaps = []
    for roof in ours.roofs:
        other = theirs.find(roof.key) or theirs.find(roof.quantity)
        if other is not None:
            gaps.append(Gap(roof, other, roof.rate / other.rate, roof.low / other.high, roof.high / other.low))
    return tuple(gaps)


def datasheet(info: DeviceInfo) -> Roofline | None:
    """What the vendor claims for a device; for a CPU of a known family what its cores could start, marked `assumed`."""
    if info.sku:
        try:
            return theory.product(info.sku).roofline
        except theory.UnknownProduct:
            return None
    family = next((f for f in cpus.families() if f.key == info.facts.get("family")), None)
    if family is None or "clock_hz" not in info.facts:
        return None
    return family.roofline(int(info.facts["cores"]), float(info.facts["clock_hz"]))


def at_clock(info: DeviceInfo, key: str, clock_hz: float | None) -> float | None:
    """FLOP/s or B/s that the datasheet's machine would reach at the SM clock that was seen; None for what no SM clock
    drives (DRAM, links), or where clock or datasheet is unknown.
    """
    if not (info.sku and clock_hz):
        return None
    try:
        return theory.product(info.sku).at_clock(key, clock_hz)
    except theory.UnknownProduct:
        return None
