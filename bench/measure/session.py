"""Probes x device -> a stream of measurements, within a time: headline cases, passes ever finer, rounds, lasting load.

First every case that claims a roof, and a coarse sweep of every probe; then finer passes, as far as the rounds leave
time. Searches choose winners there (a best shape, an envelope's best mix); the rounds repeat every case that claims a
roof, shuffled, with fresh buffers, and state what the winners are worth. Last, on a device whose clock falls under
lasting load, the winners once more in the sustained regime. Whatever the time, every sweep is evenly covered, every
roof has its repetitions, and what was not reached is told.
"""

import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from bench.measure.budget import BUDGETS, Budget
from bench.measure.device.protocol import Device, Kernel, Unsupported
from bench.measure.device.sim import Blank
from bench.measure.passes import History, Passes, Task, TimePredictor, key_of
from bench.measure.probes import Probe, cases_of, describe
from bench.measure.sustained import LONGEST, USUAL
from bench.measure.timing import measure
from bench.roofline import METHODS
from bench.schema import FIRST_ROUND, SUSTAINED, Case, DeviceInfo, Key, Measurement, Unreached
from bench.store import utc_now
from bench.work import RoofKey, Work

# Shares of the time: lasting load may have as much of all of it, the first claims too, rounds of what is left then.
LASTING, CLAIMS, ROUNDS = 0.22, 0.4, 0.5


@dataclass(frozen=True)
class CaseSelection:
    """Cases that a gate follows, by device: as (key, whether sustained).

    They join the rounds of a Run, whatever won its searches. Or, where repetitions are given, they are all that is
    measured, at these; the repetition `warming` before them counts for nothing, as a Run's first pass.
    """

    cases: Mapping[str, Sequence[tuple[Key, bool]]] = field(default_factory=dict)
    repetitions: tuple[int, ...] = ()
    warming: int = 0


NOTHING_SELECTED = CaseSelection()


def session(
    device: Device,
    probes: Sequence[Probe],
    budget: Budget,
    seed: int = 0,
    history: History | None = None,
    announce: Callable[[Task], None] = lambda task: None,
    pinned: CaseSelection = NOTHING_SELECTED,
    seconds: float | None = None,
    whole: float | None = None,
) -> Generator[Measurement, None, tuple[Unreached, ...]]:
    """Measures the probes on one device (every rank runs the same session, rank 0 decides); returns what it had no
    time for.

    history replays what an earlier process of the same Run did: its cases are not measured again, their seconds go to
    the generators as if they had been. announce is told of each task before it starts. seconds: until when, from now
    on; the whole budget if not given. whole: of these seconds and those that went before a restart.
    """
    begun = device.now()
    deadline = begun + (budget.seconds if seconds is None else seconds)
    whole = whole or deadline - begun
    predictor = TimePredictor(budget)
    passes = Passes(device, probes, budget, history or {}, announce, predictor)
    rounds = _Rounds(device, budget, seed, passes, announce, predictor)
    followed, gone = _followed(device.info, probes, pinned.cases.get(device.info.id, ()))
    yield from (measurement for measurement in gone if measurement.repetition_key not in passes.known)
    brief = {key: found for (key, lasting), found in followed.items() if not lasting}
    lasting = {key: found for (key, lasting), found in followed.items() if lasting}
    if pinned.repetitions:
        yield from rounds.shuffled(brief, (pinned.warming, *pinned.repetitions))
        yield from rounds.sustained([(r, *found) for r in pinned.repetitions for found in lasting.values()])
        return ()
    # the two roofs of the headline ridge, then all; on a machine too slow for that, sweeps come before more of them
    yield from passes.headlines(lambda: deadline, ("dram", device.info.headline))
    if budget.levels:
        yield from passes.headlines(lambda: deadline - (1 - CLAIMS) * whole)
    settling = device.info.regime != "steady" and budget.sustained_rounds
    visits = _visits(device.info, passes.best if settling else {}, lasting, budget)
    settled = min(LASTING * whole, rounds.lasting_cost(visits))
    repetitions = range(FIRST_ROUND, FIRST_ROUND + budget.rounds - 1)
    most = ROUNDS * (deadline - settled - device.now())

    def until() -> float:
        # what a case costs once more is known to a few percent
        cost = 1.1 * sum(rounds.cost(*each) for each in (brief | passes.repeated).items())
        return deadline - settled - min(most, cost * len(repetitions))

    groups = yield from _refined(passes, budget.groups, until)
    yield from rounds.shuffled(brief | passes.repeated, repetitions, deadline - settled)
    # what rounds left over, because all were made; a restart under lasting load goes on there
    if not any(sustained for _, sustained, _ in passes.known):
        yield from _refined(passes, groups, lambda: deadline - settled, late=True)
    visits = _visits(device.info, passes.best if settling else {}, lasting, budget)
    made = yield from rounds.sustained(visits, deadline)
    roofs = {key_of(probe, case) for _, probe, case in visits}
    left = len(roofs - {key_of(probe, case) for _, probe, case in visits[:made]})
    lacking = (Unreached(device.info.id, "sustained", left, len(roofs)),) if left else ()
    return (*passes.unreached(), *lacking)


class Told:
    """The measurements of a session; unreached is known when they have come to their end."""

    def __init__(self, steps: Generator[Measurement, None, tuple[Unreached, ...]]):
        self._steps, self.unreached = steps, ()

    def __iter__(self) -> Iterator[Measurement]:
        self.unreached = yield from self._steps


