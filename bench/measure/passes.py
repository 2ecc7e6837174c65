"""Ever finer passes over the probes: what one pass has measured, the next one knows by its key and does not repeat.

Each pass describes every probe anew, for more points of its sweeps. Within a pass the probes take turns, the one that
has had the least time next, so that none starves another however the time runs out.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bench.measure.budget import Budget
from bench.measure.device.protocol import Device
from bench.measure.predictor import TimePredictor
from bench.measure.probes import Probe
from bench.measure.timing import measure
from bench.schema import Case, Key, Measurement, RepetitionKey, Unreached, case_key
from bench.work import RoofKey

# Seconds that a probe goes on before another has its turn: what is compared is measured close together.
TURN = 0.5

# What is known of a case before it runs: done (its seconds) or lost (a crash took the process that ran it).
History = Mapping[RepetitionKey, float | None]


@dataclass(frozen=True)
class Task:
    """A case about to be measured, with what a watchdog needs: its key and how long it may take (seconds)."""

    probe: Probe
    case: Case
    repetition: int
    patience: float

    @property
    def key(self) -> Key:
        return key_of(self.probe, self.case)


def key_of(probe: Probe, case: Case) -> Key:
    return case_key(probe.name, probe.version, case.params)


@dataclass
class _Walk:
    """One probe's part of a pass: the seconds that it has had, and whether time ran out before its last case."""

    probe: Probe
    spent: float = 0.0
    cut: bool = False


class Passes:
    """The passes of one device (every rank makes the same ones, rank 0 decides) and what they have found.

    known: seconds of every repetition that was measured, None for a skip. repeated: the cases that rounds repeat, with
    what they last cost. best: by roof the best rate that claims it.
    """

    def __init__(
        self,
        device: Device,
        probes: Sequence[Probe],
        budget: Budget,
        history: History,
        announce: Callable[[Task], None],
        predictor: TimePredictor,
    ):
        self._device, self._probes, self._budget = device, probes, budget
        self._announce, self._predictor = announce, predictor
        self.known: dict[RepetitionKey, float | None] = dict(history)
        self.repeated: dict[Key, tuple[Probe, Case]] = {}
        self.costs: dict[Key, float] = {}
        self.best: dict[str, tuple[float, Probe, Case]] = {}

    def headlines(self, until: Callable[[], float], roofs: Collection[str] = ()) -> Iterator[Measurement]:
        """Every case that claims a roof and the searches for it, or those of these roofs only."""

        def wanted(case: Case) -> bool:
            roof = case.saturates or case.search
            return bool(roof) and (not roofs or roof in roofs)

        coarse = self._budget.levels[0] if self._budget.levels else 0
        yield from self._pass([coarse], until, wanted)

    def sweep(
        self, levels: Sequence[int | None], until: Callable[[], float], late: bool = False
    ) -> Generator[Measurement, None, bool]:
        """All cases of these levels, as far as the time goes; returns whether it came to its end.

        late: after the rounds, when a new claim would have none, so that only cases are measured that nothing repeats.

        Within a call a probe goes on to its next level when it is done with one, whatever the others still have to do.
        until: device time, asked anew before each case: what must follow grows with what is found.
        """
        walks = yield from self._pass(levels, until, lambda case: not (late and (case.repeated or case.search)))
        return not any(walk.cut for walk in walks)

    def _pass(
        self, levels: Sequence[int | None], until: Callable[[], float], wanted: Callable[[Case], bool]
    ) -> Generator[Measurement, None, Sequence[_Walk]]:
        """The wanted cases of all probes, the probe that has had the least time always next."""
        walks = {walk.probe.name: walk for walk in map(_Walk, self._probes)}
        live = {name: self._levels(walk, levels, wanted, until) for name, walk in walks.items()}
        while live:
            walk = min((walks[name] for name in live), key=lambda each: each.spent)
            enough = walk.spent + TURN
            for case, measurement in live[walk.probe.name]:
                walk.spent += self._device.agree(measurement.elapsed)
                yield measurement
                if walk.spent > enough and not case.search:
                    break
            else:
                del live[walk.probe.name]
        return tuple(walks.values())

    def _levels(
        self, walk: _Walk, levels: Sequence[int | None], wanted: Callable[[Case], bool], until: Callable[[], float]
    ) -> Iterator[tuple[Case, Measurement]]:
        for level in levels:
            if not walk.cut:
                yield from self._steps(walk, self._budget.at(level), wanted, until)

    @property
    def _last(self) -> int | None:
        return self._budget.levels[-1] if self._budget.levels else None

    def unreached(self) -> tuple[Unreached, ...]:
        """What there was no time for, by probe: of its last level what it still asks for, told what is known."""
        found = []
        for probe in self._probes if self._budget.levels else ():
            cases, seconds, asked, missed = probe.cases(self._device.info, self._budget.at(self._last)), None, set(), 0
            with suppress(StopIteration):
                while True:
                    case = cases.send(seconds)
                    key = key_of(probe, case)
                    seconds = self.known.get((key, False, 0))
                    # what is skipped costs no time; a search goes another way where it was not told everything
                    if key not in asked and not (case.skip or case.search):
                        asked.add(key)
                        missed += (key, False, 0) not in self.known and (key, False, 1) not in self.known
            if missed:
                found.append(Unreached(self._device.info.id, probe.name, missed, len(asked)))
        return tuple(found)

    def _steps(
        self, walk: _Walk, budget: Budget, wanted: Callable[[Case], bool], until: Callable[[], float]
    ) -> Iterator[tuple[Case, Measurement]]:
        """Measures a probe's cases that are wanted and new, one at a time, as long as the next one still fits."""
        probe, device, predictor = walk.probe, self._device, self._predictor
        cases, seconds = probe.cases(device.info, budget), None
        claimed: set[tuple[Key, int]] = set()
        last = budget.level == self._last
        while True:
            try:
                case = cases.send(seconds)
            except StopIteration:
                return
            seconds, key = None, key_of(probe, case)
            if not wanted(case):
                continue
            # a search yields its winner again: the same key, now with a claim, so it starts at repetition 1
            repetition = 1 if (key, 0) in claimed else 0
            claimed.add((key, repetition))
            turn = key, False, repetition
            if turn in self.known:
                seconds = self.known[turn]
            else:
                if not case.skip and (reason := predictor.objection(probe, case)):
                    if not last:
                        continue  # what a finer pass measures before it may show that it is not hopeless
                    case = replace(case, skip=reason)
                fits = device.now() + predictor.cost(probe, case) <= until()
                if not (case.skip or device.agree(fits)):
                    walk.cut = True
                    return
                self._announce(Task(probe, case, repetition, predictor.patience(probe, case)))
                measurement = measure(device, probe.name, probe.version, case, budget, repetition)
                predictor.charge(probe, measurement)
                self.costs[key] = measurement.elapsed
                seconds = device.agree(measurement.median if measurement.seconds else None)
                self.known[turn] = seconds
                self._note(probe, case, seconds)
                yield case, measurement
                continue
            self._note(probe, case, seconds)

    def _note(self, probe: Probe, case: Case, seconds: float | None) -> None:
        if not seconds:
            return
        self._predictor.learn(probe, case, seconds)
        if case.repeated:
            self.repeated[key_of(probe, case)] = (probe, case)
        rate = RoofKey(case.saturates).amount(case.work) / seconds
        if case.saturates and rate > self.best.get(case.saturates, (0.0,))[0]:
            self.best[case.saturates] = (rate, probe, case)
