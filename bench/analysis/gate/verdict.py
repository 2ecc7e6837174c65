"""What a gate finds: a verdict per metric and device with its evidence, and what they add up to."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.analysis.gate.metrics import Metric, Pin, Tolerance
from bench.analysis.gate.thresholds import Comparison, Reference
from bench.schema import Run

OK, IMPROVED, SUSPICIOUS, REGRESSED = "ok", "improved", "suspicious", "regressed"
INCONCLUSIVE, INVALID, MISSING = "inconclusive", "invalid", "missing"
# From what matters most to what matters least.
STATUSES = (REGRESSED, MISSING, INVALID, INCONCLUSIVE, SUSPICIOUS, IMPROVED, OK)
# What --fail-on takes: the least word that turns a gate red. A vanished metric is never noise: only "never" hides it.
FAIL_ON = ("regression", "suspicious", "inconclusive", "never")


@dataclass(frozen=True, kw_only=True)
class MetricVerdict:
    """One metric of one device.

    speed: work or launches per second, the median of n repetitions; None where there is none. again: the median of the
    re-measurements, looked: how many there were, invalid ones included. reference: what decided, None where there was
    nothing to compare with; comparisons: with every reference. per_clock: work per SM clock over the reference's, where
    known. cause: what probably slowed it, by causes.py; why: one sentence of evidence. gates: whether it may fail the
    gate; found: the status without regard to that, "" for the same.
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
    def value(self) -> float | None:
        """In the metric's unit: the re-measured one, where it decided."""
        speed = self.decisive
        return self.metric.value(speed) if speed else None

    @property
    def decisive(self) -> float | None:
        """The speed that the status rests on: of the re-measurement, where there was one."""
        return self.speed if self.again is None else self.again

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
    def params(self) -> Mapping[str, Any]:
        return dict(self.pin[0][2]) if self.pin else {}


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
        found |= {INCONCLUSIVE} if not self.counts or (self.required and self.no_reference) else set()
        worst = next(status for status in STATUSES if status in found)
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
            who = next((device for device in self.devices if note.startswith(f"{device}: ")), "")
            text = note.removeprefix(f"{who}: ") if who else note
            found[text] = (*found.get(text, ()), *((who,) if who else ()))
        return found

    def tally(self, device: str) -> dict[str, int]:
        """How many gated metrics of one device have each status, and how many defects it has."""
        statuses = [verdict.status for verdict in self.verdicts if verdict.gates and verdict.device == device]
        found = {"hardware defect": [who for who, _ in self.defects].count(device)}
        return {name: count for name, count in (found | {s: statuses.count(s) for s in STATUSES}).items() if count}

    @property
    def worst(self) -> tuple[MetricVerdict, ...]:
        """Verdicts in the order in which a person should read them."""
        order = {status: place for place, status in enumerate(STATUSES)}
        return tuple(
            sorted(self.verdicts, key=lambda v: (order[v.status], not v.gates, v.ratio if v.ratio is not None else 2.0))
        )

    @property
    def slow(self) -> tuple[str, ...]:
        """The devices that something slow was found on, by any comparison."""
        named = [d for d, _ in self.defects]
        bad = [v for v in self.verdicts if v.gates and v.status in (REGRESSED, SUSPICIOUS)]
        named += [v.device for v in bad if not v.metric.together]
        return tuple(dict.fromkeys(named))

    def code(self, fail_on: str = "inconclusive") -> int:
        """The exit code: 1 regressed or defective; 3 invalid, inconclusive, missing, or no baseline though required."""
        if fail_on == "never":
            return 0
        found = set(self.counts)
        if self.defects or REGRESSED in found:
            return 1
        if MISSING in found or self.baseline_elsewhere or (self.required and self.no_reference):
            return 3
        if not found:
            return 3
        if fail_on == "regression":
            return 0
        if found & {INVALID, INCONCLUSIVE}:
            return 3
        return 3 if fail_on == "suspicious" and SUSPICIOUS in found else 0
