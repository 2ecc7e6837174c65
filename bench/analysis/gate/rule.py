"""From a Run to its verdicts: each metric against its own past, its siblings and its datasheet.

A first value below its limit is only a suspicion. It takes a re-measurement below the limit too, with nothing to
excuse it, to call the hardware regressed. What excuses it:

- a repetition that reached the usual level: noise and neighbours only slow, so the hardware still can;
- a repetition in doubt (other processes, a throttle, a wandering memory clock): the doubt may be the slowness;
- an environment that changed: another driver is another machine, and whose fault it is no number tells.

The first two are inconclusive, which is red too, but not the hardware's fault. Being fast needs no excuse: a value
within its band is ok however doubtful the minute was.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean

from bench import units
from bench.analysis.compare import at_clock, datasheet
from bench.analysis.entries import moment
from bench.analysis.gate import bands, causes, defects, tolerances, verdict
from bench.analysis.gate.bands import Finding, Reference, compare
from bench.analysis.gate.baselines import Baseline
from bench.analysis.gate.metrics import Metric, Pin, Tolerance, metrics
from bench.analysis.gate.past import Past, digest, identity, surroundings
from bench.analysis.gate.readings import Reading, pins, readings, unsound
from bench.analysis.gate.verdict import Gate, Verdict
from bench.roofline import MissingRoof
from bench.schema import SUSTAINED, DeviceInfo, Run

# A device this far below its siblings is named; beyond its metric's own tolerance it fails where nothing says that it
# was always so. Chips of one product differ by some percent under a power limit.
APART = 0.03


@dataclass(frozen=True)
class Known:
    """What a gate knows of one device before it looks at its Run."""

    baseline: Baseline | None = None
    settings: tolerances.Settings = field(default_factory=tolerances.Settings)


def judged(run: Run, known: Mapping[str, Known], past: Past, notes: Sequence[str] = ()) -> Gate:
    """A Run's verdicts. known: by device id; past: the Runs of its product."""
    infos = run.environment.devices
    # without a baseline the first device's cases are everyone's, or siblings could not be compared
    shared = pins(run, infos[0]) if infos else {}
    devices = [_Device(run, info, known.get(info.id, Known()), past, shared) for info in infos]
    said, verdicts = list(notes), []
    for device in devices:
        verdicts += _verdicts(device, devices)
        said += device.notes
    if past.left_out:
        file, why = next(iter(past.left_out.items()))
        count = len(past.left_out)
        said.append(f"{count} file{'s' * (count != 1)} of the history left out; {file}: {why}")
    return Gate(
        run,
        tuple(verdicts),
        defects.defects(run),
        tuple(dict.fromkeys(said)),
        {device.info.id: device.whence for device in devices},
        not all(device.founded for device in devices),
    )


def suspects(gate: Gate) -> dict[str, tuple[Pin, ...]]:
    """Device -> the cases that are worth another look before a gate fails for them.

    On every device, whichever was slow: a GPU that only fails while its neighbours work would recover alone.
    """
    doubtful = (verdict.SUSPICIOUS, verdict.INCONCLUSIVE, verdict.INVALID)
    names = {v.metric.name for v in gate.verdicts if v.gates and v.pin and not v.looked and v.word in doubtful}
    found: dict[str, list[Pin]] = {}
    for each in gate.verdicts:
        if each.metric.name in names and each.pin:
            found.setdefault(each.device, []).append(each.pin)
    return {device: tuple(pins) for device, pins in found.items()}


