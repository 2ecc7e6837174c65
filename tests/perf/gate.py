"""How often does the gate cry wolf, and what does it miss? `python -m tests.perf.gate [--histories 1000]`

Simulated histories, judged by the gate's own code. A Run has twelve gated metrics of one GPU, each the median of three
repetitions, and a suspect is measured three more times. Assumed, and the reason to `calibrate` a real machine: samples
scatter by 0.2 % within a repetition (which is the median of twenty), Runs by 0.7 %, half of whose variance is common to
all repetitions of a metric in a Run, re-measurement included. A history is twenty Runs, and the baseline the first of
them. A slowdown is a constant factor on one metric of the new Run.

The hard set: 80 % of the variance is common to a Run, one Run in a hundred is slower by 3 to 10 % in everything it
measures, past Runs and the new one alike, and the level falls by 0.5 % over the window.
"""

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.analysis.gate import expectations, rule, verdict
from bench.analysis.gate.baselines import Baseline
from bench.analysis.gate.expectations import Baselined
from bench.analysis.gate.metrics import metrics
from bench.analysis.gate.samples import REMEMBERED, pins
from bench.analysis.gate.tolerances import Settings
from bench.analysis.run_entry import run_entry
from bench.analysis.run_index import RunIndex
from bench.schema import CONFIRM, FIRST_ROUND, DeviceInfo, End, Environment, Measurement, Run
from tests.conftest import simulated_run

WITHIN, SAMPLES, REPETITIONS, HISTORY, GATED = 0.002, 20, 3, 20, 12
# What the issue of this gate asked for: share of gate runs, or of planted slowdowns.
FALSE, FALSE_HARD, POWER_3, POWER_5, NAMED = 0.005, 0.03, 0.80, 0.95, 0.99
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """How Runs scatter. shared: share of the variance between Runs that all repetitions of a Run have in common.

    chips: how far apart the devices of one node are for good, in each metric.
    """

    between: float = 0.007
    shared: float = 0.5
    off: float = 0.0
    drift: float = 0.0
    chips: float = 0.0


EASY, HARD, UNLIKE = World(), World(shared=0.8, off=0.01, drift=0.005), World(chips=0.01)


@dataclass(frozen=True)
class Machine:
    """A node whose Runs are drawn: twelve cases of a simulated GPU, and how finely they are gated."""

    about: Environment
    cases: Mapping[str, Measurement]
    settings: Settings

    @property
    def devices(self) -> Sequence[DeviceInfo]:
        return self.about.devices


def machine(gpus: int = 1, floor: float | None = None) -> Machine:
    """What the registry gates of an H200's datasheet, filled up to a dozen with what only warns."""
    run = simulated_run(f"sim:h200-sxm,gpus={gpus}", ["bandwidth", "peak", "gemm", "attention", "hostcopy"])
    info = run.environment.devices[0]
    known, chosen = metrics(info), pins(run, info)
    order = sorted((name for name in chosen if not known[name].sustained), key=lambda name: not known[name].gates)
    last = {m.key: m for m in run.of(info.id)}
    cases = {name: last[chosen[name][0]] for name in order[:GATED]}
    settings = {name: {"gates": name in cases} | ({"floor": floor} if floor else {}) for name in known}
    return Machine(replace(run.environment, simulated=True), cases, Settings(settings))


