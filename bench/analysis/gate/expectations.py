"""What is expected of a device: by its baseline, its past in the same environment, its siblings and its datasheet."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from bench.analysis.datasheet import at_clock, datasheet
from bench.analysis.entries import moment
from bench.analysis.gate import thresholds, tolerances
from bench.analysis.gate.baselines import Baseline
from bench.analysis.gate.metrics import Metric, Pin, Tolerance, metrics
from bench.analysis.gate.past import Past, digest, identity, surroundings
from bench.analysis.gate.samples import MetricSamples, pins, samples, unusable
from bench.analysis.gate.thresholds import Reference
from bench.roofline import MissingRoof
from bench.schema import SUSTAINED, DeviceInfo, Run

# A device this far below its siblings is named; beyond its metric's own tolerance it fails where nothing says that it
# was always so. Chips of one product differ by some percent under a power limit.
OUTLIER = 0.03


@dataclass(frozen=True)
class Known:
    """What a gate knows of one device before it looks at its Run."""

    baseline: Baseline | None = None
    settings: tolerances.Settings = field(default_factory=tolerances.Settings)


class DeviceExpectation:
    """One device of the Run with everything that says what is usual."""

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
        self.samples = samples(run, info.id, self.pins, self.metrics)

    def _lost(self) -> dict[str, Pin]:
        """What the Run was to measure and could not: invalid, or skipped though its history had it."""
        failed = {m.key for m in self.run.of(self.info.id) if m.reasons and not m.skip}
        usual = Counter(known for _, device in self._past for known in device.values)
        return {
            name: pin
            for name, pin in unusable(self.run, self.info).items()
            if pin[0] in failed or usual[digest(pin)] >= thresholds.ENOUGH
        }

    @cached_property
    def changes(self) -> tuple[str, ...]:
        """What of the environment is not as it was in the baseline."""
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
            found.append(f"{who}: a new segment since {self.known.baseline.source}: {', '.join(self.changes)}")
        if not self.has_reference:
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
        return [name for name in self.samples if self.tolerance(self.metrics[name])[1]]

    @property
    def has_reference(self) -> bool:
        """Whether anything of its own says what is usual."""
        return self.known.baseline is not None or len(self._past) >= thresholds.ENOUGH

    @property
    def source(self) -> str:
        parts = [self.known.baseline.source] if self.known.baseline else []
        if len(self._past) >= thresholds.ENOUGH:
            parts.append(f"{len(self._past)} Runs in the same environment")
        return " and ".join(parts) or "its siblings and its datasheet only"

    def tolerance(self, metric: Metric) -> tuple[Tolerance, bool]:
        return self.known.settings.of(metric)

    def references(self, metric: Metric, tolerance: Tolerance) -> tuple[Reference | None, Reference | None]:
        """(its past: history where there is enough, else the baseline; the baseline's outer band beside a history)."""
        pin, baseline = self.pins[metric.name], self.known.baseline
        blessed = outer = None
        if baseline and metric.name not in self.renewed and (speed := baseline.speed(metric.name)):
            clock = baseline.samples[metric.name].clock_hz if baseline.own else None
            blessed = thresholds.baseline(metric, tolerance, speed, baseline.source, clock, own=baseline.own)
            if baseline.own:
                outer = thresholds.pinned(metric, tolerance, blessed)
        window = [
            (value, each)
            for each, device in self._past
            if (value := device.values.get(digest(pin))) and value.valid and value.n > 1
            # a soak heats a device for longer: its lasting load is another number
            if not metric.sustained or ("soak" in each.budget) == ("soak" in self.run.environment.budget)
            if outer is None or _admitted(value.speed, each.at, blessed, outer, moment(baseline.run))
        ][-thresholds.WINDOW :]
        clocks = [value.clock_hz for value, _ in window if value.clock_hz]
        source = f"{len(window)} Runs since {window[0][1].started[:10]}" if window else ""
        own = thresholds.history(
            metric, tolerance, [v.speed for v, _ in window], source, fmean(clocks) if clocks else None
        )
        return (own, outer) if own else (blessed, None)


def _admitted(speed: float, at: float, blessed: Reference, outer: Reference, since: float) -> bool:
    """Whether a past Run may say what is usual beside its device's own baseline: what that calls a regression never
    becomes the history that excuses it, and a level that was given up by blessing another one is not usual any more.
    """
    band = outer if at >= since else blessed
    return band.low <= speed <= band.high


def siblings(device: DeviceExpectation, metric: Metric, devices: Sequence[DeviceExpectation]) -> Reference | None:
    others = [
        other.samples[metric.name].speed
        for other in devices
        if other is not device
        and (measured := other.samples.get(metric.name))
        and measured.speed
        # another shape or setting is another number, and a slice or another product no sibling
        and measured.pin == device.pins[metric.name]
        and (other.info.name, other.info.memory_bytes) == (device.info.name, device.info.memory_bytes)
    ]
    return thresholds.siblings(metric, OUTLIER, others, device.tolerance(metric)[0].least)


def theory(device: DeviceExpectation, measured: MetricSamples) -> Reference | None:
    """What the datasheet's machine would make of the same case; a CPU's is assumed and judges nothing."""
    machine = datasheet(device.info) if device.info.sku else None
    work = next((m.work for m in device.run.of(device.info.id) if m.key == measured.pin[0]), None)
    if machine is None or work is None or measured.metric.amount == "seconds":
        return None
    # tensor peaks are stated below the clock that a burst runs at
    key = work.compute if measured.metric.amount == "flops" else work.channel
    stated, clocked = machine.find(key), at_clock(device.info, key, measured.clock_hz)
    faster = max(1.0, clocked / stated.rate) if stated and clocked else 1.0
    try:
        return thresholds.theory(faster * measured.metric.speed(work, machine.seconds(work)))
    except (MissingRoof, ZeroDivisionError):
        return None
