"""What a gate finds: a verdict per metric and device with its evidence, which of them are one finding (a fault moves
every metric of its family, and is read once), and what they add up to.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bench.analysis.gate.expectations import Comparison, Reference
from bench.analysis.gate.metrics import Metric, Pin, Tolerance
from bench.schema import Run

OK, IMPROVED, SUSPICIOUS, REGRESSED = "ok", "improved", "suspicious", "regressed"
INCONCLUSIVE, INVALID, MISSING = "inconclusive", "invalid", "missing"
# From what matters most to what matters least.
STATUSES = (REGRESSED, MISSING, INVALID, INCONCLUSIVE, SUSPICIOUS, IMPROVED, OK)
# What --fail-on takes: the least status that turns a gate red, and those that do by exit code 3. A vanished metric is
# never noise: only "never" hides it.
_RED = {"regression": (), "suspicious": (INVALID, INCONCLUSIVE, SUSPICIOUS), "inconclusive": (INVALID, INCONCLUSIVE)}
FAIL_ON = (*_RED, "never")
# What probably slowed something (causes.py); what kind of finding verdicts are that a fault moved.
CLOCK, SOFTWARE, KERNEL = "clock, heat or power", "software change", "kernel or library"
SLOW = "slow"


@dataclass(frozen=True, kw_only=True)
class MetricVerdict:
    """One metric of one device.

    speed: work or launches per second, the median of n repetitions; None where there is none. again: the median of the
    re-measurements, looked: how many there were, invalid ones included. reference: what decided, None where there was
    nothing to compare with; comparisons: with every reference. per_clock: work per SM clock over the reference's, where
    known. cause: what probably slowed it; why: a sentence of evidence. gates: whether it may fail the gate; found: its
    status without regard to that, "" for the same.
    """

    metric: Metric
    device: str
    status: str
    why: str
    gates: bool
    tolerance: Tolerance
    pin: Pin | None = None
    speed: float | None = None
    n: int = 0
    again: float | None = None
    looked: int = 0
    spread: float | None = None
    reference: Reference | None = None
    comparisons: tuple[Comparison, ...] = ()
    per_clock: float | None = None
    cause: str = ""
    found: str = ""

    @property
    def decisive(self) -> float | None:
        """The speed that the status rests on: of the re-measurement, where there was one."""
        return self.speed if self.again is None else self.again

    @property
    def value(self) -> float | None:
        """In the metric's unit: the re-measured one, where it decided."""
        return self.metric.value(self.decisive) if self.decisive else None

    @property
    def expected(self) -> float | None:
        """The reference's centre in the metric's unit."""
        return self.metric.value(self.reference.centre) if self.reference else None

    @property
    def limit(self) -> float | None:
        """Where the metric would begin to be a regression, in its unit."""
        return self.metric.value(self.reference.low) if self.reference else None

    @property
    def ratio(self) -> float | None:
        """Above 1 is faster than the reference, for a time too."""
        return self.decisive / self.reference.centre if self.decisive and self.reference else None

    @property
    def change(self) -> float | None:
        """How far the value is from what was expected, as a share of it in the metric's own unit."""
        return None if self.ratio is None else self.metric.change(self.ratio)

    @property
    def below(self) -> bool:
        """Whether the first look was beyond the limit."""
        return bool(self.speed and self.reference) and self.speed < self.reference.low

    @property
    def confirmed(self) -> bool:
        """Whether a re-measurement was beyond the limit too."""
        return bool(self.again and self.reference) and self.again < self.reference.low

    @property
    def kind(self) -> str:
        """What of it is to be said: that it is slow, or its status."""
        status = self.found or self.status
        return SLOW if self.below and status in (REGRESSED, SUSPICIOUS, INCONCLUSIVE) else status


@dataclass(frozen=True)
class GateGroup:
    """Verdicts of one device of which one thing is to be said, worst first.

    family: of metrics ("memory", "compute" ...), "" for what is said of a device as a whole. kind: SLOW, or the status
    that they share. together: whether all devices of the node make these metrics, so that none is to blame. of: how
    many metrics of that family, or device, are followed.
    """

    device: str
    family: str
    kind: str
    together: bool
    verdicts: tuple[MetricVerdict, ...]
    of: int

    @cached_property
    def gated(self) -> tuple[MetricVerdict, ...]:
        """Those that may fail the gate; with none of them the group only warns."""
        return tuple(verdict for verdict in self.verdicts if verdict.gates)

    @property
    def gates(self) -> bool:
        return bool(self.gated)

    @property
    def doubtful(self) -> bool:
        """Whether it may be the device's fault that the gate is not green."""
        return self.gates and self.kind != IMPROVED and not self.together

    @property
    def status(self) -> str:
        """The one that matters most."""
        return min((verdict.status for verdict in self.gated or self.verdicts), key=STATUSES.index)

    @property
    def range(self) -> tuple[float, float] | None:
        """The least and the largest change, in the metrics' unit; of the first look where none confirmed it."""
        first = self.kind == SLOW and not self.confirmed
        speeds = [(v.metric, v.speed if first else v.decisive, v.reference) for v in self.verdicts]
        changes = [metric.change(speed / known.centre) for metric, speed, known in speeds if speed and known]
        return (min(changes, key=abs), max(changes, key=abs)) if changes else None

    @cached_property
    def confirmed(self) -> int:
        """How many gated ones a re-measurement confirmed."""
        return sum(verdict.confirmed for verdict in self.gated)

    @property
    def looked(self) -> bool:
        """Whether any was measured again."""
        return any(verdict.looked for verdict in self.verdicts)

    @property
    def probes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(verdict.metric.probe for verdict in self.verdicts))

    @property
    def remedy(self) -> str:
        """What decides on what to do next: the cause where it is one of three, else the family, or the status."""
        if self.status in (REGRESSED, INCONCLUSIVE):
            known = (known for known in (SOFTWARE, CLOCK, KERNEL) if self.cause.startswith(known))
            return next(known, self.family if self.status == REGRESSED else self.status)
        if self.status == SUSPICIOUS and self.looked:
            return "confirmed" if self.confirmed else INCONCLUSIVE
        return self.status

    @property
    def cause(self) -> str:
        """What probably slowed most of them."""
        causes = Counter(verdict.cause for verdict in self.verdicts if verdict.cause)
        return causes.most_common(1)[0][0] if causes else ""


