"""Ever finer passes over the probes: what one pass has measured, the next one knows by its key and does not repeat.

Each pass describes every probe anew, for more points of its sweeps. Within a pass the probes take turns, the one that
has had the least time next, so that none starves another however the time runs out.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from bench import units
from bench.measure.budget import Budget
from bench.measure.device.protocol import Device
from bench.measure.probes import Probe
from bench.measure.timing import measure
from bench.schema import Case, Key, Measurement, RepetitionKey, Unreached, case_key
from bench.work import RoofKey

# Seconds that a probe goes on before another has its turn: what is compared is measured close together.
TURN = 0.5

# Seconds that any case may be silent, whatever it was predicted to take: first calls load libraries and compile.
PATIENCE = 60.0
# Launches of a case at least: to see that it runs, to check it, to warm up, and a sample.
LAUNCHES = 4
# Seconds beyond its sampling that a case is taken to cost before its probe has shown what its cases do cost.
_FIRST = 0.1

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


class TimePredictor:
    """Says which cases are hopeless, so that they are skipped, not waited for; and what the others will cost.

    Optimistic about a launch on purpose: it may let a case through that takes a few times longer, it does not skip what
    would do.
    """

    def __init__(self, budget: Budget):
        self._budget = budget
        self._best: dict[tuple[tuple[str, str], str], tuple[float, Case]] = {}
        self._costs: dict[str, tuple[int, float]] = {}

    def learn(self, probe: Probe, case: Case, seconds: float) -> None:
        for amount in ("flops", "bytes"):
            rate = getattr(case.work, amount) / seconds
            for kind in (_kind(probe, case), _any(probe, case)):
                known = self._best.get((kind, amount))
                if rate and (known is None or rate > known[0]):
                    self._best[kind, amount] = (rate, case)

    def charge(self, probe: Probe, measurement: Measurement) -> None:
        """Notes what a case cost by the wall: allocation, checks, captures and libraries' plans beside its samples."""
        if not measurement.skip:
            count, spent = self._costs.get(probe.name, (0, 0.0))
            self._costs[probe.name] = (count + 1, spent + measurement.elapsed)

    def cost(self, probe: Probe, case: Case) -> float:
        """Seconds that a case will probably take, all in all: what its probe's cases took on the mean, and the launches
        of a long one, which its own time has to pay for.
        """
        count, spent = self._costs.get(probe.name, (0, 0.0))
        usual = spent / count if count else _FIRST + (self._budget.headline if case.repeated else self._budget.case)
        prediction = self.predicted(probe, case)
        return usual + (LAUNCHES * prediction[0] if prediction else 0.0)

    def predicted(self, probe: Probe, case: Case) -> tuple[float, Case] | None:
        """Seconds of one launch, and the case that says so: of its kind, else the fastest of its probe."""
        kind, other = _kind(probe, case), _any(probe, case)
        # of another kind only what both do most of: a loop in registers moves next to no bytes
        binding = "flops" if case.work.flops else "bytes"
        asked = [(kind, "flops"), (kind, "bytes")]
        if not any(each in self._best for each in asked):
            asked = [(other, binding)]
        known = [
            (getattr(case.work, amount) / self._best[kind, amount][0], self._best[kind, amount][1])
            for kind, amount in asked
            if (kind, amount) in self._best
        ]
        return max(known, key=lambda each: each[0]) if known else None

    def objection(self, probe: Probe, case: Case) -> str:
        prediction = self.predicted(probe, case)
        if not prediction or prediction[0] <= self._budget.launch:
            return ""
        seconds, best = prediction
        other = ", ".join(f"{name} {value}" for name, value in best.params.items() if case.params.get(name) != value)
        return (
            f"predicted to take {units.seconds(seconds)} a launch at the best rate seen ({other or 'the same case'}); "
            f"the {self._budget.name} budget allows {units.seconds(self._budget.launch)}"
        )

    def patience(self, probe: Probe, case: Case) -> float:
        """Seconds after which a case is taken for hung: far beyond any honest run of it."""
        prediction = self.predicted(probe, case)
        launch = prediction[0] if prediction else 1.0
        share = self._budget.headline if case.repeated else self._budget.case
        return PATIENCE + 200 * share + 100 * launch


def _any(probe: Probe, case: Case) -> tuple[str, str]:
    """What predicts a case of a kind that has not been seen yet: no kind is likely to be faster than the fastest."""
    return f"any {probe.name}", case.work.compute or case.work.channel


def _kind(probe: Probe, case: Case) -> tuple[str, str]:
    """Cases of one kind predict each other: the same family and the same arithmetic."""
    return case.family or probe.name, case.work.compute or case.work.channel


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