class _Device:
    """One device of the Run with everything it is held against."""

    def __init__(self, run: Run, info: DeviceInfo, known: Known, past: Past, shared: Mapping[str, Pin]):
        self.run, self.info, self.known = run, info, known
        self.around = surroundings(run, info)
        baseline, own = known.baseline, pins(run, info)
        blessed = dict(baseline.pins) if baseline else {}
        # a probe that changed what it measures has begun anew, and the baseline cannot say how its number should be
        self.renewed = {
            name: f"probe {pin[0][0]} {pin[0][1]} → {own[name][0][1]}"
            for name, pin in blessed.items()
            if name in own and own[name][0][:2] != pin[0][:2]
        }
        for name in self.renewed:
            del blessed[name]
        # what the baseline lacks is followed as this Run has it, for whoever blesses it
        self.metrics = {**(baseline.metrics if baseline else {}), **metrics(info)}
        found = {(m.key, m.regime == SUSTAINED) for m in run.of(info.id) if m.seconds}
        common = {name: pin for name, pin in shared.items() if pin in found and name in own}
        before = moment(run)
        same = past.of(identity(run.environment, info), self.around, run.environment.simulated, before)
        self._past = [(each, device) for each, device in same if each.run_id != run.environment.run_id]
        self.pins: Mapping[str, Pin] = {**self._lost(), **own, **common, **blessed}
        if info is not run.environment.devices[0]:  # which speaks for what all do together
            self.pins = {name: pin for name, pin in self.pins.items() if not self.metrics[name].together}
        self.readings = readings(run, info.id, self.pins, self.metrics)

    def _lost(self) -> dict[str, Pin]:
        """What the Run was to measure and could not: invalid, or skipped though its history had it."""
        failed = {m.key for m in self.run.of(self.info.id) if m.reasons and not m.skip}
        usual = Counter(known for _, device in self._past for known in device.values)
        return {
            name: pin
            for name, pin in unsound(self.run, self.info).items()
            if pin[0] in failed or usual[digest(pin)] >= bands.ENOUGH
        }

    @cached_property
    def changes(self) -> tuple[str, ...]:
        """What of the environment is not as it was in the baseline; only its own baseline's is this device's."""
        if not self.known.baseline:
            return ()
        was = self.known.baseline.surroundings
        names = dict.fromkeys([*was, *self.around])
        return tuple(
            f"{name} {was.get(name, 'unknown')} → {self.around.get(name, 'unknown')}"
            for name in names
            if was.get(name) != self.around.get(name)
        )

    @cached_property
    def notes(self) -> list[str]:
        who, found = self.info.id, []
        if self.renewed:
            found.append(
                f"{who}: a new segment for {', '.join(self.renewed)}: {', '.join(dict.fromkeys(self.renewed.values()))}"
            )
        if self.changes:
            found.append(f"{who}: a new segment since {self.known.baseline.whence}: {', '.join(self.changes)}")
        if not self.founded:
            found.append(f"{who}: no baseline and too little history; only its datasheet and its siblings judge it")
        elif self.known.baseline and (new := [n for n in self._gated if n not in self.known.baseline.pins]):
            found.append(
                f"{who}: not in the baseline, so that only its datasheet and its siblings judge it: {', '.join(new)}"
            )
        if self.known.baseline and not self.known.baseline.own:
            found.append(f"{who}: no baseline of its own; its product’s holds, at twice the floor")
        return found

    @property
    def _gated(self) -> list[str]:
        return [name for name in self.readings if self.tolerance(self.metrics[name])[1]]

    @property
    def founded(self) -> bool:
        """Whether anything of its own says what is usual."""
        return self.known.baseline is not None or len(self._past) >= bands.ENOUGH

    @property
    def whence(self) -> str:
        parts = [self.known.baseline.whence] if self.known.baseline else []
        if len(self._past) >= bands.ENOUGH:
            parts.append(f"{len(self._past)} Runs in the same environment")
        return " and ".join(parts) or "its siblings and its datasheet only"

    def tolerance(self, metric: Metric) -> tuple[Tolerance, bool]:
        return self.known.settings.of(metric)

    def references(self, metric: Metric, tolerance: Tolerance) -> tuple[Reference | None, Reference | None]:
        """(its past: history where there is enough, else the baseline; the baseline's outer band beside a history)."""
        pin, baseline = self.pins[metric.name], self.known.baseline
        blessed = outer = None
        if baseline and metric.name not in self.renewed and (speed := baseline.speed(metric.name)):
            clock = baseline.readings[metric.name].clock_hz if baseline.own else None
            blessed = bands.baseline(metric, tolerance, speed, baseline.whence, clock, own=baseline.own)
            if baseline.own:
                outer = bands.pinned(metric, tolerance, blessed)
        window = [
            (value, each)
            for each, device in self._past
            if (value := device.values.get(digest(pin))) and value.valid and value.n > 1
            # a soak heats a device for longer: its lasting load is another number
            if not metric.sustained or ("soak" in each.budget) == ("soak" in self.run.environment.budget)
            if outer is None or _admitted(value.speed, each.at, blessed, outer, moment(baseline.run))
        ][-bands.WINDOW :]
        clocks = [value.clock_hz for value, _ in window if value.clock_hz]
        whence = f"{len(window)} Runs since {window[0][1].started[:10]}" if window else ""
        own = bands.history(metric, tolerance, [v.speed for v, _ in window], whence, fmean(clocks) if clocks else None)
        return (own, outer) if own else (blessed, None)


