"""Probes x device -> a stream of measurements: first every probe in order, then the headline cases again in rounds.

The first round chooses winners (a search's best shape, an envelope's best mix); later rounds repeat every case that
claims a roof, shuffled, with fresh buffers, and state what the winners are worth. Last, on a device whose clock falls
under lasting load, the winners once more in the sustained regime, in a fixed order.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from bench import units
from bench.device import Device, Kernel, Unsupported
from bench.device.blank import Blank
from bench.measure import BUDGETS, Budget, measure
from bench.probes import Probe, cases_of, describe
from bench.roofline import METHODS
from bench.schema import FIRST_ROUND, SUSTAINED, Case, DeviceInfo, Key, Measurement, Turn, case_key
from bench.store import utc_now
from bench.work import Work


@dataclass(frozen=True)
class Task:
    """A case about to be measured, with what a watchdog needs: its key and how long it may take (seconds)."""

    probe: Probe
    case: Case
    repetition: int
    patience: float

    @property
    def key(self) -> Key:
        return _key(self.probe, self.case)


@dataclass(frozen=True)
class Pinned:
    """Cases that a gate follows, by device: as (key, whether sustained).

    They join the rounds of a Run, whatever won its searches. Or, where repetitions are given, they are all that is
    measured, at these; the repetition `warming` before them counts for nothing, as a Run's first pass.
    """

    cases: Mapping[str, Sequence[tuple[Key, bool]]] = field(default_factory=dict)
    repetitions: tuple[int, ...] = ()
    warming: int = 0


NOTHING_PINNED = Pinned()
# Seconds that any case may be silent, whatever it was predicted to take: first calls load libraries and compile.
PATIENCE = 60.0

# What is known of a case before it runs: done (its seconds) or lost (a crash took the process that ran it).
History = Mapping[Turn, float | None]


def session(
    device: Device,
    probes: Sequence[Probe],
    budget: Budget,
    seed: int = 0,
    history: History | None = None,
    announce: Callable[[Task], None] = lambda task: None,
    pinned: Pinned = NOTHING_PINNED,
) -> Iterator[Measurement]:
    """Measures the probes on one device (every rank runs the same session, rank 0 decides).

    history replays what an earlier process of the same Run did: its cases are not measured again, their seconds go to
    the generators as if they had been. announce is told of each task before it starts.
    """
    history = history or {}
    guide = _Guide(budget)
    rounds = _Rounds(device, budget, seed, history, announce, guide)
    followed, gone = _followed(device.info, probes, pinned.cases.get(device.info.id, ()))
    yield from (measurement for measurement in gone if measurement.turn not in history)
    if pinned.repetitions:
        brief = [found for (_, lasting), found in followed.items() if not lasting]
        yield from rounds.shuffled(brief, (pinned.warming, *pinned.repetitions))
        yield from rounds.sustained([found for (_, lasting), found in followed.items() if lasting], pinned.repetitions)
        return
    repeated: dict[Key, tuple[Probe, Case]] = {}
    best: dict[str, tuple[float, Probe, Case]] = {}
    deadline = device.now() + budget.total
    for index, probe in enumerate(probes):
        # an early probe may borrow from the later ones, but not starve them: twice its even share of what is left
        now = device.now()
        until = now + 2 * (deadline - now) / (len(probes) - index + 1)
        cases = probe.cases(device.info, budget)
        seconds: float | None = None
        claimed: set[tuple[Key, int]] = set()
        try:
            case = next(cases)
            while True:
                key = _key(probe, case)
                # a search yields its winner again: the same key, now with a claim, so it starts at repetition 1
                repetition = 1 if (key, 0) in claimed else 0
                claimed.add((key, repetition))
                case = replace(case, skip=case.skip or guide.objection(probe, case))
                ordinary = not (case.repeated or case.search or case.skip)
                if ordinary and device.agree(device.now() > until):
                    case = replace(case, skip=f"the probe's share of the {budget.name} budget was spent before it")
                task = Task(probe, case, repetition, guide.patience(probe, case))
                if (key, False, repetition) in history:
                    seconds = history[key, False, repetition]
                else:
                    announce(task)
                    measurement = measure(device, probe.name, probe.version, case, budget, repetition)
                    yield measurement
                    seconds = measurement.median if measurement.seconds else None
                seconds = device.agree(seconds)
                if seconds:
                    guide.learn(probe, case, seconds)
                    if case.repeated:
                        repeated[key] = (probe, case)
                    rate = (case.work.flops if "." in case.saturates else case.work.bytes) / seconds
                    if case.saturates and rate > best.get(case.saturates, (0.0,))[0]:
                        best[case.saturates] = (rate, probe, case)
                case = cases.send(seconds)
        except StopIteration:
            pass
    brief = {key: found for (key, lasting), found in followed.items() if not lasting} | repeated
    yield from rounds.shuffled(list(brief.values()), range(FIRST_ROUND, FIRST_ROUND + budget.rounds - 1))
    settling = device.info.regime != "steady" and budget.sustained_rounds
    lasting = {_key(*found): found for found in _lasting(device.info, best)} if settling else {}
    lasting |= {key: found for (key, sustained), found in followed.items() if sustained}
    yield from rounds.sustained(
        list(lasting.values()), range(FIRST_ROUND, FIRST_ROUND + budget.lasting.sustained_rounds)
    )


class _Rounds:
    """Cases measured again and again, unless an earlier process of the same Run did."""

    def __init__(
        self, device: Device, budget: Budget, seed: int, history: History, announce: Callable, guide: "_Guide"
    ):
        self._device, self._budget, self._seed = device, budget, seed
        self._history, self._announce, self._guide = history, announce, guide

    def shuffled(self, cases: Sequence[tuple[Probe, Case]], repetitions: Sequence[int]) -> Iterator[Measurement]:
        """Every case once a round; the numbers are shared by all, so that ratios pair what was measured together."""
        shuffle = random.Random(self._seed)
        for repetition in repetitions:
            order = list(cases)
            shuffle.shuffle(order)
            for probe, case in order:
                if (_key(probe, case), False, repetition) not in self._history:
                    self._announce(Task(probe, case, repetition, self._guide.patience(probe, case)))
                    yield measure(self._device, probe.name, probe.version, case, self._budget, repetition)

    def sustained(self, cases: Sequence[tuple[Probe, Case]], repetitions: Sequence[int]) -> Iterator[Measurement]:
        """Every case once a round under lasting load, in a fixed order; the first one waits longest for the clock."""
        budget = self._budget.lasting
        settle = budget.preheat
        for repetition in repetitions:
            for probe, case in cases:
                if (_key(probe, case), True, repetition) not in self._history:
                    patience = self._guide.patience(probe, case) + 10 * (settle + budget.sustained)
                    case = replace(case, regime=SUSTAINED)
                    self._announce(Task(probe, case, repetition, patience))
                    yield measure(self._device, probe.name, probe.version, case, budget, repetition, settle)
                    settle = budget.settle


def _key(probe: Probe, case: Case) -> Key:
    return case_key(probe.name, probe.version, case.params)


def _followed(
    info: DeviceInfo, probes: Sequence[Probe], pins: Sequence[tuple[Key, bool]]
) -> tuple[dict[tuple[Key, bool], tuple[Probe, Case]], list[Measurement]]:
    """(the cases that a gate follows, a record with its reason for each that these probes no longer have)."""
    found, gone = {}, []
    for probe in probes:
        mine = [pin for pin in pins if pin[0][0] == probe.name]
        cases = {
            _key(probe, case): case for case in cases_of(info, probe, [key for key, _ in mine], BUDGETS["standard"])
        }
        for key, lasting in mine:
            if key in cases:
                # repeated, and so with the time that a headline has
                found[key, lasting] = (probe, replace(cases[key], repeat=True))
                continue
            why = "no such case on this device any more"
            if key[1] != probe.version:
                why = f"the probe is of version {probe.version} now, and this case of version {key[1]}"
            gone.append(_absent(info, probe, key, lasting, why))
    return found, gone


def _absent(info: DeviceInfo, probe: Probe, key: Key, lasting: bool, why: str) -> Measurement:
    return Measurement(
        probe=probe.name,
        version=key[1],
        device=info.id,
        params=dict(key[2]),
        work=Work(),
        regime=SUSTAINED if lasting else info.regime,
        repetition=FIRST_ROUND,
        started=utc_now(),
        stop_reason="skipped",
        skip=why,
    )


def _lasting(info: DeviceInfo, best: Mapping[str, tuple[float, Probe, Case]]) -> list[tuple[Probe, Case]]:
    """What is measured again under lasting load: the winner of each roof of this device, the headline's first.

    One method per quantity, the one that states it, and no links: no power limit slows them.
    """
    own = {"dram", *info.onchip, *(cache.name for cache in info.caches)}
    stated = [key for key in best if key in own or ("." in key and key == _stating(key, best))]
    return [best[key][1:] for key in sorted(stated, key=lambda key: key != info.headline)]


def _stating(key: str, best: Mapping[str, tuple[float, Probe, Case]]) -> str:
    quantity, unit = key.rsplit(".", 1)[0], key.split(".", 1)[0]
    return next(found for method in METHODS[unit] if (found := f"{quantity}.{method}") in best)


class _Guide:
    """Predicts a case from the best rates that its kind has shown, so that a hopeless one is skipped, not waited for.

    Optimistic on purpose: it may let a case through that takes a few times longer, it does not skip what would do.
    """

    def __init__(self, budget: Budget):
        self._budget = budget
        self._best: dict[tuple[tuple[str, str], str], tuple[float, Case]] = {}

    def learn(self, probe: Probe, case: Case, seconds: float) -> None:
        for amount in ("flops", "bytes"):
            rate, known = getattr(case.work, amount) / seconds, self._best.get((_kind(probe, case), amount))
            if rate and (known is None or rate > known[0]):
                self._best[_kind(probe, case), amount] = (rate, case)

    def predicted(self, probe: Probe, case: Case) -> tuple[float, Case] | None:
        """Seconds of one launch, and the case that says so."""
        known = [
            (getattr(case.work, amount) / best[0], best[1])
            for amount in ("flops", "bytes")
            if (best := self._best.get((_kind(probe, case), amount)))
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


def _kind(probe: Probe, case: Case) -> tuple[str, str]:
    """Cases of one kind predict each other: the same family and the same arithmetic."""
    return case.family or probe.name, case.work.compute or case.work.channel


def kernels(info: DeviceInfo, probes: Sequence[Probe], budget: Budget) -> list[Kernel]:
    """The device code that a Run would compile, found by preparing its cases where nothing has memory."""
    blank = Blank(replace(info, simulated=True))
    for probe in probes:
        for case in describe(info, probe, budget):
            if not case.skip:
                with suppress(Unsupported):
                    case.prepare(blank)
    return blank.kernels


@dataclass(frozen=True)
class Plan:
    """What a probe is about to do on a device: its cases, how many are skipped at once, and an estimate in seconds."""

    probe: Probe
    cases: int
    skipped: int
    seconds: float


# Allocating and filling buffers, checking the result, starting the next case; seen on the slowest device, a CPU.
_CASE_COST = 0.12
# A thousand small collectives; starting a group of ranks.
_TAIL_COST, _GROUP_COST = 0.5, 5.0


def plans(info: DeviceInfo, probes: Sequence[Probe], budget: Budget) -> list[Plan]:
    """The plan of a Run before it starts: an upper estimate, since predicted skips and early stops are not foreseen."""
    found = []
    for probe in probes:
        cases = describe(info, probe, budget)
        kept = [case for case in cases if not case.skip]
        seconds = sum(budget.case + _CASE_COST for case in kept if not case.repeated)
        seconds += sum((budget.headline + _CASE_COST) * budget.rounds for case in kept if case.repeated)
        seconds += sum(_TAIL_COST for case in kept if case.samples) + (_GROUP_COST if probe.together and kept else 0.0)
        if info.regime != "steady":
            roofs = {case.saturates.rsplit(".", 1)[0] for case in kept if case.saturates}
            seconds += len(roofs) * budget.sustained_rounds * (1.5 * budget.settle + budget.sustained + _CASE_COST)
        found.append(Plan(probe, len(cases), len(cases) - len(kept), seconds))
    return found


def lost(task: Task, device: str, cause: str) -> Measurement:
    """The record of a case whose process died under it."""
    return Measurement(
        probe=task.probe.name,
        version=task.probe.version,
        device=device,
        params=dict(task.case.params),
        work=task.case.work,
        saturates=task.case.saturates,
        cache=task.case.cache,
        regime=task.case.regime,
        repetition=task.repetition,
        started=utc_now(),
        stop_reason="crashed",
        validity="invalid",
        reasons=(cause,),
    )
