"""The words of a gate: a verdict per metric and device with its evidence, and what they add up to."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.analysis.gate.bands import Finding, Reference
from bench.analysis.gate.metrics import Metric, Pin, Tolerance
from bench.schema import Run

OK, IMPROVED, SUSPICIOUS, REGRESSED = "ok", "improved", "suspicious", "regressed"
INCONCLUSIVE, INVALID, MISSING = "inconclusive", "invalid", "missing"
# From what matters most to what matters least.
WORDS = (REGRESSED, MISSING, INVALID, INCONCLUSIVE, SUSPICIOUS, IMPROVED, OK)
# What --fail-on takes: the least word that turns a gate red. A vanished metric is never noise: only "never" hides it.
FAIL_ON = ("regression", "suspicious", "inconclusive", "never")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One metric of one device.

    speed: work or launches per second, the median of n repetitions; None where there is none. again: the median of the
    re-measurements, looked: how many there were, invalid ones included. reference: what decided, None where there was
    nothing to compare with; findings: every comparison. per_clock: work per SM clock over the reference's, where known.
    cause: what probably slowed it, by causes.py; why: one sentence of evidence. gates: whether it may fail the gate.
    """

    metric: Metric
    device: str
    word: str
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
    findings: tuple[Finding, ...] = ()
    per_clock: float | None = None
    cause: str = ""

    @property
    def value(self) -> float | None:
        """In the metric's unit: the re-measured one, where it decided."""
        speed = self.decisive
        return self.metric.value(speed) if speed else None

    @property
    def decisive(self) -> float | None:
        """The speed that the word rests on: of the re-measurement, where there was one."""
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
    def params(self) -> Mapping[str, Any]:
        return dict(self.pin[0][2]) if self.pin else {}


@dataclass(frozen=True)
class Gate:
    """A Run, judged. defects: (device, what its counters say is broken). notes: what a reader should know besides.

    references: device -> what it was held against, in words. unfounded: whether a device had neither a baseline nor a
    history, required: whether that is not allowed. estranged: devices that are blessed among another number of devices,
    in words: one of them may be gone.
    """

    run: Run
    verdicts: tuple[Verdict, ...]
    defects: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    references: Mapping[str, str] | None = None
    unfounded: bool = False
    required: bool = False
    estranged: tuple[str, ...] = ()

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many gated metrics have each word."""
        found = Counter(verdict.word for verdict in self.verdicts if verdict.gates)
        return {word: found[word] for word in WORDS if found[word]}

    @property
    def word(self) -> str:
        """The word that matters most over all gated metrics; what improved is no news for a gate."""
        if self.defects:
            return REGRESSED
        words = {*self.counts, *([MISSING] if self.estranged else ())}
        words |= {INCONCLUSIVE} if not self.counts or (self.required and self.unfounded) else set()
        found = next(word for word in WORDS if word in words)
        return OK if found == IMPROVED else found

    @property
    def worst(self) -> tuple[Verdict, ...]:
        """Verdicts in the order in which a person should read them."""
        order = {word: place for place, word in enumerate(WORDS)}
        return tuple(
            sorted(self.verdicts, key=lambda v: (order[v.word], not v.gates, v.ratio if v.ratio is not None else 2.0))
        )

    @property
    def slow(self) -> tuple[str, ...]:
        """The devices that something slow was found on, by any comparison."""
        named = [d for d, _ in self.defects]
        bad = [v for v in self.verdicts if v.gates and v.word in (REGRESSED, SUSPICIOUS)]
        named += [v.device for v in bad if not v.metric.together]
        return tuple(dict.fromkeys(named))

    def code(self, fail_on: str = "inconclusive") -> int:
        """The exit code: 1 regressed or defective; 3 invalid, inconclusive, missing, or no baseline though required."""
        if fail_on == "never":
            return 0
        words = set(self.counts)
        if self.defects or REGRESSED in words:
            return 1
        if MISSING in words or self.estranged or (self.required and self.unfounded):
            return 3
        if not words:
            return 3
        if fail_on == "regression":
            return 0
        if words & {INVALID, INCONCLUSIVE}:
            return 3
        return 3 if fail_on == "suspicious" and SUSPICIOUS in words else 0