def _admitted(speed: float, at: float, blessed: Reference, outer: Reference, since: float) -> bool:
    """Whether a past Run may say what is usual beside its device's own baseline: what that calls a regression never
    becomes the history that excuses it, and a level that was given up by blessing another one is not usual any more.
    """
    band = outer if at >= since else blessed
    return band.low <= speed <= band.high


def _verdicts(device: _Device, devices: Sequence[_Device]) -> Iterator[Verdict]:
    judged = {name: _judged(device, name, devices) for name in device.readings}
    moved = {
        name: causes.Moved(
            device.readings[name], each.ratio, each.per_clock, each.word not in (verdict.OK, verdict.IMPROVED)
        )
        for name, each in judged.items()
        if each.ratio
    }
    limits = defects.limits(device.run, device.info.id)
    for name, each in judged.items():
        slow = name in moved and each.ratio < 1 and moved[name].slow
        # other software explains a value beside the baseline's, not one beside siblings that run the same
        changes = device.changes if slow and each.reference.kind in ("baseline", "product") else ()
        yield replace(each, cause=causes.cause(name, moved, changes, limits)) if slow else each


def _judged(device: _Device, name: str, devices: Sequence[_Device]) -> Verdict:
    metric, reading = device.metrics[name], device.readings[name]
    tolerance, gates = device.tolerance(metric)
    own, outer = device.references(metric, tolerance)
    beside = _siblings(device, metric, devices)
    claimed = _theory(device, reading)
    speed = reading.speed or reading.confirmed
    references = [each for each in (own, outer, beside, claimed) if each]
    findings = tuple(compare(speed, each) for each in references) if speed else ()
    word, why, decisive = _word(device, reading, metric, tolerance, findings, own)
    if metric.together:
        why = f"all {len(devices)} together: {why}"
    if not gates and word in (verdict.REGRESSED, verdict.INCONCLUSIVE, verdict.INVALID, verdict.MISSING):
        word = verdict.SUSPICIOUS
    reference = decisive.reference if decisive else own or beside
    seen = [each.speed for each in (reading.again or reading.first)]
    ratio = (reading.confirmed or speed) / reference.centre if speed and reference else None
    return Verdict(
        metric=metric,
        device=device.info.id,
        word=word,
        why=why,
        gates=gates,
        tolerance=tolerance,
        pin=reading.pin,
        speed=speed,
        n=len(reading.first) or len(reading.again),
        again=reading.confirmed if reading.first else None,
        looked=reading.tried[1],
        spread=(max(seen) - min(seen)) / (speed or 1.0) if len(seen) > 1 else None,
        reference=reference,
        findings=findings,
        per_clock=causes.per_clock(reading, ratio, reference.clock_hz) if ratio else None,
    )


def _siblings(device: _Device, metric: Metric, devices: Sequence[_Device]) -> Reference | None:
    others = [
        other.readings[metric.name].speed
        for other in devices
        if other is not device
        and (reading := other.readings.get(metric.name))
        and reading.speed
        # another shape or setting is another number, and a slice or another product no sibling
        and reading.pin == device.pins[metric.name]
        and (other.info.name, other.info.memory_bytes) == (device.info.name, device.info.memory_bytes)
    ]
    return bands.siblings(metric, APART, others, device.tolerance(metric)[0].least)


def _theory(device: _Device, reading: Reading) -> Reference | None:
    """What the datasheet's machine would make of the same case; a CPU's is assumed and judges nothing."""
    machine = datasheet(device.info) if device.info.sku else None
    work = next((m.work for m in device.run.of(device.info.id) if m.key == reading.pin[0]), None)
    if machine is None or work is None or reading.metric.amount == "seconds":
        return None
    # tensor peaks are stated below the clock that a burst runs at
    key = work.compute if reading.metric.amount == "flops" else work.channel
    stated, clocked = machine.find(key), at_clock(device.info, key, reading.clock_hz)
    faster = max(1.0, clocked / stated.rate) if stated and clocked else 1.0
    try:
        return bands.theory(faster * reading.metric.speed(work, machine.seconds(work)))
    except (MissingRoof, ZeroDivisionError):
        return None


