"""The only timing loop: prepare, check, warm up, calibrate, sample, stop.

One call is one repetition of one case. Raw seconds are kept in order; nothing is deleted for being far out.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, TypeVar

from bench import units
from bench.device import CheckFailed, Device, DeviceError, OutOfMemory, Sample, Unsupported
from bench.schema import SUSTAINED, Case, DeviceInfo, Measurement, Setup
from bench.stats import median_half_width
from bench.store import utc_now

T = TypeVar("T")

# The median's 95 % interval that ends sampling early, as a share of the median (nvbench stops at 0.5 % too).
PRECISION = 0.005
# Two neighbouring quarters of a settling time whose clocks differ by less count as settled.
SETTLED = 0.01
# Share of the time that a burst case computes: a GPU that works on without a rest leaves its burst clock within some
# milliseconds (flashinfer-ai/flashinfer#2899), and how far would depend on what ran before. From this intensity on.
DUTY, COMPUTING = 0.25, 1.0


@dataclass(frozen=True)
class Budget:
    """How much time a Run may take, and how densely probes sweep.

    case, headline: seconds of sampling for an ordinary case and for each repetition of one that claims a roof.
    launch: a single launch predicted to take longer is skipped. rounds: repetitions of headline cases; the first
    one chooses winners, so an interval over five needs six. density: every how many-th point of a sweep is kept.
    memory: share of the device's memory that one ordinary case may take. total: no ordinary case starts after it.

    Where the clock falls under lasting load, every roof is also stated in the sustained regime: settle seconds of the
    case before it counts (preheat before the first of all), sustained seconds that count, in sustained_rounds rounds.
    """

    name: str
    case: float
    headline: float
    launch: float
    rounds: int
    density: int
    memory: float
    total: float
    sample: float = 1e-3
    min_samples: int = 20
    max_samples: int = 50
    preheat: float = 0.0
    settle: float = 0.0
    sustained: float = 0.0
    sustained_rounds: int = 0

    def thin(self, points: Sequence[T]) -> list[T]:
        """Every density-th point of a sweep, counted from its last, which is always kept; and the first."""
        kept = list(points)[:: -self.density][::-1]
        return kept if not points or kept[0] == points[0] else [points[0], *kept]

    @property
    def lasting(self) -> "Budget":
        """This budget with time for the sustained regime: a gate follows it under every budget, and as one number."""
        if self.sustained_rounds:
            return self
        names = ("preheat", "settle", "sustained", "sustained_rounds")
        return replace(self, **{name: getattr(BUDGETS["standard"], name) for name in names})


BUDGETS = {
    "quick": Budget("quick", case=0.03, headline=0.06, launch=0.15, rounds=4, density=3, memory=1 / 64, total=30),
    "standard": Budget(
        "standard",
        case=0.08,
        headline=0.12,
        launch=0.5,
        rounds=6,
        density=1,
        memory=1 / 16,
        total=100,
        preheat=6,
        settle=0.5,
        sustained=1.2,
        sustained_rounds=3,
    ),
    "soak": Budget(
        "soak",
        case=0.5,
        headline=2.0,
        launch=5.0,
        rounds=11,
        density=1,
        memory=1 / 2,
        total=3600,
        preheat=30,
        settle=3.0,
        sustained=5.0,
        sustained_rounds=6,
    ),
}


def measure(
    device: Device,
    probe: str,
    version: int,
    case: Case,
    budget: Budget,
    repetition: int = 0,
    settle: float = 0.0,
) -> Measurement:
    """One repetition. What cannot be measured comes back as a skip or as invalid, with its reason.

    settle: seconds of load before a case of the sustained regime counts.
    """
    frame: dict[str, Any] = {
        "probe": probe,
        "version": version,
        "device": device.info.id,
        "params": dict(case.params),
        "work": case.work,
        "saturates": case.saturates,
        "cache": case.cache,
        "regime": case.regime or device.info.regime,
        "repetition": repetition,
        "started": utc_now(),
    }
    started = time.perf_counter()
    skip = device.agree(case.skip)
    if skip:
        return Measurement(**frame, skip=skip, stop_reason="skipped")
    ready: list[Setup] = []

    def prepare() -> None:
        ready.append(case.prepare(device))
        device.begin(case)

    def check() -> None:
        if ready[0].check is not None and not device.info.simulated:
            ready[0].check()

    # Ranks agree after each step: one that went on alone would wait for the others for ever.
    for step in (prepare, check):
        problem = _first(device, _problem(device, step))
        if problem:
            return Measurement(**frame | problem, elapsed=time.perf_counter() - started)
    frame |= {"notes": dict(ready[0].notes)} | _hot(device.info, case, ready[0])
    sampled: dict[str, Any] = {}
    problem = _problem(device, lambda: sampled.update(_sampled(device, case, ready[0].launches, budget, settle)))
    return Measurement(**frame | (problem or sampled), elapsed=time.perf_counter() - started)


def _hot(info: DeviceInfo, case: Case, ready: Setup) -> dict[str, Any]:
    """What the record of a cold case says where its ring is too small to be cold: the level that serves it instead.

    A ring of one is cold if its launch alone goes through more than the last level keeps. Nothing is cold or hot where
    there is no memory, so that a simulated device's word stands.
    """
    ring = len(ready.launches) * case.work.bytes
    level = info.level(ring)
    if case.cache != "cold" or info.simulated or level == "dram" or not ring:
        return {}
    why = f"hot: the ring's {len(ready.launches)} sets of buffers are {units.size(ring)}, which {level} keeps"
    return {
        "cache": "hot",
        "work": replace(case.work, channel=level),
        "saturates": "" if case.saturates == "dram" else case.saturates,
        "notes": dict(ready.notes) | {"cache": why},
    }


def _problem(device: Device, step: Callable[[], None]) -> dict[str, Any] | None:
    """What the record of a case says if a step of it fails; None if it does not."""
    try:
        step()
    except (OutOfMemory, Unsupported) as error:
        return {"skip": str(error), "stop_reason": "skipped"}
    except CheckFailed as error:
        reason, stop = f"wrong result: {error}", "check"
    except DeviceError as error:
        reason, stop = str(error), "error"
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        # A library that refuses costs one case. Where the device itself is broken, this raises and ends the process.
        device.synchronize()
        text = (str(error).strip() or "no message").splitlines()[0]
        if type(error).__name__ == "OutOfMemoryError":
            return {"skip": f"out of memory: {text}", "stop_reason": "skipped"}
        reason, stop = f"{type(error).__name__}: {text}", "error"
    else:
        return None
    return {"validity": "invalid", "reasons": (reason,), "stop_reason": stop}


def _first(device: Device, problem: dict[str, Any] | None) -> dict[str, Any] | None:
    """The first rank's problem, with the rank's name, on every rank."""
    if device.world == 1:
        return problem
    for rank, found in enumerate(device.gather(problem)):
        if found and "skip" in found:
            return found | {"skip": f"rank {rank}: {found['skip']}"}
        if found:
            return found | {"reasons": tuple(f"rank {rank}: {reason}" for reason in found["reasons"])}
    return None


def _sampled(device: Device, case: Case, launches: Sequence, budget: Budget, settle: float) -> dict[str, Any]:
    """The samples of a prepared case and their judgement, as fields of its record."""
    lasting = case.regime == SUSTAINED
    share = budget.sustained if lasting else budget.headline if case.repeated else budget.case
    once = _warm(device, case, launches, share)
    # under lasting load the gaps between samples would cool it: longer ones have fewer
    length = 100 * budget.sample if lasting else budget.sample
    burst = not lasting and device.info.regime == "burst" and case.work.flops and case.work.intensity >= COMPUTING
    count = device.agree(1 if case.samples else max(case.batch, min(round(length / once), 100_000)))
    least = max(case.samples, budget.min_samples)
    most = max(case.samples, budget.max_samples)
    seconds: list[float] = []
    clocks: list[float | None] = []
    doubts: set[str] = set()
    made = launched = 0
    # ranks agree on each decision, which costs more than a small collective: they decide once in a block
    block = max(1, least // 10) if device.world > 1 else 1

    def timed() -> Sample:
        nonlocal launched
        sample = device.time(case, launches, count)
        launched += sample.count or count
        if burst:
            device.rest(sample.seconds * (sample.count or count) * (1 / DUTY - 1))
        return sample

    def stop(spent: float) -> str:
        if lasting:
            return f"{budget.sustained:g} s of lasting load" if seconds and spent >= share else ""
        return _stop(seconds, least, most, spent, share, bool(case.samples))

    with device.watch() as during:
        if lasting:
            doubts |= {_settled(device, timed, settle)} - {""}
        # read under load at both ends, where the driver's counters lag alike
        launched, before = 0, device.telemetry()
        counted = device.now()
        while not (reason := device.agree(stop(device.now() - counted))):
            for _ in range(block):
                sample = timed()
                seconds.append(sample.seconds)
                clocks.append(sample.clock_hz)
                made = max(made, sample.count or count)
                doubts |= {sample.doubt} - {""}
        after = device.telemetry()
    telemetry = {"before": before, "after": after, "during": during}
    validity, reasons = device.judge(telemetry, device.now() - counted)
    if doubts and validity == "valid":
        validity = "suspect"
    reasons = (*reasons, *sorted(doubts))
    if device.world > 1:
        # a collective is as slow as its slowest rank, launch by launch, and as sound as its least sound one
        seconds = [max(ranks) for ranks in zip(*device.gather(seconds), strict=True)]
        judged = device.gather((validity, reasons))
        validity = next(word for word in ("invalid", "suspect", "valid") if any(word == each for each, _ in judged))
        reasons = tuple(f"rank {rank}: {reason}" for rank, (_, found) in enumerate(judged) for reason in found)
    found = {name: counters for name, counters in telemetry.items() if counters}
    return {
        "seconds": tuple(seconds),
        "launches": made,
        "clock_hz": tuple(clock for clock in clocks if clock) if all(clocks) else (),
        "stop_reason": reason,
        "validity": validity,
        "reasons": reasons,
        "telemetry": found | ({"launched": launched} if found else {}),
    }


def _settled(device: Device, timed: Callable[[], Sample], least: float) -> str:
    """Keeps the load up until the clock stands still, at least so long and at most four times; "" or that it moved.

    Judged by the SM clock, by the rate of the launches where there is none.
    """
    begun, before = device.now(), 0.0
    while True:
        opened, levels = device.now(), []
        while not levels or device.now() - opened < least / 4:
            sample = timed()
            levels.append(sample.clock_hz or 1 / sample.seconds)
        level, spent = median(levels), device.now() - begun
        if spent >= least and before and abs(level / before - 1) < SETTLED:
            return ""
        if spent >= 4 * least:
            return f"the clock had not settled after {spent:.1f} s of load"
        before = level


def _warm(device: Device, case: Case, launches: Sequence, share: float) -> float:
    """Seconds per launch after every buffer was touched once, or a quarter of the share was spent."""
    begun = device.now()
    once = device.time(case, launches, 1).seconds
    left = device.agree(len(launches) - 1)
    while left > 0 and device.agree(device.now() - begun < share / 4 or left * once < share):
        batch = min(left, max(1, int(share / 16 / once)))
        batch = device.agree(batch)
        once = device.time(case, launches, batch).seconds
        left -= batch
    if device.agree(once < share / 40):
        # a first launch pays for page faults and lazy library set-up; calibrate on a later one
        once = device.time(case, launches, device.agree(max(1, min(int(1e-4 / once), 1000)))).seconds
    return device.agree(once)


def _stop(seconds: list[float], least: int, most: int, spent: float, share: float, whole: bool) -> str:
    """Why to stop now, or "". `whole`: the case asked for a number of samples and gets it, up to a hundred shares."""
    if len(seconds) >= most:
        return f"{most} samples"
    if len(seconds) >= least and median_half_width(seconds) < PRECISION:
        return f"median known to {100 * PRECISION:g} %"
    # three samples outvote one stall; only a launch that is long itself goes with fewer
    if seconds and spent >= share * (100 if whole else 1 if len(seconds) >= 3 else 4):
        return "the case's share of the budget is spent"
    return ""
