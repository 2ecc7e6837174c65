"""What work costs: joules per flop and per byte under lasting load, and where arithmetic outweighs moving bytes.

The energy roofline is that of Choi, Bedard, Fowler and Vuduc ("A Roofline Model of Energy", IPDPS 2013), with one
difference that whoever words it must say: theirs charges idle power by time, here it is inside the cost of each flop
and byte.
"""

from dataclasses import dataclass

from bench.analysis.fit import Energy, Fit
from bench.roofline import Roof
from bench.schema import SUSTAINED
from bench.work import RoofKey

# Why no energy is known.
NO_COUNTER, NO_SUSTAINED, NOT_READ, NOT_USABLE, NOT_MOVED = (
    "no counter",
    "no sustained regime",
    "not read",
    "not usable",
    "not moved",
)


@dataclass(frozen=True)
class Cost:
    """A dtype's cheapest flop beside DRAM's byte. balance: the intensity (FLOP/B) where both cost the same."""

    dtype: str
    flop: Energy
    byte: Energy

    @property
    def balance(self) -> float:
        return self.byte.joules.value / self.flop.joules.value

    def joules(self, intensity: float) -> float:
        """Per flop: E(I) = e_flop + e_byte / I."""
        return self.flop.joules.value + self.byte.joules.value / intensity


def of(fit: Fit) -> dict[str, Energy]:
    """What each sustained roof costs; empty where no energy is known."""
    return dict(fit.sustained.energy) if fit.sustained else {}


def roof(fit: Fit, key: str) -> Roof | None:
    """The sustained roof that a cost belongs to."""
    return fit.sustained.roofs[key].roof if fit.sustained and key in fit.sustained.roofs else None


def costs(fit: Fit) -> list[Cost]:
    """One per dtype of floating point and integers with tensor cores, the headline's first, then the dearest first."""
    known, lead = of(fit), fit.info.headline.dtype
    byte = known.get("dram")
    best: dict[str, Energy] = {}
    for key, energy in known.items():
        dtype = RoofKey(key).dtype
        plain = dtype and ".fast_accum" not in key and dtype != "int32"
        if plain and (dtype not in best or energy.joules.value < best[dtype].joules.value):
            best[dtype] = energy
    order = sorted(best, key=lambda dtype: (dtype != lead, -best[dtype].joules.value))
    return [Cost(dtype, best[dtype], byte) for dtype in order] if byte else []


def unknown(fit: Fit) -> tuple[str, str]:
    """(why no energy is known, in the words of the driver or of a record); ("", "") where it is."""
    lasting = [case for case in fit.cases if case.regime == SUSTAINED]
    if of(fit):
        return "", ""
    if fit.info.regime == "steady":
        return NO_COUNTER, ""
    if not lasting:
        return NO_SUSTAINED, ""
    for telemetry in (telemetry for case in lasting for telemetry in case.telemetry):
        absent = telemetry.get("before", {}).get("absent", {})
        if reason := absent.get("energy_j") or absent.get("nvml"):
            return NOT_READ, reason
    if not fit.sustained:
        return NOT_USABLE, next((c for case in lasting for c in case.causes if case.validity == "invalid"), "")
    return NOT_MOVED, ""
