"""Two machines, roof by roof: measured against its datasheet, against a baseline, against a sibling. One function."""

import math
from dataclasses import dataclass

from bench import theory
from bench.analysis.fit import Fit
from bench.roofline import Roof, Roofline
from bench.schema import DeviceInfo
from bench.theory import cpu as cpus


@dataclass(frozen=True)
class RoofRatio:
    """One roof of `ours` beside its counterpart; ratio = ours / theirs, low and high from our interval and theirs."""

    ours: Roof
    theirs: Roof
    ratio: float
    low: float
    high: float

    @property
    def assumed(self) -> bool:
        """Whether no vendor printed the counterpart: a CPU's is its cores x its clock, and judges nothing."""
        return self.theirs.evidence.startswith("assumed")


def compare(ours: Roofline, theirs: Roofline) -> tuple[RoofRatio, ...]:
    """One for each roof of ours that theirs also has, by quantity whatever the method ("tensor.bfloat16", "dram")."""
    found = []
    for roof in ours.roofs:
        other = theirs.find(roof.key) or theirs.find(roof.quantity)
        if other is not None:
            found.append(RoofRatio(roof, other, roof.rate / other.rate, roof.low / other.high, roof.high / other.low))
    return tuple(found)


def _product(info: DeviceInfo) -> theory.Product | None:
    try:
        return theory.product(info.sku) if info.sku else None
    except theory.UnknownProduct:
        return None


def datasheet(info: DeviceInfo) -> Roofline | None:
    """What the vendor claims for a device; for a CPU of a known family what its cores could start, marked `assumed`."""
    if product := _product(info):
        return product.roofline
    family = next((f for f in cpus.families() if f.key == info.facts.get("family")), None)
    if info.sku or family is None or "clock_hz" not in info.facts:
        return None
    return family.roofline(int(info.facts["cores"]), float(info.facts["clock_hz"]))


def at_clock(info: DeviceInfo, key: str, clock_hz: float | None) -> float | None:
    """FLOP/s or B/s that the datasheet's machine would reach at the SM clock that was seen; None for what no SM clock
    drives (DRAM, links), or where clock or datasheet is unknown.
    """
    product = _product(info) if clock_hz else None
    return product.at_clock(key, clock_hz) if product else None


def clocked(fit: Fit) -> dict[str, float]:
    """Roof -> its rate by the datasheet at the clock that was seen."""
    seen = {key: at_clock(fit.info, key, each.winner.clock_hz) for key, each in fit.roofs.items()}
    return {key: rate for key, rate in seen.items() if rate}


def explained(ratio: RoofRatio, allowed: float) -> float:
    """Which part of what a roof lacks, by logarithms, lies in the clock that was seen. allowed: the datasheet's rate at
    that clock.
    """
    return math.log(ratio.theirs.rate / allowed) / math.log(1 / ratio.ratio)
