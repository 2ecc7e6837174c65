"""From a Run to a Roofline per device: roofs with intervals, launch overhead, the ridge as a ratio and as a knee.

Rates are work over (seconds - overhead), the exact inverse of Roofline.seconds, so that a datasheet that was simulated
comes back as the datasheet.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev

from scipy.special import stdtrit

from bench.analysis.knee import Knee, knees
from bench.analysis.summary import Summary, counting, summaries
from bench.roofline import Roof, Roofline
from bench.schema import FIRST_ROUND, SUSTAINED, DeviceInfo, Run
from bench.stats import Estimate, estimate
from bench.work import RoofKey

# A fitted Roofline that is cached beside its Run belongs to this version of the fit.
VERSION = 3
# Why no energy is known.
NO_COUNTER, NO_SUSTAINED, NOT_READ = "no counter", "no sustained regime", "not read"
NOT_USABLE, NOT_MOVED = "not usable", "not moved"


@dataclass(frozen=True)
class RoofFit:
    """A roof with what it was made of: the winning case, the losing ones, and the rate of each counted repetition."""

    roof: Roof
    winner: Summary
    rivals: tuple[tuple[Summary, float], ...]
    rates: Mapping[int, float]

    def over(self, other: "RoofFit") -> list[float]:
        """Its rate over another roof's, in every round that both were measured in."""
        return [self.rates[r] / other.rates[r] for r in sorted(self.rates.keys() & other.rates.keys())]


@dataclass(frozen=True)
class Ridge:
    """Peak over bandwidth in FLOP/B, over the same rounds. headline: the one that the report leads with."""

    compute: str
    memory: str
    estimate: Estimate
    headline: bool


@dataclass(frozen=True)
class Energy:
    """What a roof costs under lasting load, the GPU's idle power included: J per flop of a compute roof, J per byte.
    watts: the mean power that the driver's energy counter gives over the same time. fineness: the most that a
    repetition may be wrong by because the counter steps, as a share.
    """

    key: str
    joules: Estimate
    watts: float
    fineness: float = 0.0


@dataclass(frozen=True)
class EnergyCost:
    """A dtype's cheapest flop beside DRAM's byte: the energy roofline of Choi, Bedard, Fowler and Vuduc ("A Roofline
    Model of Energy", IPDPS 2013), with one difference that whoever words it must say: theirs charges idle power by
    time, here it is inside the cost of each flop and byte.
    """

    dtype: str
    flop: Energy
    byte: Energy

    @property
    def balance(self) -> float:
        """The intensity (FLOP/B) where flop and byte cost the same."""
        return self.byte.joules.value / self.flop.joules.value

    def joules(self, intensity: float) -> float:
        """Per flop: E(I) = e_flop + e_byte / I."""
        return self.flop.joules.value + self.byte.joules.value / intensity


@dataclass(frozen=True)
class Sustained:
    """The same roofs after the clock has settled under load, fitted for themselves, and what they cost."""

    roofline: Roofline
    roofs: Mapping[str, RoofFit]
    ridges: tuple[Ridge, ...]
    energy: Mapping[str, Energy]

    @property
    def headline(self) -> Ridge | None:
        return next((ridge for ridge in self.ridges if ridge.headline), None)


@dataclass(frozen=True)
class Fit:
    """One device of a Run, understood. missing: roof key -> why no valid measurement supports it. knees: by the
    ladder's dtype. sustained: None where every regime is the same, or none was measured.
    """

    info: DeviceInfo
    roofline: Roofline
    roofs: Mapping[str, RoofFit]
    missing: Mapping[str, str]
    ridges: tuple[Ridge, ...]
    knees: Mapping[str, Knee]
    cases: tuple[Summary, ...]
    sustained: Sustained | None = None

    @property
    def headline(self) -> Ridge | None:
        return next((ridge for ridge in self.ridges if ridge.headline), None)

    @property
    def leading(self) -> set[str]:
        """The roofs that a machine is known by, measured and claimed: DRAM and the headline."""
        return {"dram", self.info.headline, f"{self.info.headline.quantity}.datasheet"}

    def lasting(self, key: str) -> RoofFit | None:
        """A roof under lasting load."""
        return self.sustained.roofs.get(key) if self.sustained else None

    @property
    def lasting_headline(self) -> Ridge | None:
        return self.sustained.headline if self.sustained else None

    @property
    def energy(self) -> Mapping[str, Energy]:
        """What each sustained roof costs; empty where no energy is known."""
        return self.sustained.energy if self.sustained else {}

    def above(self, case: Summary) -> bool:
        """Whether a case beats its roofs beyond their intervals: a formula, a warm cache or an under-measured roof.
        Measured once, a case may be lucky by three times the usual scatter between repetitions before it counts.
        """
        margin = 0.01 if case.seconds and case.seconds.n > 1 else 0.03
        if not case.seconds or self.roofline.missing(case.work):
            return False
        return case.seconds.high < self._best.seconds(case.work) * (1 - margin)

    @cached_property
    def _best(self) -> Roofline:
        """Every roof at the upper end of its interval."""
        return Roofline("", tuple(replace(roof, rate=roof.high) for roof in self.roofline.roofs))

    def share(self, case: Summary) -> float | None:
        """Attained share of what the roofs allow this case (1 = on the roof); None where a roof is missing."""
        if not case.seconds or self.roofline.missing(case.work):
            return None
        return self.roofline.seconds(case.work) / case.seconds.value


