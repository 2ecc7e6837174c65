"""What is expected of a device, as bands around a speed: by its own history in the same environment, its baseline, its
siblings and its datasheet; and the one comparison with any of them.

Own history: median - max(floor, K x 1.4826 x MAD) over the last valid Runs in an unchanged environment. The floor is
there because a MAD over a dozen Runs is often too small by half; a median, because one bad hour must not move it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import inf
from statistics import fmean, median

from bench.analysis.datasheet import at_clock, datasheet
from bench.analysis.gate.baselines import Baseline
from bench.analysis.gate.metrics import Metric, Pin, Tolerance, metrics
from bench.analysis.gate.samples import MetricSamples, Speeds, digest, pins, samples, unusable
from bench.analysis.gate.tolerances import Settings
from bench.analysis.run_entry import changes, device_entry, moment
from bench.analysis.run_index import RunIndex
from bench.roofline import MissingRoof
from bench.schema import SUSTAINED, DeviceInfo, Run
from bench.stats import mad

# Deviations. Three would do for Runs that scatter independently; where most of the scatter is common to a Run and its
# re-measurement, a dozen metrics need a little more, and lose as little power by it (python -m tests.perf.gate).
K = 3.4
# Past Runs that a band of its own needs; with fewer the baseline's tolerance holds. The window is the last of them.
ENOUGH, WINDOW = 10, 20
# What no machine can be: a value above its datasheet by more is an error of ours. And what is absurd below it.
ABOVE_THEORY, BELOW_THEORY = 1.02, 0.5
# Siblings say what is usual from three others on; two can only disagree. A device this far below them is named; beyond
# its metric's own tolerance it fails where nothing says that it was always so. Chips of one product differ by some
# percent under a power limit.
SIBLINGS, OUTLIER = 3, 0.03


@dataclass(frozen=True)
class Reference:
    """A speed that was to be expected, with the band around it (work or launches per second), and what it rests on.

    kind: "history", "baseline", "product", "siblings" or "theory". n: of Runs or devices. source: in words.
    """

    kind: str
    centre: float
    low: float
    high: float
    n: int
    source: str
    clock_hz: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A speed beside a reference. ratio: above 1 is faster, for a time too. place: "below", "within" or "above"."""

    reference: Reference
    ratio: float
    place: str


def compare(speed: float, reference: Reference) -> Comparison:
    """Theory, history, baseline and siblings alike."""
    place = "below" if speed < reference.low else "above" if speed > reference.high else "within"
    return Comparison(reference, speed / reference.centre, place)


def usual(
    kind: str,
    metric: Metric,
    speeds: Sequence[float],
    share: float,
    least: float,
    source: str,
    clock_hz: float | None = None,
) -> Reference:
    """The median of speeds, with a band of `share` to either side or of what they scatter, counted in the metric's own
    unit; at least `least` seconds apart.
    """
    centre = median(speeds)
    share = max(share, K * mad(speeds) / centre)
    low, high = centre * (1 - share), centre * (1 + share)
    if metric.better == "lower":
        share = max(share, least * centre)
        low, high = centre / (1 + share), centre / (1 - share) if share < 1 else inf
    return Reference(kind, centre, low, high, len(speeds), source, clock_hz)


def of_theory(speed: float) -> Reference:
    """The datasheet: absolute sanity, nothing finer."""
    return Reference("theory", speed, BELOW_THEORY * speed, ABOVE_THEORY * speed, 0, "the datasheet")


@dataclass(frozen=True)
class Baselined:
    """What a gate knows of one device before it looks at its Run: its baseline, and how finely it is gated."""

    baseline: Baseline | None = None
    settings: Settings = field(default_factory=Settings)


