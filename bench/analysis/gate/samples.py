"""What a Run says of each metric: the speed of every repetition, and how far each may be believed; and, of earlier
Runs, what they said of each case, remembered beside them.

The unit is the repetition. Rates here are work over raw seconds, the launch included: two Runs are compared as they
were timed. What would make one wrong: a repetition of the first pass (it chose the winner of a search, so it only
counts where nothing else does), an invalid one (never counts), a suspect one (counts where there are too few valid
ones, and then accuses nobody).

Only complete, valid, measured Runs of the same device in the same environment make a history: another driver, library
or power limit is another machine to a gate. Another version of the suite alone is not: what a probe measures has a
version of its own, which is part of the case.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from statistics import fmean, median

from bench.analysis.gate.metrics import Candidate, Metric, Pin, candidates_of, metrics, pinned
from bench.analysis.run_entry import EntryKind
from bench.analysis.run_index import RunIndex, run_index
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


def _middle(look: Sequence[Seen]) -> float | None:
    valid = [seen.speed for seen in look if seen.valid]
    speeds = valid if len(valid) >= ENOUGH else [seen.speed for seen in look]
    return median(speeds) if speeds else None


def pins(run: Run, info: DeviceInfo) -> dict[str, Pin]:
    """Metric -> the case that it is of, as this Run measured it: what a baseline pins."""
    return _pinned(info, _candidates(_grouped(run, info.id)))


def unusable(run: Run, info: DeviceInfo) -> dict[str, Pin]:
    """Metric -> its case, of those that the Run was to measure and has no usable value of."""
    grouped = _grouped(run, info.id)
    known = _pinned(info, _candidates(grouped))
    return {n: pin for n, pin in _pinned(info, _candidates(grouped, usable=False)).items() if n not in known}


def _pinned(info: DeviceInfo, candidates: Sequence[Candidate]) -> dict[str, Pin]:
    chosen = {name: pinned(metric, candidates) for name, metric in metrics(info).items()}
    return {name: pin for name, pin in chosen.items() if pin}


def _candidates(grouped: Mapping[Pin, Sequence[Measurement]], usable: bool = True) -> tuple[Candidate, ...]:
    """Every case that has a usable measurement, or that was to be measured at all; with its rate in the rounds."""
    return tuple(
        Candidate(pin, next((m.saturates for m in group if m.saturates), ""), _rate(group))
        for pin, group in grouped.items()
        if not usable or any(m.usable for m in group)
    )


def _rate(group: Sequence[Measurement]) -> float:
    rounds = [m for m in group if m.usable and FIRST_ROUND <= m.repetition < CONFIRM]
    return median((m.work.flops or m.work.bytes or 1.0) / m.median for m in rounds) if rounds else 0.0


def samples(run: Run, device: str, chosen: Mapping[str, Pin], known: Mapping[str, Metric]) -> dict[str, MetricSamples]:
    """Each metric of a device by name, of the pinned cases; empty where the Run does not have one. known: by name."""
    grouped = _grouped(run, device)
    return {name: _samples(known[name], pin, grouped.get(pin, ())) for name, pin in chosen.items()}


def repeated(run: Run, info: DeviceInfo) -> dict[Pin, MetricSamples]:
    """Every case that could stand for a metric and was measured more than once: which one does, a baseline says."""
    grouped = _grouped(run, info.id)
    candidates = _candidates({pin: group for pin, group in grouped.items() if len(group) > 1})
    fitting = [(metric, each.pin) for metric in metrics(info).values() for each in candidates_of(metric, candidates)]
    return {pin: _samples(metric, pin, grouped[pin]) for metric, pin in fitting}


def stating(run: Run, device: str, pin: Pin, again: bool) -> list[Measurement]:
    """The repetitions that a value rests on: the re-measurements where they decided (again), else the rounds."""
    rounds, second = _looks(
        [m for m in run.measurements if m.device == device and (m.key, m.regime == SUSTAINED) == pin]
    )
    return [m for m in (second if again or not rounds else rounds) if m.usable]


def _grouped(run: Run, device: str) -> dict[Pin, list[Measurement]]:
    grouped: dict[Pin, list[Measurement]] = defaultdict(list)
    for m in run.measurements:
        if m.device == device or device in m.devices:  # what several did together is of each of them
            grouped[m.key, m.regime == SUSTAINED].append(m)
    return grouped


def _looks(group: Sequence[Measurement]) -> tuple[list[Measurement], list[Measurement]]:
    """(what states a value: the rounds, the first pass only where there are none; what re-measured a suspect)."""
    first = [m for m in group if m.repetition < CONFIRM]
    # at CONFIRM itself a fresh process warms up
    return [m for m in first if m.repetition >= FIRST_ROUND] or first, [m for m in group if m.repetition > CONFIRM]


def _samples(metric: Metric, pin: Pin, group: Sequence[Measurement]) -> MetricSamples:
    rounds, again = _looks(group)
    lost = [reason for m in (*rounds, *again) if not m.usable and not m.skip for reason in m.reasons or ("no reason",)]
    skip = next((m.skip for m in group if m.skip), "") if not any(m.usable for m in group) else ""
    # a second look that could not be taken is a look without a value, where a first one is a case that is not there
    tried = (sum(not m.skip for m in rounds), len(again))
    lost += [f"not measured again: {m.skip}" for m in again if m.skip]
    first, second = tuple(_seen(metric, rounds)), tuple(_seen(metric, again))
    return MetricSamples(metric, pin, first, second, tried, tuple(dict.fromkeys(lost)), skip)


def _seen(metric: Metric, group: Sequence[Measurement]) -> Iterator[Seen]:
    for m in group:
        if m.usable:
            clock_hz, valid = fmean(m.clock_hz) if m.clock_hz else None, m.validity == "valid"
            yield Seen(metric.speed(m.work, m.median), valid, clock_hz, () if valid else m.reasons)


# --- the Runs before


@dataclass(frozen=True)
class CaseSpeed:
    """The speed of one case in one Run (work or launches per second), of n repetitions."""

    speed: float
    n: int
    valid: bool
    clock_hz: float | None


Speeds = Mapping[str, CaseSpeed]


@cache
def digest(pin: Pin) -> str:
    """A case in sixteen letters, the version of its probe included."""
    (probe, version, params), sustained = pin
    return sha256(json.dumps([probe, version, params, sustained]).encode()).hexdigest()[:16]


def _speeds(run: Run) -> Iterator[Speeds]:
    """Of each device, by the digest of the case."""
    for info in run.environment.devices:
        yield {
            digest(pin): CaseSpeed(measured.speed, len(measured.first), measured.believed, measured.clock_hz)
            for pin, measured in repeated(run, info).items()
            if measured.speed
        }


REMEMBERED: EntryKind[Speeds] = EntryKind("gate", (1,), Speeds, _speeds)


def past(folder: Path, listen: Callable[[int, int], None] = lambda done, total: None) -> RunIndex[Speeds]:
    """The Runs of results/PRODUCT; none for a folder that does not exist yet. Raises RunError."""
    return run_index(folder, REMEMBERED, listen) if folder.exists() else RunIndex({}, {})