def fit(run: Run) -> tuple[Fit, ...]:
    """Every device of a Run, in its order."""
    rows = summaries(run.measurements)
    return tuple(_fit(info, tuple(row for row in rows if row.device == info.id)) for info in run.environment.devices)


def _fit(info: DeviceInfo, rows: tuple[Summary, ...]) -> Fit:
    cases = tuple(row for row in rows if row.regime != SUSTAINED)
    overhead = _overhead(cases)
    roofs, missing = _roofs(info, cases, overhead)
    roofline = Roofline(info.id, tuple(fitted.roof for fitted in roofs.values()), overhead)
    lasting = _sustained(info, [row for row in rows if row.regime == SUSTAINED], overhead)
    return Fit(info, roofline, roofs, missing, _ridges(info, roofs), knees(cases, overhead), rows, lasting)


def _roofs(info: DeviceInfo, cases: Sequence[Summary], overhead: float) -> tuple[dict[str, RoofFit], dict[str, str]]:
    """(roofs by key, why others are missing)."""
    roofs, missing = {}, {}
    for key in dict.fromkeys(RoofKey(case.saturates) for case in cases if case.saturates):
        claims = [case for case in cases if case.saturates == key]
        sound = [case for case in claims if case.seconds]
        if sound:
            roofs[key] = _roof(key, sound, overhead, info.facts.get("caution", ""))
        else:
            missing[key] = next((c for case in claims for c in (case.skip, *case.causes) if c), "not measured")
    return roofs, missing


def _sustained(info: DeviceInfo, cases: Sequence[Summary], overhead: float) -> Sustained | None:
    roofs, _ = _roofs(info, cases, overhead)
    if not roofs:
        return None
    energy = {key: cost for key, fitted in roofs.items() if (cost := _energy(fitted))}
    roofline = Roofline(f"{info.id} sustained", tuple(fitted.roof for fitted in roofs.values()), overhead)
    return Sustained(roofline, roofs, _ridges(info, roofs), energy)


def _energy(fitted: RoofFit) -> Energy | None:
    case, joules = fitted.winner, fitted.winner.joules
    amount = fitted.roof.key.amount(case.work)
    if joules is None or not amount:
        return None
    each = Estimate(joules.value / amount, joules.low / amount, joules.high / amount, joules.n)
    return Energy(fitted.roof.key, each, joules.value / case.seconds.value, case.fineness)


def _overhead(cases: Sequence[Summary]) -> float:
    """Seconds per launch beyond what its work takes: an empty kernel's as a node of a graph. Where none was launched:
    the line through the smallest and the largest cold copy, 0 where the sweep is missing.
    """
    measured = [case for case in cases if case.seconds]
    for case in measured:
        if case.probe == "launch" and case.params.get("way") == "graph":
            return case.seconds.value
    # cold as asked: too small for a ring that is cold, the smallest still says what a launch of next to nothing costs
    cold = [c for c in measured if c.probe == "bandwidth" and c.params.get("cache") == "cold"]
    # plain stores move bytes that are not counted, which would look like overhead
    copies = [c for c in cold if c.params.get("mix") == "copy" and c.params.get("store") != "plain"]
    if len(copies) < 2:
        return 0.0
    points = [(case.work.bytes, case.seconds.value) for case in copies]
    (small, quick), (large, slow) = min(points), max(points)
    if large < 100 * small or slow <= quick:
        return 0.0
    overhead = quick - small * (slow - quick) / (large - small)
    # what is left of a perfect line is rounding, not a launch
    return overhead if overhead > 1e-9 * quick else 0.0