def _refined(
    passes: Passes, groups: Sequence[Sequence[int | None]], until: Callable[[], float], late: bool = False
) -> Generator[Measurement, None, Sequence[Sequence[int | None]]]:
    """Pass after pass; returns the groups of levels that did not come to their end."""
    for at, levels in enumerate(groups):
        if not (yield from passes.sweep(levels, until, late)):
            return groups[at:]
    return ()


class _Rounds:
    """Cases measured again and again, unless an earlier process of the same Run did."""

    def __init__(
        self,
        device: Device,
        budget: Budget,
        seed: int,
        passes: Passes,
        announce: Callable[[Task], None],
        predictor: TimePredictor,
    ):
        self._device, self._budget, self._seed, self._passes = device, budget, seed, passes
        self._announce, self._predictor = announce, predictor

    def shuffled(
        self, cases: Mapping[Key, tuple[Probe, Case]], repetitions: Sequence[int], until: float = float("inf")
    ) -> Iterator[Measurement]:
        """Every case once a round; the numbers are shared by all, so that ratios pair what was measured together.

        A round that does not fit is not begun; only of the first one as much is made as there is time for.
        """
        shuffle = random.Random(self._seed)
        for repetition in repetitions:
            order = list(cases.items())
            shuffle.shuffle(order)
            order = [each for each in order if (each[0], False, repetition) not in self._passes.known]
            left = sum(self.cost(*each) for each in order)
            if repetition > FIRST_ROUND and self._device.agree(self._device.now() + left > until):
                return
            for key, (probe, case) in order:
                if self._device.agree(self._device.now() + self.cost(key, (probe, case)) > until):
                    continue
                self._announce(Task(probe, case, repetition, self._predictor.patience(probe, case)))
                found = measure(self._device, probe.name, probe.version, case, self._budget, repetition)
                self._passes.costs[key] = self._device.agree(found.elapsed)
                yield found

    def cost(self, key: Key, found: tuple[Probe, Case]) -> float:
        """Seconds that a case will take once more."""
        return self._passes.costs.get(key) or self._predictor.cost(*found)

    def lasting_cost(self, visits: Sequence[tuple[int, Probe, Case]]) -> float:
        return sum(USUAL + self._predictor.cost(probe, case) for _, probe, case in visits)

    def sustained(
        self, visits: Sequence[tuple[int, Probe, Case]], until: float = float("inf")
    ) -> Generator[Measurement, None, int]:
        """Every visit under lasting load, in this order, as many as there is time for; returns how many these were."""
        for made, (repetition, probe, case) in enumerate(visits):
            if (key_of(probe, case), True, repetition) in self._passes.known:
                continue
            if self._device.agree(self._device.now() + self.lasting_cost([visits[made]]) > until):
                return made
            case = replace(case, regime=SUSTAINED)
            self._announce(Task(probe, case, repetition, self._predictor.patience(probe, case) + 2 * LONGEST))
            yield measure(self._device, probe.name, probe.version, case, self._budget, repetition, until)
        return len(visits)


def _followed(
    info: DeviceInfo, probes: Sequence[Probe], pins: Sequence[tuple[Key, bool]]
) -> tuple[dict[tuple[Key, bool], tuple[Probe, Case]], list[Measurement]]:
    """(the cases that a gate follows, a record with its reason for each that these probes no longer have)."""
    found, gone = {}, []
    for probe in probes:
        mine = [pin for pin in pins if pin[0][0] == probe.name]
        cases = {
            key_of(probe, case): case for case in cases_of(info, probe, [key for key, _ in mine], BUDGETS["standard"])
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


def _visits(
    info: DeviceInfo,
    best: Mapping[str, tuple[float, Probe, Case]],
    followed: Mapping[Key, tuple[Probe, Case]],
    budget: Budget,
) -> list[tuple[int, Probe, Case]]:
    """What is measured under lasting load, with its repetition: what a gate follows and the headline ridge's two roofs
    in all rounds, so that these have an interval whatever the time; then the winner of each other roof, round by round.

    One method per quantity, the one that states it, and no links: no power limit slows them.
    """
    own = {"dram", *info.onchip, *(cache.name for cache in info.caches)}
    stated = [key for key in best if key in own or (RoofKey(key).is_compute and key == _stating(key, best))]
    first = [best[key][1:] for key in (info.headline, "dram") if key in stated]
    first = list({key_of(*found): found for found in (*followed.values(), *first)}.values())
    taken = {key_of(*found) for found in first}
    others = [best[key][1:] for key in stated if key_of(*best[key][1:]) not in taken]
    repetitions = range(FIRST_ROUND, FIRST_ROUND + budget.lasting.sustained_rounds)
    return [(r, *found) for cases in (first, others) for r in repetitions for found in cases]


def _stating(key: str, best: Mapping[str, tuple[float, Probe, Case]]) -> str:
    quantity, unit = key.rsplit(".", 1)[0], key.split(".", 1)[0]
    return next(found for method in METHODS[unit] if (found := f"{quantity}.{method}") in best)


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
    """What a Run would measure if it had all the time: its budget ends it earlier, coarse points first."""
    found = []
    for probe in probes:
        cases = describe(info, probe, budget.at(budget.levels[-1] if budget.levels else 0))
        kept = [case for case in cases if not case.skip]
        seconds = sum(budget.case + _CASE_COST for case in kept if not case.repeated)
        seconds += sum((budget.headline + _CASE_COST) * budget.rounds for case in kept if case.repeated)
        seconds += sum(_TAIL_COST for case in kept if case.samples) + (_GROUP_COST if probe.together and kept else 0.0)
        if info.regime != "steady":
            roofs = {case.saturates.rsplit(".", 1)[0] for case in kept if case.saturates}
            seconds += len(roofs) * budget.sustained_rounds * (USUAL + _CASE_COST)
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