def drawn(
    node: Machine,
    world: World,
    chance: random.Random,
    number: int,
    slow: Callable[[str, str], float] = lambda device, metric: 1.0,
    again: Mapping[str, Sequence] | None = None,
    without: str = "",
) -> Callable[[Mapping[str, Sequence]], Run]:
    """A Run, as a function of what is to be measured again: the scatter that a Run has in common stays with it."""
    level = 1 - world.drift * number / HISTORY
    if chance.random() < world.off:
        level *= 1 - chance.uniform(0.03, 0.10)
    common, private = math.sqrt(world.shared) * world.between, math.sqrt(1 - world.shared) * world.between
    # the median of n samples scatters by sqrt(pi / 2n) of one
    within = WITHIN * math.sqrt(math.pi / 2 / SAMPLES)
    common = math.hypot(common, world.chips)
    own = {(d.id, name): chance.gauss(0, common) for d in node.devices for name in node.cases}
    about = replace(
        node.about,
        run_id=f"{number:032x}",
        started=(_FIRST + timedelta(days=number)).isoformat().replace("+00:00", "Z"),
    )

    def measured(device: DeviceInfo, name: str, repetition: int) -> Measurement:
        speed = level * math.exp(own[device.id, name] + chance.gauss(0, math.hypot(private, within)))
        case = node.cases[name]
        seconds = case.median / speed / slow(device.id, name)
        return replace(
            case,
            device=device.id,
            seconds=(seconds,),
            repetition=repetition,
            validity="valid",
            reasons=(),
            regime="burst",
        )

    rounds = range(FIRST_ROUND, FIRST_ROUND + REPETITIONS)
    names = [name for name in node.cases if name != without]
    first = [measured(device, name, r) for device in node.devices for r in rounds for name in names]
    by_pin = {(case.key, False): name for name, case in node.cases.items()}

    def made(suspects: Mapping[str, Sequence] = {}) -> Run:
        more = [
            measured(device, by_pin[pin], CONFIRM + 1 + r)
            for device in node.devices
            for pin in suspects.get(device.id, ())
            for r in range(REPETITIONS)
        ]
        return Run(about, (*first, *more), End("complete", 0, about.started))

    return made


def gated(node: Machine, runs: Sequence[Run], made: Callable[..., Run], blessed: bool = True) -> verdict.Gate:
    """What `gate` does: judge, measure the suspects again, judge."""
    past = RunIndex({f"{number}.jsonl": run_entry(run, REMEMBERED) for number, run in enumerate(runs)}, {})
    known = {
        info.id: Baselined(Baseline(runs[0], info, True, Path("baseline")) if blessed and runs else None, node.settings)
        for info in node.devices
    }
    gate = rule.judged(made(), known, past)
    suspects = rule.suspects(gate)
    return rule.judged(made(suspects), known, past) if suspects else gate


@dataclass
class Cell:
    """A row of the table: how many of n gate runs ended so, and what was asked."""

    what: str
    hits: int
    n: int
    wanted: float | None = None
    at_least: bool = True
    words: dict = field(default_factory=dict)

    @property
    def met(self) -> bool:
        if self.wanted is None:
            return True
        return self.hits / self.n >= self.wanted if self.at_least else self.hits / self.n <= self.wanted

    def __str__(self) -> str:
        share, aim = 100 * self.hits / self.n, ""
        if self.wanted is not None:
            aim = f"{'>=' if self.at_least else '<='} {100 * self.wanted:g} %  {'met' if self.met else 'MISSED'}"
        return f"{self.what:<72} {share:6.2f} %  of {self.n:<6} {aim}"


def histories(node: Machine, world: World, count: int, judge: Callable[[list[Run], random.Random], bool]) -> int:
    """How many of `count` seeded histories a judgement holds for."""
    hits = 0
    for seed in range(count):
        chance = random.Random(seed)
        runs = [drawn(node, world, chance, number)() for number in range(HISTORY)]
        hits += judge(runs, chance)
    return hits


def false_alarms(node: Machine, world: World, count: int, code: int = 1) -> int:
    def alarm(runs: list[Run], chance: random.Random) -> bool:
        return gated(node, runs, drawn(node, world, chance, HISTORY)).code() == code

    return histories(node, world, count, alarm)


def found(node: Machine, world: World, count: int, name: str, drop: float, runs_before: int = HISTORY) -> int:
    def caught(runs: list[Run], chance: random.Random) -> bool:
        made = drawn(node, world, chance, HISTORY, lambda device, metric: 1 - drop if metric == name else 1.0)
        gate = gated(node, runs[:runs_before], made)
        return next(v for v in gate.verdicts if v.metric.name == name).status == verdict.REGRESSED

    return histories(node, world, count, caught)


