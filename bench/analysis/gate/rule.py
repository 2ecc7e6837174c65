"""From a Run to its verdicts: each metric against its own past, its siblings and its datasheet.

A first value below its limit is only a suspicion. It takes a re-measurement below the limit too, with nothing to
excuse it, to call the hardware regressed. What is excused is inconclusive, which is red too, but not the hardware's
fault. Being fast needs no excuse: a value within its band is ok however doubtful the minute was. RULES says what
decides, in its order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from bench import units
from bench.analysis.gate import causes, verdict
from bench.analysis.gate.expectations import Baselined, Comparison, DeviceExpectation, Reference, compare
from bench.analysis.gate.metrics import Pin, Tolerance
from bench.analysis.gate.samples import MetricSamples, Speeds, pins
from bench.analysis.gate.verdict import INCONCLUSIVE, INVALID, MISSING, OK, REGRESSED, SUSPICIOUS, Gate, MetricVerdict
from bench.analysis.run_index import RunIndex
from bench.schema import Run


def judged(run: Run, known: Mapping[str, Baselined], past: RunIndex[Speeds], notes: Sequence[str] = ()) -> Gate:
    """A Run's verdicts. known: by device id; past: the Runs of its product."""
    infos = run.environment.devices
    # without a baseline the first device's cases are everyone's, or siblings could not be compared
    shared = pins(run, infos[0]) if infos else {}
    devices = [DeviceExpectation(run, info, known.get(info.id, Baselined()), past, shared) for info in infos]
    verdicts = tuple(one for device in devices for one in _verdicts(device, devices))
    said = [*notes, *(note for device in devices for note in device.notes)]
    if past.left_out:
        file, why = next(iter(past.left_out.items()))
        count = len(past.left_out)
        said.append(f"{count} file{'s' * (count != 1)} of the history left out; {file}: {why}")
    sources, lacking = {device.info.id: device.source for device in devices}, not all(d.has_reference for d in devices)
    return Gate(run, verdicts, causes.defects(run), tuple(dict.fromkeys(said)), sources, lacking)


def suspects(gate: Gate) -> dict[str, tuple[Pin, ...]]:
    """Device -> the cases that are worth another look before a gate fails for them.

    On every device, whichever was slow: a GPU that only fails while its neighbours work would recover alone.
    """
    doubtful = (SUSPICIOUS, INCONCLUSIVE, INVALID)
    names = {v.metric.name for v in gate.verdicts if v.gates and v.pin and not v.looked and v.status in doubtful}
    found: dict[str, tuple[Pin, ...]] = {}
    for v in gate.verdicts:
        if v.metric.name in names and v.pin:
            found[v.device] = (*found.get(v.device, ()), v.pin)
    return found


def _verdicts(device: DeviceExpectation, devices: Sequence[DeviceExpectation]) -> Iterator[MetricVerdict]:
    verdicts = [_verdict(device, name, devices) for name in device.samples]
    limits = causes.limits(device.run, device.info.id)
    for found in verdicts:
        if not found.ratio or found.ratio >= 1 or found.status in (OK, verdict.IMPROVED):
            yield found
            continue
        # other software explains a value beside the baseline's, not one beside siblings that run the same
        changes = device.changes if found.reference.kind in ("baseline", "product") else ()
        yield replace(found, cause=causes.cause(found, verdicts, changes, limits))


def _verdict(device: DeviceExpectation, name: str, devices: Sequence[DeviceExpectation]) -> MetricVerdict:
    metric, measured = device.metrics[name], device.samples[name]
    tolerance, gates = device.tolerance(metric)
    own, outer = device.own(metric, tolerance)
    beside = device.siblings(metric, devices)
    speed = measured.speed or measured.confirmed
    references = [each for each in (own, outer, beside, device.theory(measured)) if each]
    comparisons = tuple(compare(speed, each) for each in references) if speed else ()
    found, why, decisive = status(Situation(device, measured, tolerance, comparisons, own))
    warned = not gates and found in (REGRESSED, INCONCLUSIVE, INVALID, MISSING)
    reference = decisive.reference if decisive else own or beside
    why = f"all {len(devices)} together: {why}" if metric.together else why
    told = {"status": SUSPICIOUS if warned else found, "found": found, "why": why, "gates": gates}
    again = measured.confirmed if measured.first else None
    told |= {"speed": speed, "n": len(measured.first or measured.again), "again": again, "looked": measured.tried[1]}
    seen = [each.speed for each in (measured.again or measured.first)]
    told |= {"spread": (max(seen) - min(seen)) / (speed or 1.0) if len(seen) > 1 else None}
    ratio = (measured.confirmed or speed) / reference.centre if speed and reference else None
    told |= {"per_clock": causes.per_clock(measured, ratio, reference.clock_hz) if ratio else None}
    told |= {"tolerance": tolerance, "reference": reference, "comparisons": comparisons}
    return MetricVerdict(metric=metric, device=device.info.id, pin=measured.pin, **told)


