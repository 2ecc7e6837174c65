"""What work costs: joules per flop and per byte under lasting load, and where arithmetic outweighs moving bytes.

The energy roofline is that of Choi, Bedard, Fowler and Vuduc ("A Roofline Model of Energy", IPDPS 2013), with one
difference that its words must say: theirs charges idle power by time, here it is inside the cost of each flop and byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench import units
from bench.analysis.fit import Energy, Fit
from bench.report import names
from bench.report.words import listed, spread
from bench.roofline import Roof
from bench.schema import SUSTAINED


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
    return dict(fit.sustained.energy) if fit.sustained else {}


def roof(fit: Fit, key: str) -> Roof | None:
    return fit.sustained.roofs[key].roof if fit.sustained and key in fit.sustained.roofs else None


def costs(fit: Fit) -> list[Cost]:
    """One per dtype of floating point and integers with tensor cores, the headline's first, then the dearest first."""
    known, lead = of(fit), fit.info.headline.split(".")[1]
    byte = known.get("dram")
    best: dict[str, Energy] = {}
    for key, energy in known.items():
        dtype = key.split(".")[1] if "." in key else ""
        plain = dtype and ".fast_accum" not in key and dtype != "int32"
        if plain and (dtype not in best or energy.joules.value < best[dtype].joules.value):
            best[dtype] = energy
    order = sorted(best, key=lambda dtype: (dtype != lead, -best[dtype].joules.value))
    return [Cost(dtype, best[dtype], byte) for dtype in order] if byte else []


def words(fit: Fit) -> Iterator[str]:
    """The costs in sentences; why there are none, where there are none."""
    known = of(fit)
    if not known:
        yield missing(fit)
        return
    byte, lead = known.get("dram"), known.get(fit.info.headline)
    if lead:
        per = names.per(lead.key)
        rate = roof(fit, lead.key)
        yield (
            f"Under lasting load {names.roof(lead.key)} costs {units.joules(lead.joules.value, per)}"
            f" ({spread(lead.joules, lambda value: units.joules(value, per))}) at {units.watts(lead.watts)}"
            + (f", {units.rate_text(rate.rate / lead.watts, lead.key)} per watt." if rate else ".")
        )
    yield (
        "The driver's counter goes up in steps: over the time between two readings each value may be wrong by up to"
        f" {units.percent(max(energy.fineness for energy in known.values()), 2)} for that alone."
    )
    moved = [energy for key, energy in known.items() if "." not in key]
    if moved:
        parts = [
            f"{units.joules(e.joules.value, 'B')} from {names.channel(e.key)} ({units.watts(e.watts)})" for e in moved
        ]
        yield f"A byte costs {listed(parts)}."
    balances = [f"{names.dtype(cost.dtype)} {units.digits(cost.balance)}" for cost in costs(fit)]
    if byte and balances:
        yield (
            "A flop costs as much as the bytes it needs at the balance intensity, in FLOP/B:"
            f" {listed(balances)}; below it energy goes mostly into moving bytes."
        )
    ridge = fit.sustained.headline if fit.sustained else None
    own = next((cost for cost in costs(fit) if lead and cost.flop.key == lead.key), None)
    if ridge and own:
        nearer = own.balance / ridge.estimate.value
        yield (
            f"Time has its ridge at {units.intensity(ridge.estimate.value)}, energy its balance at"
            f" {units.intensity(own.balance)}"
            + (
                ": the two nearly agree, so what is fast is also thrifty."
                if 0.8 < nearer < 1.25
                else ": a kernel may be compute-bound in time and still spend most of its energy on bytes."
                if nearer > 1
                else ": a kernel may be memory-bound in time and still spend most of its energy on arithmetic."
            )
        )


def missing(fit: Fit) -> str:
    """Why no energy is known."""
    lasting = [case for case in fit.cases if case.regime == SUSTAINED]
    if fit.info.regime == "steady":
        return "Not measured: the suite reads no energy counter of this device."
    if not lasting:
        return "Not measured: energy needs seconds of load, and this budget has no sustained regime (standard has)."
    for case in lasting:
        for telemetry in case.telemetry:
            absent = telemetry.get("before", {}).get("absent", {})
            if reason := absent.get("energy_j") or absent.get("nvml"):
                return f"Not measured: the energy counter is not available ({reason})."
    if not fit.sustained:
        cause = next(
            (cause for case in lasting for cause in case.causes if case.validity == "invalid"), "no reason given"
        )
        return f"Not measured: no measurement under lasting load is sound ({cause})."
    return "Not measured: the energy counter was not read, or it did not move."