def named(node: Machine, world: World, count: int, drop: float, name: str | None) -> int:
    """One of eight GPUs is slow, in one metric or in all, and nothing is known of any before."""
    hits = 0
    for seed in range(count):
        chance = random.Random(seed)
        slow = node.devices[seed % len(node.devices)].id
        made = drawn(
            node, world, chance, 0, lambda d, m, slow=slow: 1 - drop if d == slow and name in (None, m) else 1.0
        )
        gate = gated(node, [], made, blessed=False)
        hits += gate.slow == (slow,)
    return hits


def missing(node: Machine, count: int) -> int:
    def caught(runs: list[Run], chance: random.Random) -> bool:
        gone = chance.choice(list(node.cases))
        gate = gated(node, runs, drawn(node, EASY, chance, HISTORY, without=gone))
        words = {v.metric.name: v.status for v in gate.verdicts}
        # a false alarm elsewhere comes before it, by the order of exit codes
        red = 1 if verdict.REGRESSED in words.values() else 3
        return words[gone] == verdict.MISSING and gate.code() == red

    return histories(node, EASY, count, caught)


def table(count: int) -> list[Cell]:
    fine, own, eight = machine(floor=0.02), machine(), machine(gpus=8)
    dram, gemm = "memory.dram.read", "gemm.bfloat16"
    wide = metrics(own.devices[0])[gemm].tolerance.floor + 3.5 * EASY.between
    few = expectations.ENOUGH - 1
    half = max(1, count // 5)
    return [
        Cell("false failures, 12 metrics, every floor 2 %", false_alarms(fine, EASY, count), count, FALSE, False),
        Cell("false failures, 12 metrics, the registry's floors", false_alarms(own, EASY, count), count, FALSE, False),
        Cell("nothing changed, yet inconclusive (exit 3), every floor 2 %", false_alarms(fine, EASY, count, 3), count),
        Cell("3 % slower, floor 2 %, found", found(fine, EASY, count, dram, 0.03), count, POWER_3),
        Cell("5 % slower, floor 2 %, found", found(fine, EASY, count, dram, 0.05), count, POWER_5),
        Cell(
            f"{100 * wide:.3g} % slower (floor + 3.5 CV), floor 5 %, found",
            found(own, EASY, count, gemm, wide),
            count,
            POWER_5,
        ),
        Cell("hard set: false failures, every floor 2 %", false_alarms(fine, HARD, count), count, FALSE_HARD, False),
        Cell(
            "hard set: false failures, the registry's floors", false_alarms(own, HARD, count), count, FALSE_HARD, False
        ),
        Cell("hard set: 3 % slower, floor 2 %, found", found(fine, HARD, count, dram, 0.03), count),
        Cell("hard set: 5 % slower, floor 2 %, found", found(fine, HARD, count, dram, 0.05), count),
        Cell(
            f"{few} past Runs, only the baseline's floor of 2 %: 5 % slower, found",
            found(fine, EASY, count, dram, 0.05, few),
            count,
        ),
        Cell(
            "the GPU among 8 that is 5 % slow in everything, named alone",
            named(eight, EASY, half, 0.05, None),
            half,
            NAMED,
        ),
        Cell(
            "the GPU among 8 whose memory read is 5 % slow, named alone",
            named(eight, EASY, half, 0.05, dram),
            half,
            NAMED,
        ),
        Cell("the GPU among 8 whose GEMM is 5 % slow, named alone", named(eight, EASY, half, 0.05, gemm), half, NAMED),
        Cell("no GPU among 8 is slow, none named", named_none(eight, EASY, half), half),
        Cell("the same, but chips are 1 % apart for good in each metric", named_none(eight, UNLIKE, half), half),
        Cell("a metric vanished: missing, exit 3", missing(fine, count), count, 1.0),
    ]


def named_none(node: Machine, world: World, count: int) -> int:
    return sum(
        not gated(node, [], drawn(node, world, random.Random(seed), 0), blessed=False).slow for seed in range(count)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=1000, help="seeded histories per row")
    options = parser.parse_args()
    begun = time.perf_counter()
    rows = table(options.histories)
    print("\n".join(map(str, rows)))
    print(f"{options.histories} histories per row, {time.perf_counter() - begun:.0f} s")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