# What a rule says: a sentence of evidence where it applies, else nothing.
Said = str | bool | None


@dataclass(frozen=True)
class Situation:
    """One metric of one device with everything that may decide on its status; its methods are the rules.

    comparisons: of the first look with every reference. own: the reference that is the device's own past, if any.
    """

    device: DeviceExpectation
    measured: MetricSamples
    tolerance: Tolerance
    comparisons: tuple[Comparison, ...]
    own: Reference | None

    def never_valid(self) -> Said:
        return self._unmeasured and self.measured.lost and f"no valid repetition: {self.measured.lost[0]}"

    def not_measured(self) -> Said:
        return self._unmeasured and (self.measured.skip or "it was expected and this Run does not have it")

    def above_its_datasheet(self) -> Said:
        """Unless a second look was not: then that decides."""
        again = self.measured.confirmed
        twice = again is None or not self.theory or compare(again, self.theory.reference).place == "above"
        wrong = self.theory and self.theory.place == "above" and twice
        return wrong and f"{self._beside(self.theory)}: no machine does that, so the measurement is wrong"

    def computed_something_else(self) -> Said:
        wrong = next((reason for reason in self.measured.lost if reason.startswith("wrong result")), "")
        return wrong and f"a repetition computed something else: {wrong}"

    def valid_only_again(self) -> Said:
        lost = self.measured.lost
        return not (self.first or self.measured.first) and lost and f"valid only when it was measured again: {lost[0]}"

    def measured_otherwise(self) -> Said:
        """By a probe that has changed: nobody has said how its number should be."""
        how = self.device.renewed.get(self.measured.metric.name)
        return not (self.first or self.past) and how and f"{how}: measured otherwise than the baseline; bless anew"

    def nothing_of_its_own(self) -> Said:
        new = "not in the baseline" if self.device.baseline else "nothing of its own to compare with yet"
        others = [self._beside(each) for each in (self.siblings, self.theory) if each]
        return not (self.first or self.past) and "; ".join([new, *others])

    def faster(self) -> Said:
        above = not self.first and self.past.place == "above"
        return above and f"{self._beside(self.past)}: bless a new baseline to keep it"

    def as_usual(self) -> Said:
        return not self.first and self._beside(self.past)

    # below a limit at the first look from here on

    def never_valid_again(self) -> Said:
        """Nobody knows, and green would say that somebody does."""
        lost = self.measured.tried[1] and self.measured.confirmed is None
        return lost and f"{self._beside(self.first)}; measured again, never validly: {self.measured.doubts[0]}"

    def not_measured_again(self) -> Said:
        return self.measured.confirmed is None and f"{self._beside(self.first)}; not measured again"

    def within_its_band_again(self) -> Said:
        return not self.again and f"{self._beside(self.first)} at first, within its band when measured again"

    # below it at the second look too: what excuses it

    def virtual_cores(self) -> Said:
        """Where its host puts two of them on one, it is half as fast for minutes, and no counter of its says so."""
        virtual = self.device.info.facts.get("virtual")
        return virtual and f"{self._twice}, but the cores are virtual: what their host does shows nowhere"

    def far_below_its_datasheet(self) -> Said:
        """A sheet is sanity and nothing finer: it accuses no machine by itself."""
        return self._kind == "theory" and f"{self._twice}: absurdly far below its datasheet"

    def reached_the_usual_level(self) -> Said:
        """Noise and neighbours only slow, so the hardware still can."""
        reached = self.measured.best >= self.again.reference.centre
        return reached and f"{self._twice}, but a repetition reached the usual level"

    def in_doubt(self) -> Said:
        """Looks that are mostly in doubt (other processes, a throttle, a wandering memory clock): that may be why."""
        return not self.measured.believed and f"{self._twice}, but in doubt: {self.measured.doubts[0]}"

    def environment_changed(self) -> Said:
        """Another driver is another machine, and whose fault it is no number tells."""
        changes = self._kind in ("baseline", "product") and ", ".join(self.device.changes)
        return changes and f"{self._twice}, since {changes}: nothing says that the hardware did it"

    def behind_its_siblings_as_before(self) -> Said:
        """By its own past it is not slow."""
        return self._kind == "siblings" and self.own and f"{self._twice}, as it has been before"

    def a_little_behind_its_siblings(self) -> Said:
        near = self._kind == "siblings" and self.again.ratio >= 1 - self.tolerance.siblings
        return near and self._twice

    def slow_twice(self) -> Said:
        drifted = self.own and self._kind != "siblings" and self.again.reference is not self.own
        return f"{self._twice}{' (its history drifted there, out of twice the baseline’s floor)' if drifted else ''}"

    # what may decide

    @cached_property
    def past(self) -> Comparison | None:
        return next((each for each in self.comparisons if self.own and each.reference is self.own), None)

    @cached_property
    def siblings(self) -> Comparison | None:
        return next((each for each in self.comparisons if each.reference.kind == "siblings"), None)

    @cached_property
    def theory(self) -> Comparison | None:
        return next((each for each in self.comparisons if each.reference.kind == "theory"), None)

    @cached_property
    def first(self) -> Comparison | None:
        """The first reference whose limit the first look was below."""
        return next((each for each in self.comparisons if each.place == "below"), None)

    @cached_property
    def again(self) -> Comparison | None:
        """The first one of those whose limit the re-measurement was below too, beside that."""
        twice = [compare(self.measured.confirmed, c.reference) for c in self.comparisons if c.place == "below"]
        return next((each for each in twice if each.place == "below"), None)

    @property
    def _unmeasured(self) -> bool:
        return not (self.comparisons or self.measured.first or self.measured.again)

    @property
    def _kind(self) -> str:
        return self.again.reference.kind

    @property
    def _twice(self) -> str:
        return f"{self._beside(self.again)}, and again when measured anew"

    def _beside(self, comparison: Comparison) -> str:
        """ "5 % slower than 4.3 TB/s, the baseline of 2026-01-01 (limit 4.2 TB/s)": counted in the metric's unit."""
        metric, reference = self.measured.metric, comparison.reference
        share = comparison.ratio - 1 if metric.better == "higher" else 1 - 1 / comparison.ratio
        change = f"{units.percent(abs(share), 2)} {'faster' if share > 0 else 'slower'} than"
        limit = f" (limit {metric.text(reference.low)})" if comparison.place == "below" else ""
        return f"{'as' if abs(share) < 5e-4 else change} {metric.text(reference.centre)}, {reference.source}{limit}"


