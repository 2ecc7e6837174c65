"""Which verdicts are one finding: a fault moves every metric of its family, and is read once."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from bench.analysis.gate.causes import CLOCK, KERNEL, SOFTWARE
from bench.analysis.gate.verdict import IMPROVED, INCONCLUSIVE, OK, REGRESSED, STATUSES, SUSPICIOUS, Gate, MetricVerdict

SLOW = "slow"


@dataclass(frozen=True)
class Group:
    """Verdicts of one device of which one thing is to be said, worst first.

    family: of metrics ("memory", "compute" ...), "" for what is said of a device as a whole. kind: SLOW, or the status
    that they share. of: how many metrics of that family, or device, are followed.
    """

    device: str
    family: str
    kind: str
    verdicts: tuple[MetricVerdict, ...]
    of: int

    @property
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
    def together(self) -> bool:
        """Whether all devices of the node make these metrics, so that none is to blame."""
        return all(verdict.metric.together for verdict in self.verdicts)

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


def doubtful(gate: Gate) -> tuple[str, ...]:
    """The devices to look at: broken ones, and those that may be at fault."""
    found = [device for device, _ in gate.defects]
    return tuple(dict.fromkeys([*found, *(group.device for group in groups(gate) if group.doubtful)]))


def worst_of(gate: Gate, device: str) -> dict[str, MetricVerdict]:
    """The worst verdict of a device in each family, gated before what only warns."""
    rising = sorted(gate.worst, key=lambda each: not each.gates)[::-1]
    return {each.metric.family: each for each in rising if each.device == device}


def groups(gate: Gate) -> tuple[Group, ...]:
    """Everything that is not ok, worst first: gated before what only warns, what improved at last."""
    families = Counter((verdict.device, verdict.metric.family) for verdict in gate.verdicts)
    devices = Counter(verdict.device for verdict in gate.verdicts)
    found: dict[tuple[str, str, str, bool], list[MetricVerdict]] = {}
    for verdict in gate.worst:
        if verdict.status == OK:
            continue
        kind = _kind(verdict)
        family = verdict.metric.family if kind in (SLOW, IMPROVED) else ""
        found.setdefault((verdict.device, family, kind, verdict.metric.together), []).append(verdict)
    made = [
        Group(device, family, kind, tuple(verdicts), families[device, family] if family else devices[device])
        for (device, family, kind, _), verdicts in found.items()
    ]
    return tuple(sorted(made, key=lambda group: (not group.gates, STATUSES.index(group.status))))


def _kind(verdict: MetricVerdict) -> str:
    found = verdict.found or verdict.status
    return SLOW if verdict.below and found in (REGRESSED, SUSPICIOUS, INCONCLUSIVE) else found