class DeviceExpectation:
    """One device of the Run with everything that says what is usual."""

    def __init__(self, run: Run, info: DeviceInfo, known: Baselined, past: RunIndex[Speeds], shared: Mapping[str, Pin]):
        self.run, self.info, self.baseline, self.tolerance = run, info, known.baseline, known.settings.of
        own = pins(run, info)
        blessed = dict(self.baseline.pins) if self.baseline else {}
        # a probe that changed what it measures has begun anew, and the baseline cannot say how its number should be
        self.renewed = {
            name: f"probe {pin[0][0]} {pin[0][1]} → {own[name][0][1]}"
            for name, pin in blessed.items()
            if name in own and own[name][0][:2] != pin[0][:2]
        }
        kept = {name: pin for name, pin in blessed.items() if name not in self.renewed}
        # what the baseline lacks is followed as this Run has it, for whoever blesses it
        self.metrics = {**(self.baseline.metrics if self.baseline else {}), **metrics(info)}
        found = {(m.key, m.regime == SUSTAINED) for m in run.of(info.id) if m.seconds}
        common = {name: pin for name, pin in shared.items() if pin in found and name in own}
        self._past = past.before(run, info)
        self.pins: Mapping[str, Pin] = {**self._lost(), **own, **common, **kept}
        if info is not run.environment.devices[0]:  # which speaks for what all do together
            self.pins = {name: pin for name, pin in self.pins.items() if not self.metrics[name].together}
        self.samples = samples(run, info.id, self.pins, self.metrics)

    def _lost(self) -> dict[str, Pin]:
        """What the Run was to measure and could not: invalid, or skipped though its history had it."""
        failed = {m.key for m in self.run.of(self.info.id) if m.reasons and not m.skip}
        usual = Counter(case for _, device in self._past for case in device.values)
        lost = unusable(self.run, self.info)
        return {name: pin for name, pin in lost.items() if pin[0] in failed or usual[digest(pin)] >= ENOUGH}

    @cached_property
    def changes(self) -> tuple[str, ...]:
        """What of the environment is not as it was in the baseline."""
        if not self.baseline:
            return ()
        now = device_entry(self.run, self.info, None).surroundings
        return tuple(f"{each.factor} {each.before} → {each.after}" for each in changes(self.baseline.surroundings, now))

    @property
    def notes(self) -> Iterator[str]:
        who, baseline = self.info.id, self.baseline
        if self.renewed:
            why = ", ".join(dict.fromkeys(self.renewed.values()))
            yield f"{who}: a new segment for {', '.join(self.renewed)}: {why}"
        if self.changes:
            yield f"{who}: a new segment since {baseline.source}: {', '.join(self.changes)}"
        gated = [name for name in self.samples if self.tolerance(self.metrics[name])[1]]
        if not self.has_reference:
            yield f"{who}: no baseline and too little history; only its datasheet and its siblings judge it"
        elif baseline and (new := [name for name in gated if name not in baseline.pins]):
            yield f"{who}: not in the baseline, so that only its datasheet and its siblings judge it: {', '.join(new)}"
        if baseline and not baseline.own:
            yield f"{who}: no baseline of its own; its product’s holds, at twice the floor"

    @property
    def has_reference(self) -> bool:
        """Whether anything of its own says what is usual."""
        return self.baseline is not None or len(self._past) >= ENOUGH

    @property
    def source(self) -> str:
        parts = [self.baseline.source] if self.baseline else []
        if len(self._past) >= ENOUGH:
            parts.append(f"{len(self._past)} Runs in the same environment")
        return " and ".join(parts) or "its siblings and its datasheet only"

    def own(self, metric: Metric, tolerance: Tolerance) -> tuple[Reference | None, Reference | None]:
        """(its past: history where there is enough, else the baseline; the baseline's outer band beside a history).

        The outer band is of twice the floor. A history that drifts slowly never leaves its own band, this one stands
        still; and what lies outside of it never becomes the history that excuses it.
        """
        baseline, floor, least = self.baseline, tolerance.floor, tolerance.least
        blessed = outer = None
        if baseline and metric.name not in self.renewed and (speed := baseline.speed(metric.name)):
            # of a product's baseline, which is of other chips, the clocks are theirs
            clock_hz = baseline.samples[metric.name].clock_hz if baseline.own else None
            kind = "baseline" if baseline.own else "product"
            narrow, wide = (
                usual(kind, metric, [speed], share, least, baseline.source, clock_hz) for share in (floor, 2 * floor)
            )
            blessed, outer = (narrow, wide) if baseline.own else (wide, None)
        case, soak = digest(self.pins[metric.name]), "soak" in self.run.environment.budget
        window = [
            (value, run.started)
            for run, device in self._past
            if (value := device.values.get(case)) and value.valid and value.n > 1
            # a soak heats a device for longer: its lasting load is another number
            if not metric.sustained or ("soak" in run.budget) == soak
            if outer is None or _admitted(value.speed, run.at, blessed, outer, moment(baseline.run))
        ][-WINDOW:]
        if len(window) < ENOUGH:
            return blessed, None
        clocks = [value.clock_hz for value, _ in window if value.clock_hz]
        source, speeds = f"{len(window)} Runs since {window[0][1][:10]}", [value.speed for value, _ in window]
        return usual("history", metric, speeds, floor, least, source, fmean(clocks) if clocks else None), outer

    def siblings(self, metric: Metric, devices: Sequence["DeviceExpectation"]) -> Reference | None:
        """What other devices of its kind reach with the same case: another shape or setting is another number, and a
        slice or another product no sibling.
        """
        kind = self.info.name, self.info.memory_bytes
        beside = [each for each in devices if each is not self and (each.info.name, each.info.memory_bytes) == kind]
        measured = [each.samples[metric.name] for each in beside if metric.name in each.samples]
        others = [each.speed for each in measured if each.speed and each.pin == self.pins[metric.name]]
        if len(others) < SIBLINGS:
            return None
        source = f"the median of its {len(others)} siblings"
        return usual("siblings", metric, others, OUTLIER, self.tolerance(metric)[0].least, source)

    def theory(self, measured: MetricSamples) -> Reference | None:
        """What the datasheet's machine would make of the same case; a CPU's is assumed and judges nothing."""
        machine, metric = datasheet(self.info) if self.info.sku else None, measured.metric
        work = next((m.work for m in self.run.of(self.info.id) if m.key == measured.pin[0]), None)
        if machine is None or work is None or metric.amount == "seconds":
            return None
        # tensor peaks are stated below the clock that a burst runs at
        key = work.compute if metric.amount == "flops" else work.channel
        stated, clocked = machine.find(key), at_clock(self.info, key, measured.clock_hz)
        faster = max(1.0, clocked / stated.rate) if stated and clocked else 1.0
        try:
            return of_theory(faster * metric.speed(work, machine.seconds(work)))
        except (MissingRoof, ZeroDivisionError):
            return None


def _admitted(speed: float, at: float, blessed: Reference, outer: Reference, since: float) -> bool:
    """Whether a past Run may say what is usual beside its device's own baseline: what that calls a regression never
    becomes the history that excuses it, and a level that was given up by blessing another one is not usual any more.
    """
    band = outer if at >= since else blessed
    return band.low <= speed <= band.high