# The first that applies decides, so that each may rely on those before it: what applies, the status, what decided.
RULES = (
    (Situation.never_valid, INVALID, None),
    (Situation.not_measured, MISSING, None),
    (Situation.above_its_datasheet, INVALID, "theory"),
    (Situation.computed_something_else, INVALID, "theory"),
    (Situation.valid_only_again, SUSPICIOUS, None),
    (Situation.measured_otherwise, INCONCLUSIVE, None),
    (Situation.nothing_of_its_own, OK, "siblings"),
    (Situation.faster, verdict.IMPROVED, "past"),
    (Situation.as_usual, OK, "past"),
    (Situation.never_valid_again, INCONCLUSIVE, "first"),
    (Situation.not_measured_again, SUSPICIOUS, "first"),
    (Situation.within_its_band_again, SUSPICIOUS, "first"),
    (Situation.virtual_cores, INCONCLUSIVE, "again"),
    (Situation.far_below_its_datasheet, SUSPICIOUS, "again"),
    (Situation.reached_the_usual_level, INCONCLUSIVE, "again"),
    (Situation.in_doubt, INCONCLUSIVE, "again"),
    (Situation.environment_changed, INCONCLUSIVE, "again"),
    (Situation.behind_its_siblings_as_before, SUSPICIOUS, "again"),
    (Situation.a_little_behind_its_siblings, SUSPICIOUS, "again"),
    (Situation.slow_twice, REGRESSED, "again"),
)


def status(situation: Situation) -> tuple[str, str, Comparison | None]:
    """(the status, a sentence with its evidence, the comparison that decided)."""
    found = ((rule(situation), word, decided_by) for rule, word, decided_by in RULES)
    return next((word, said, decided_by and getattr(situation, decided_by)) for said, word, decided_by in found if said)
