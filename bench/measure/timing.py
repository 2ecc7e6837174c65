"""The only timing loop: prepare, check, warm up, calibrate, sample, stop.

One call is one repetition of one case. Raw seconds are kept in order; nothing is deleted for being far out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bench import units
from bench.measure.budget import Budget
from bench.measure.device.protocol import CheckFailed, Device, DeviceError, OutOfMemory, Sample, Unsupported
from bench.measure.sustained import load
from bench.schema import SUSTAINED, Case, DeviceInfo, Measurement, Setup
from bench.stats import median_half_width
from bench.store import utc_now

# The median's 95 % interval that ends sampling early, as a share of the median (nvbench stops at 0.5 % too).
PRECISION = 0.005
# Share of the time that a burst case computes: a GPU that works on without a rest leaves its burst clock within some
# milliseconds (flashinfer-ai/flashinfer#2899), and how far would depend on what ran before. From this intensity on.
DUTY, COMPUTING = 0.25, 1.0


def measure(
    device: Device,
    probe: str,
    version: int,
    case: Case,
    budget: Budget,
    repetition: int = 0,
    until: float = math.inf,
) -> Measurement:
    """One repetition. What cannot be measured comes back as a skip or as invalid, with its reason.

    until: device time by which a case of the sustained regime must have settled.
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
    started = device.now()
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
            return Measurement(**frame | problem, elapsed=device.now() - started)
    frame |= {"notes": dict(ready[0].notes)} | _hot(device.info, case, ready[0])
    sampled: dict[str, Any] = {}

    def sample() -> None:
        sampled.update(_sampled(device, case, ready[0].launches, budget, until))

    # a rank that fails between two launches has left its peers in one: its process ends, and the group begins anew
    problem = _problem(device, sample) if device.world == 1 else sample()
    found = problem or sampled | {"notes": frame["notes"] | sampled["notes"]}
    return Measurement(**frame | found, elapsed=device.now() - started)


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


def _sampled(device: Device, case: Case, launches: Sequence, budget: Budget, until: float) -> dict[str, Any]:
    """The samples of a prepared case and their judgement, as fields of its record."""
    sustained = case.regime == SUSTAINED
    share = budget.headline if case.repeated else budget.case
    once = _warm(device, case, launches, share)
    # under lasting load the gaps between samples would cool it: longer ones have fewer
    length = 100 * budget.sample if sustained else budget.sample
    burst = not sustained and device.info.regime == "burst" and case.work.flops and case.work.intensity >= COMPUTING
    count = device.agree(1 if case.samples else max(case.batch, min(round(length / once), 100_000)))
    launched = 0

    def timed() -> Sample:
        nonlocal launched
        sample = device.time(case, launches, count)
        launched += sample.count or count
        if burst:
            device.rest(sample.seconds * (sample.count or count) * (1 / DUTY - 1))
        return sample

    swing = ""
    with device.watch() as during:
        begun, before = device.now(), device.telemetry()
        if sustained:
            lasted = load(device, timed, count, until)
            samples, before = lasted.samples, lasted.windows[0].before
            launched = sum(window.launched for window in lasted.windows)
            reason, doubts = f"clock and power level over {units.seconds(_spent(samples, count), 2)}", {lasted.doubt}
            swing = units.seconds(lasted.period, 2) if lasted.period else ""
        else:
            samples, reason = _until_known(device, case, timed, budget, share)
            doubts = set()
        after = device.telemetry()
    doubts = (doubts | {sample.doubt for sample in samples}) - {""}
    telemetry = {"before": before, "after": after, "during": during}
    validity, reasons = device.judge(telemetry, device.now() - begun)
    if doubts and validity == "valid":
        validity = "suspect"
    reasons = (*reasons, *sorted(doubts))
    seconds = [sample.seconds for sample in samples]
    if device.world > 1:
        # a collective is as slow as its slowest rank, launch by launch, and as sound as its least sound one
        seconds = [max(ranks) for ranks in zip(*device.gather(seconds), strict=True)]
        judged = device.gather((validity, reasons))
        validity = next(word for word in ("invalid", "suspect", "valid") if any(word == each for each, _ in judged))
        reasons = tuple(f"rank {rank}: {reason}" for rank, (_, found) in enumerate(judged) for reason in found)
    found = {name: counters for name, counters in telemetry.items() if counters}
    timings = sorted({sample.timing for sample in samples} - {""})
    return {
        "seconds": tuple(seconds),
        "launches": max(sample.count or count for sample in samples),
        # a stamp that was missed costs its own sample's clock, no other's
        "clock_hz": tuple(sample.clock_hz for sample in samples if sample.clock_hz),
        "stop_reason": reason,
        "validity": validity,
        "reasons": reasons,
        "telemetry": found | ({"launched": launched} if found else {}),
        "notes": ({"timing": " and ".join(timings)} if timings else {}) | ({"power cap cycle": swing} if swing else {}),
    }


def _spent(samples: Sequence[Sample], count: int) -> float:
    return sum(sample.seconds * (sample.count or count) for sample in samples)


def _until_known(
    device: Device, case: Case, timed: Callable[[], Sample], budget: Budget, share: float
) -> tuple[list[Sample], str]:
    """Samples until the median is known well enough or the case's share is spent, and which of these it was."""
    least, most = max(case.samples, budget.min_samples), max(case.samples, budget.max_samples)
    # ranks agree on each decision, which costs more than a small collective: they decide once in a block
    block = max(1, least // 10) if device.world > 1 else 1
    begun, samples, seconds = device.now(), [], []

    def stop() -> str:
        return _stop(seconds, least, most, device.now() - begun, share, bool(case.samples))

    while not (reason := device.agree(stop())):
        more = [timed() for _ in range(block)]
        samples += more
        seconds += [sample.seconds for sample in more]
    return samples, reason


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
    """Why to stop now, or "". `whole`: the case asked for a number of samples and gets it, up to 250 shares."""
    if len(seconds) >= most:
        return f"{most} samples"
    if len(seconds) >= least and median_half_width(seconds) < PRECISION:
        return f"median known to {100 * PRECISION:g} %"
    # three samples outvote one stall; only a launch that is long itself goes with fewer
    if seconds and spent >= share * (250 if whole else 1 if len(seconds) >= 3 else 4):
        return "the case's share of the budget is spent"
    return ""