def _word(
    device: _Device,
    reading: Reading,
    metric: Metric,
    tolerance: Tolerance,
    findings: Sequence[Finding],
    own: Reference | None,
) -> tuple[str, str, Finding | None]:
    """(the word, a sentence with its evidence, the comparison that decided)."""
    if not findings and not reading.first and not reading.again:
        if reading.lost:
            return verdict.INVALID, f"no valid repetition: {reading.lost[0]}", None
        return verdict.MISSING, reading.skip or "it was expected and this Run does not have it", None
    absurd = next((f for f in findings if f.reference.kind == "theory"), None)
    sane = reading.confirmed is not None and absurd and compare(reading.confirmed, absurd.reference).place != "above"
    if absurd and absurd.place == "above" and not sane:
        return verdict.INVALID, f"{_beside(metric, absurd)}: no machine does that, so the measurement is wrong", absurd
    if wrong := next((reason for reason in reading.lost if reason.startswith("wrong result")), ""):
        return verdict.INVALID, f"a repetition computed something else: {wrong}", None
    below = [f for f in findings if f.place == "below"]
    if not below and not reading.first and reading.lost:
        return verdict.SUSPICIOUS, f"valid only when it was measured again: {reading.lost[0]}", None
    if not below:
        mine = next((f for f in findings if own and f.reference is own), None)
        if mine is None and metric.name in device.renewed:
            return (
                verdict.INCONCLUSIVE,
                f"{device.renewed[metric.name]}: measured otherwise than the baseline; bless anew",
                None,
            )
        if mine is None:
            beside = next((f for f in findings if f.reference.kind == "siblings"), None)
            new = "not in the baseline" if device.known.baseline else "nothing of its own to compare with yet"
            others = [_beside(metric, f) for f in (beside, absurd) if f]
            return verdict.OK, "; ".join([new, *others]), beside
        if mine.place == "above":
            return verdict.IMPROVED, f"{_beside(metric, mine)}: bless a new baseline to keep it", mine
        return verdict.OK, _beside(metric, mine), mine
    first = below[0]
    if reading.tried[1] and reading.confirmed is None:
        return (
            verdict.INCONCLUSIVE,
            f"{_beside(metric, first)}; measured again, never validly: {reading.doubts[0]}",
            first,
        )
    if reading.confirmed is None:
        return verdict.SUSPICIOUS, f"{_beside(metric, first)}; not measured again", first
    still = [again for f in below if (again := compare(reading.confirmed, f.reference)).place == "below"]
    if not still:
        return verdict.SUSPICIOUS, f"{_beside(metric, first)} at first, within its band when measured again", first
    decisive = still[0]
    kind, again = decisive.reference.kind, f"{_beside(metric, decisive)}, and again when measured anew"
    if device.info.facts.get("virtual"):
        # where its host puts two virtual cores on one, it is half as fast for minutes, and no counter of its says so
        return verdict.INCONCLUSIVE, f"{again}, but the cores are virtual: what their host does shows nowhere", decisive
    if kind == "theory":
        return verdict.SUSPICIOUS, f"{again}: absurdly far below its datasheet", decisive
    if reading.best >= decisive.reference.centre:
        return verdict.INCONCLUSIVE, f"{again}, but a repetition reached the usual level", decisive
    if not reading.believed:
        return verdict.INCONCLUSIVE, f"{again}, but in doubt: {reading.doubts[0]}", decisive
    if kind in ("baseline", "product") and device.changes:
        return (
            verdict.INCONCLUSIVE,
            f"{again}, since {', '.join(device.changes)}: not held against the hardware",
            decisive,
        )
    if kind == "siblings":
        if own is not None or decisive.ratio >= 1 - tolerance.siblings:
            before = ", as it has been before" if own is not None else ""
            return verdict.SUSPICIOUS, f"{again}{before}", decisive
        return verdict.REGRESSED, again, decisive
    drifted = (
        " (its history drifted there, out of twice the baseline’s floor)"
        if own and decisive.reference is not own
        else ""
    )
    return verdict.REGRESSED, f"{again}{drifted}", decisive


def _beside(metric: Metric, finding: Finding) -> str:
    reference = finding.reference
    # counted in the metric's unit, as its limit is
    share = finding.ratio - 1 if metric.better == "higher" else 1 - 1 / finding.ratio
    if abs(share) < 5e-4:
        change = "as"
    else:
        change = f"{units.percent(abs(share), 2)} {'faster' if share > 0 else 'slower'} than"
    limit = ""
    if finding.place == "below":
        limit = f" (limit {text(metric, reference.low)})"
    return f"{change} {text(metric, reference.centre)}, {reference.whence}{limit}"


def text(metric: Metric, speed: float) -> str:
    """A speed in the metric's unit, for people."""
    value = metric.value(speed)
    if metric.amount == "seconds":
        return units.seconds(value)
    return units.flops(value) if metric.amount == "flops" else units.bandwidth(value)
