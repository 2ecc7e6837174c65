"""What a Run says of each metric: the speed of every repetition, and how far each may be believed.

The unit is the repetition. Rates here are work over raw seconds, the launch included: two Runs are compared as they
were timed. What would make one wrong: a repetition of the first pass (it chose the winner of a search, so it only
counts where nothing else does), an invalid one (never counts), a suspect one (counts where there are too few valid
ones, and then accuses nobody).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median

from bench.analysis.gate.metrics import Candidate, Metric, Pin, candidates_of, metrics, pinned
from bench.schema import CONFIRM, FIRST_ROUND, SUSTAINED, DeviceInfo, Measurement, Run

# Valid repetitions that state a value by themselves; with fewer the doubtful ones join in, and the value is in doubt.
ENOUGH = 2


@dataclass(frozen=True)
class Seen:
    """One repetition: its speed (work or launches per second), the mean SM clock under it where known, its doubts."""

    speed: float
    valid: bool
    clock_hz: float | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricSamples:
    """One metric of one device in one Run. first: the repetitions that state its value; again: those that re-measured
    a suspect; tried: how many of each there were, invalid ones included. lost: why repetitions do not count. skip: why
    nothing was measured.
    """

    metric: Metric
    pin: Pin
    first: tuple[Seen, ...]
    again: tuple[Seen, ...] = ()
    tried: tuple[int, int] = (0, 0)
    lost: tuple[str, ...] = ()
    skip: str = ""

    @cached_property
    def speed(self) -> float | None:
        """The median of its repetitions, of the valid ones where there are enough."""
        return _middle(self.first)

    @cached_property
    def confirmed(self) -> float | None:
        """The median of the re-measurements, likewise."""
        return _middle(self.again)

    @property
    def believed(self) -> bool:
        """Whether nothing but the device can have slowed what was valid, as far as anybody saw."""
        looks = [(look, tried) for look, tried in zip((self.first, self.again), self.tried, strict=True) if tried]
        return bool(looks) and all(sum(seen.valid for seen in look) >= min(ENOUGH, tried) for look, tried in looks)

    @property
    def best(self) -> float:
        return max((seen.speed for seen in (*self.first, *self.again)), default=0.0)

    @property
    def doubts(self) -> tuple[str, ...]:
        said = [reason for seen in (*self.first, *self.again) for reason in seen.reasons]
        return tuple(dict.fromkeys([*self.lost, *said]))

    @property
    def clock_hz(self) -> float | None:
        clocks = [seen.clock_hz for seen in (self.again or self.first) if seen.clock_hz]
        return fmean(clocks) if clocks else None

    @property
    def params(self) -> Mapping[str, object]:
        return dict(self.pin[0][2])


def _middle(look: Sequence[Seen]) -> float | None:
    valid = [seen.speed for seen in look if seen.valid]
    speeds = valid if len(valid) >= ENOUGH else [seen.speed for seen in look]
    return median(speeds) if speeds else None


def repeated(run: Run, info: DeviceInfo) -> dict[Pin, MetricSamples]:
    """Every case that could stand for a metric and was measured more than once: which one does, a baseline says."""
    grouped = _grouped(run, info.id)
    known = _candidates(grouped)
    return {
        each.pin: _reading(metric, each.pin, grouped[each.pin])
        for metric in metrics(info).values()
        for each in candidates_of(metric, known)
        if len(grouped[each.pin]) > 1
    }


def _candidates(grouped: Mapping[Pin, Sequence[Measurement]], usable: bool = True) -> tuple[Candidate, ...]:
    """Every case that has a usable measurement, or that was to be measured at all; with its rate in the rounds."""
    return tuple(
        Candidate(pin, next((m.saturates for m in group if m.saturates), ""), _rate(group), group[0].params)
        for pin, group in grouped.items()
        if not usable or any(m.usable for m in group)
    )


def pins(run: Run, info: DeviceInfo) -> dict[str, Pin]:
    """Metric -> the case that it is of, as this Run measured it: what a baseline pins."""
    found = _candidates(_grouped(run, info.id))
    chosen = {name: pinned(metric, found) for name, metric in metrics(info).items()}
    return {name: pin for name, pin in chosen.items() if pin}


def unusable(run: Run, info: DeviceInfo) -> dict[str, Pin]:
    """Metric -> its case, of those that the Run was to measure and has no usable value of."""
    found, known = _candidates(_grouped(run, info.id), usable=False), pins(run, info)
    chosen = {n: pinned(metric, found) for n, metric in metrics(info).items() if n not in known}
    return {name: pin for name, pin in chosen.items() if pin}


def samples(run: Run, device: str, chosen: Mapping[str, Pin], known: Mapping[str, Metric]) -> dict[str, MetricSamples]:
    """Each metric of a device by name, of the pinned cases; empty where the Run does not have one. known: by name."""
    grouped = _grouped(run, device)
    return {name: _reading(known[name], pin, grouped.get(pin, ())) for name, pin in chosen.items()}


def stating(run: Run, device: str, pin: Pin, again: bool) -> list[Measurement]:
    """The repetitions that a value rests on: the re-measurements where they decided (again), else the rounds."""
    mine = [m for m in run.measurements if m.device == device and (m.key, m.regime == SUSTAINED) == pin]
    first = [m for m in mine if m.repetition < CONFIRM]
    if again or not first:
        return [m for m in mine if m.repetition >= CONFIRM and m.usable]
    return [m for m in ([m for m in first if m.repetition >= FIRST_ROUND] or first) if m.usable]


def _grouped(run: Run, device: str) -> dict[Pin, list[Measurement]]:
    grouped: dict[Pin, list[Measurement]] = defaultdict(list)
    for m in run.measurements:
        if m.device == device or device in m.devices:  # what several did together is of each of them
            grouped[m.key, m.regime == SUSTAINED].append(m)
    return grouped


def _rate(group: Sequence[Measurement]) -> float:
    rounds = [m for m in group if m.usable and FIRST_ROUND <= m.repetition < CONFIRM]
    amounts = [m.work.flops or m.work.bytes or 1.0 for m in rounds]
    return median(amount / m.median for m, amount in zip(rounds, amounts, strict=True)) if rounds else 0.0


def _reading(metric: Metric, pin: Pin, group: Sequence[Measurement]) -> MetricSamples:
    rounds = [m for m in group if FIRST_ROUND <= m.repetition < CONFIRM] or [m for m in group if m.repetition < CONFIRM]
    again = [m for m in group if m.repetition > CONFIRM]  # at CONFIRM itself a fresh process warms up
    lost = [reason for m in (*rounds, *again) if not m.usable and not m.skip for reason in m.reasons or ("no reason",)]
    skip = next((m.skip for m in group if m.skip), "") if not any(m.usable for m in group) else ""
    # a second look that could not be taken is a look without a value, where a first one is a case that is not there
    tried = (sum(not m.skip for m in rounds), len(again))
    lost += [f"not measured again: {m.skip}" for m in again if m.skip]
    return MetricSamples(
        metric, pin, _seen(metric, rounds), _seen(metric, again), tried, tuple(dict.fromkeys(lost)), skip
    )


def _seen(metric: Metric, group: Sequence[Measurement]) -> tuple[Seen, ...]:
    return tuple(
        Seen(
            metric.speed(m.work, m.median),
            m.validity == "valid",
            fmean(m.clock_hz) if m.clock_hz else None,
            () if m.validity == "valid" else m.reasons,
        )
        for m in group
        if m.usable
    )
