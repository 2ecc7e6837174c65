"""Where roofs meet: the intensity from which on a kernel waits for arithmetic, for every pair of roofs of a device."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.analysis.fit import Fit, RoofFit
from bench.analysis.viewport import Viewport, ceilings
from bench.roofline import Roofline
from bench.schema import SUSTAINED
from bench.stats import Estimate, estimate


@dataclass(frozen=True)
class RidgePoint:
    """Two roofs that meet at an intensity (FLOP/B) and a rate (FLOP/s). what: "roof" for measured ones, "sustained" or
    "datasheet", of which the estimate has no repetition; lead: the headline over DRAM.
    """

    what: str
    compute: str
    memory: str
    intensity: Estimate
    rate: float
    lead: bool


def ridges(fit: Fit, theory: Roofline | None, frame: Viewport) -> Iterator[RidgePoint]:
    """Every ridge within a frame that can be asked for, the first to lead: burst before sustained before claimed."""
    lasting = fit.sustained
    yield from _ridges(fit, "roof", fit.roofline, fit.roofs, frame)
    yield from _ridges(fit, SUSTAINED, lasting.roofline, lasting.roofs, frame) if lasting else ()
    yield from _ridges(fit, "datasheet", theory, {}, frame) if theory else ()


def _ridges(
    fit: Fit, what: str, roofline: Roofline, roofs: Mapping[str, RoofFit], frame: Viewport
) -> Iterator[RidgePoint]:
    memory, compute = ceilings(roofline)
    lead = leading(fit)
    slopes = sorted(memory, key=lambda roof: (roof.key != "dram", roof.rate))
    # under lasting load and by the datasheet one memory is enough: nobody asks for them over a level of cache
    for slope in slopes if what == "roof" else slopes[:1]:
        for flat in sorted(compute, key=lambda roof: (roof.key not in lead, -roof.rate)):
            ratio = flat.rate / slope.rate
            value = _ratio(roofs[flat.key], roofs[slope.key]) if roofs else Estimate(ratio, ratio, ratio, 0)
            if value and frame.left < value.value < frame.right:
                leads = slope.key == "dram" and flat.key in lead
                yield RidgePoint(what, flat.key, slope.key, value, flat.rate, leads)


def leading(fit: Fit) -> set[str]:
    """The keys of the roofs that a machine is known by, measured and claimed: DRAM and the headline."""
    return {"dram", fit.info.headline, f"{_quantity(fit)}.datasheet"}


def _quantity(fit: Fit) -> str:
    return fit.info.headline.rsplit(".", 1)[0]


def _ratio(compute: RoofFit, memory: RoofFit) -> Estimate | None:
    """Over the rounds that both were measured in."""
    both = sorted(compute.rates.keys() & memory.rates.keys())
    return estimate([compute.rates[r] / memory.rates[r] for r in both]) if both else None


def met(found: Sequence[RidgePoint], shown: set[str]) -> list[RidgePoint]:
    """Those of which both lines ("roof dram") are shown, over the memory of the first: a machine has many, a reader
    asks for one.
    """
    known = [each for each in found if {f"{each.what} {each.compute}", f"{each.what} {each.memory}"} <= shown]
    return [each for each in known if each.memory == known[0].memory]


def claimed_ridge(fit: Fit, theory: Roofline | None) -> float | None:
    """The datasheet's headline ridge over DRAM (FLOP/B)."""
    quantity = _quantity(fit)
    return theory.ridge(quantity) if theory and quantity in theory and "dram" in theory else None