@dataclass(frozen=True)
class Gate:
    """A Run, judged. defects: (device, what its counters say is broken). notes: what a reader should know besides.

    references: device -> what it was compared with, in words. no_reference: whether a device had neither a baseline nor
    a history, required: whether that is not allowed. baseline_elsewhere: devices that are blessed among another number
    of devices, in words: one of them may be gone.
    """

    run: Run
    verdicts: tuple[MetricVerdict, ...]
    defects: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    references: Mapping[str, str] | None = None
    no_reference: bool = False
    required: bool = False
    baseline_elsewhere: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many gated metrics have each status."""
        found = Counter(verdict.status for verdict in self.verdicts if verdict.gates)
        return {status: found[status] for status in STATUSES if found[status]}

    @property
    def status(self) -> str:
        """The status that matters most over all gated metrics; what improved is no news for a gate."""
        if self.defects:
            return REGRESSED
        found = {*self.counts, *([MISSING] if self.baseline_elsewhere else ())}
        if not self.counts or (self.required and self.no_reference):
            found.add(INCONCLUSIVE)
        worst = min(found, key=STATUSES.index)
        return OK if worst == IMPROVED else worst

    @property
    def compared(self) -> bool:
        """Whether a gated metric has anything but a datasheet to be compared with."""
        return any(verdict.gates and verdict.reference for verdict in self.verdicts)

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """Every device that the Run names or something is said of."""
        known = [info.id for info in self.run.environment.devices]
        said = [*(verdict.device for verdict in self.verdicts), *(device for device, _ in self.defects)]
        return tuple(dict.fromkeys([*known, *said]))

    @property
    def shared_notes(self) -> dict[str, tuple[str, ...]]:
        """Note -> the devices that it is about, none for one about the Run: what several share is read once."""
        found: dict[str, tuple[str, ...]] = {}
        for note in self.notes:
            who = [device for device in self.devices if note.startswith(f"{device}: ")][:1]
            text = note.removeprefix(f"{who[0]}: ") if who else note
            found[text] = (*found.get(text, ()), *who)
        return found

    def tally(self, device: str) -> dict[str, int]:
        """How many gated metrics of one device have each status, and how many defects it has."""
        statuses = [verdict.status for verdict in self.verdicts if verdict.gates and verdict.device == device]
        found = {"hardware defect": [who for who, _ in self.defects].count(device)}
        return {name: count for name, count in (found | {s: statuses.count(s) for s in STATUSES}).items() if count}

    @property
    def worst(self) -> tuple[MetricVerdict, ...]:
        """Verdicts in the order in which a person should read them."""

        def place(verdict: MetricVerdict) -> tuple[int, bool, float]:
            return STATUSES.index(verdict.status), not verdict.gates, 2.0 if verdict.ratio is None else verdict.ratio

        return tuple(sorted(self.verdicts, key=place))

    @property
    def slow(self) -> tuple[str, ...]:
        """The devices that something slow was found on, by any comparison."""
        bad = [v for v in self.verdicts if v.gates and v.status in (REGRESSED, SUSPICIOUS) and not v.metric.together]
        return tuple(dict.fromkeys([*(device for device, _ in self.defects), *(verdict.device for verdict in bad)]))

    def code(self, fail_on: str = "inconclusive") -> int:
        """The exit code: 1 regressed or defective; 3 invalid, inconclusive, missing, or no baseline though required."""
        if fail_on == "never":
            return 0
        if self.defects or REGRESSED in self.counts:
            return 1
        unknown = not self.counts or self.baseline_elsewhere or (self.required and self.no_reference)
        return 3 if unknown or self.counts.keys() & {MISSING, *_RED[fail_on]} else 0


def doubtful(gate: Gate) -> tuple[str, ...]:
    """The devices to look at: broken ones, and those that may be at fault."""
    bad = [group.device for group in groups(gate) if group.doubtful]
    return tuple(dict.fromkeys([*(device for device, _ in gate.defects), *bad]))


def worst_of(gate: Gate, device: str) -> dict[str, MetricVerdict]:
    """The worst verdict of a device in each family, gated before what only warns."""
    rising = sorted(gate.worst, key=lambda verdict: not verdict.gates)[::-1]
    return {verdict.metric.family: verdict for verdict in rising if verdict.device == device}


def groups(gate: Gate) -> tuple[GateGroup, ...]:
    """Everything that is not ok, worst first: gated before what only warns, what improved at last."""
    followed = Counter((verdict.device, verdict.metric.family) for verdict in gate.verdicts)
    followed |= Counter((verdict.device, "") for verdict in gate.verdicts)
    found: dict[tuple[str, str, str, bool], list[MetricVerdict]] = defaultdict(list)
    for verdict in gate.worst:
        if verdict.status != OK:
            family = verdict.metric.family if verdict.kind in (SLOW, IMPROVED) else ""
            found[verdict.device, family, verdict.kind, verdict.metric.together].append(verdict)
    made = [GateGroup(*key, tuple(verdicts), followed[key[:2]]) for key, verdicts in found.items()]
    return tuple(sorted(made, key=lambda group: (not group.gates, STATUSES.index(group.status))))