def _roof(key: RoofKey, claims: Sequence[Summary], overhead: float, caution: str) -> RoofFit:
    def rate(case: Summary, seconds: float) -> float:
        # a launch shorter than the overhead measured elsewhere would turn negative: leave such a case as it is
        return key.amount(case.work) / (seconds - overhead if seconds > 2 * overhead else seconds)

    def first_pass(case: Summary) -> float:
        early = [seconds for repetition, seconds in case.medians.items() if repetition < FIRST_ROUND]
        return rate(case, min(early or case.medians.values()))

    # Chosen by the first pass, stated by the rounds: the best of many, judged by the same numbers, reads too high.
    winner = max([case for case in claims if max(case.medians) >= FIRST_ROUND] or claims, key=first_pass)
    # A first pass may meet a bad moment. The rounds overrule it only where they are sure, which chance alone makes them
    # once in a thousand: the interval keeps what it promises.
    faster = [case for case in claims if _surely_faster(case, winner, rate)]
    winner = max(faster, key=lambda case: rate(case, case.seconds.value), default=winner)
    rates = {repetition: rate(winner, seconds) for repetition, seconds in counting(winner.medians).items()}
    value = estimate(list(rates.values()))
    cautions = [caution] if caution else []
    if winner.lost:
        cautions.append(f"{winner.lost} of {winner.lost + len(rates)} rounds invalid: {_said(winner.causes)}")
    elif winner.validity != "valid":
        cautions.append(f"{winner.validity}: {_said(winner.causes)}")
    better = [case for case in claims if rate(case, case.seconds.value) > max(value.high, 1.02 * value.value)]
    if better:
        best = max(better, key=lambda case: rate(case, case.seconds.value))
        words = ", ".join(str(text) for name, text in best.params.items() if text != winner.params.get(name))
        more = 100 * (rate(best, best.seconds.value) / value.value - 1)
        cautions.append(f"{words} read {more:.0f} % higher in the rounds, but not surely: measure again")
    if value.n == 1:
        cautions.append("one repetition: no interval")
    roof = Roof(key, value.value, value.low, value.high, value.n, _evidence(winner, value), "; ".join(cautions))
    rivals = tuple((case, rate(case, case.seconds.value)) for case in claims if case is not winner)
    return RoofFit(roof, winner, rivals, rates)


def _said(causes: Sequence[str]) -> str:
    return f"{causes[0]} (and {len(causes) - 1} more)" if len(causes) > 1 else "".join(causes)


def _surely_faster(case: Summary, other: Summary, rate: Callable[[Summary, float], float]) -> bool:
    """Whether the rounds show a case faster than another at p < 0.001, one-sided paired t over their log ratios."""
    mine, theirs = counting(case.medians), counting(other.medians)
    both = [r for r in mine if r in theirs and r >= FIRST_ROUND]
    if case is other or len(both) < 3:
        return False
    logs = [math.log(rate(case, mine[r]) / rate(other, theirs[r])) for r in both]
    scatter = stdev(logs) / math.sqrt(len(logs))
    return fmean(logs) > max(float(stdtrit(len(logs) - 1, 0.999)) * scatter, 1e-6)


def _evidence(case: Summary, value: Estimate) -> str:
    words = ", ".join(f"{name} {text}" for name, text in case.params.items())
    return f"{case.probe} v{case.version}: {words}; {value.kind} ({value.n} repetitions)"


def _ridges(info: DeviceInfo, roofs: Mapping[str, RoofFit]) -> tuple[Ridge, ...]:
    memory = roofs.get("dram")
    compute = [fitted for key, fitted in roofs.items() if key.is_compute] if memory else []
    shared = {each.roof.key: each.over(memory) for each in compute}
    return tuple(Ridge(key, "dram", estimate(each), key == info.headline) for key, each in shared.items() if each)


def energy_costs(fit: Fit) -> list[EnergyCost]:
    """One per dtype of floating point and integers with tensor cores, the headline's first, then the dearest first."""
    lead, byte = fit.info.headline.dtype, fit.energy.get("dram")
    best: dict[str, Energy] = {}
    for key, energy in fit.energy.items():
        dtype = RoofKey(key).dtype
        plain = dtype and ".fast_accum" not in key and dtype != "int32"
        if plain and (dtype not in best or energy.joules.value < best[dtype].joules.value):
            best[dtype] = energy
    order = sorted(best, key=lambda dtype: (dtype != lead, -best[dtype].joules.value))
    return [EnergyCost(dtype, best[dtype], byte) for dtype in order] if byte else []


def no_energy(fit: Fit) -> tuple[str, str]:
    """(why no energy is known, in the words of the driver or of a record); ("", "") where it is."""
    lasting = [case for case in fit.cases if case.regime == SUSTAINED]
    if fit.energy:
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
