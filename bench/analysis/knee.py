"""The knee of a roofline as a ladder of intensities shows it: a smooth minimum of its two asymptotes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis.summary import Summary, counting
from bench.schema import FIRST_ROUND
from bench.stats import Estimate, estimate


@dataclass(frozen=True)
class Knee:
    """The ladder's own knee: asymptotes (FLOP/s, B/s) of a smooth minimum and the intensity (FLOP/B) where they cross.
    sharpness p: 1/p is the half width of the rounding; infinite for a textbook corner.
    """

    intensity: Estimate
    compute: float
    memory: float
    sharpness: float


def knees(cases: Sequence[Summary], overhead: float) -> dict[str, Knee]:
    """The knee of every dtype that the FMA ladder of these cases climbs far enough."""
    ladders: dict[str, list[Summary]] = {}
    for case in cases:
        if case.probe == "intensity":
            # its first version climbed float32 only, and did not say so
            ladders.setdefault(case.params.get("dtype", "float32"), []).append(case)
    found = {dtype: _knee(ladder, overhead) for dtype, ladder in ladders.items()}
    return {dtype: knee for dtype, knee in found.items() if knee}


def _knee(cases: Sequence[Summary], overhead: float) -> Knee | None:
    """A smooth minimum fitted to each repetition of one ladder; the interval is over the repetitions."""
    rungs = [case for case in cases if case.seconds]
    # a rung that a Run had no time to repeat would leave no repetition that all rungs have
    repeated = [case for case in rungs if max(case.medians) >= FIRST_ROUND]
    rungs = repeated if len(repeated) >= 6 else rungs
    repetitions = set.intersection(*(set(counting(case.medians)) for case in rungs)) if rungs else set()
    fits = []
    for repetition in sorted(repetitions):
        points = [(case.work.flops, case.work.bytes, case.medians[repetition] - overhead) for case in rungs]
        if len(points) >= 6 and all(seconds > 0 for _, _, seconds in points):
            fits.append(smooth_minimum(points))
    if not fits:
        return None
    compute, memory, rounding = (np.array(column) for column in zip(*fits, strict=True))
    sharpness = 1 / float(np.median(rounding)) if np.median(rounding) > 1e-3 else math.inf
    asymptotes = (float(np.exp(np.mean(np.log(column)))) for column in (compute, memory))
    return Knee(estimate((compute / memory).tolist()), *asymptotes, sharpness)


def smooth_minimum(points: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """(FLOP/s, B/s, 1/p) of seconds = ((flops/peak)^p + (bytes/bandwidth)^p)^(1/p), least squares in the logarithm.
    Relative errors count alike on every rung; 1/p = 0 is the sharp corner max(flops/peak, bytes/bandwidth). Below zero
    the rounding counts the other way: a corner that juts out by as much as noise happened to cut off.
    """
    flops, moved, seconds = (np.array(column) for column in zip(*points, strict=True))
    log_seconds, log_moved = np.log(seconds), np.log(moved)
    some = flops > 0
    log_flops = np.log(np.where(some, flops, 1.0))

    def residuals(x: Sequence[float]) -> np.ndarray:
        compute, memory = np.where(some, log_flops - x[0], -np.inf), log_moved - x[1]
        joined = np.maximum(compute, memory)
        if abs(x[2]) > 1e-9:
            joined = joined + x[2] * np.log1p(np.exp(-np.abs(compute - memory) / abs(x[2])))
        return joined - log_seconds

    def slopes(x: Sequence[float]) -> np.ndarray:
        apart = np.where(some, log_flops - x[0] - log_moved + x[1], -np.inf)
        lesser, widening = np.zeros(len(apart)), np.zeros(len(apart))
        if abs(x[2]) > 1e-9:
            ratio = np.exp(-np.abs(apart) / abs(x[2]))
            lesser = math.copysign(1.0, x[2]) * ratio / (1 + ratio)
            widening = np.log1p(ratio) + np.where(some, np.abs(apart / x[2]), 0.0) * ratio / (1 + ratio)
        compute = np.where(apart > 0, 1 - lesser, lesser)
        return np.column_stack((-compute, compute - 1, widening))

    start = [float(np.log((flops / seconds).max())), float(np.log((moved / seconds).max()))]
    close = {"xtol": 1e-12, "ftol": 1e-12}
    from scipy.optimize import least_squares  # a third of a second, and the gate fits no ladder

    sharp = least_squares(lambda x: residuals([*x, 0.0]), start, lambda x: slopes([*x, 0.0])[:, :2], **close)
    # Zero was once the lower bound of 1/p. A sharp corner then met it in half of the repetitions and was rounded in the
    # others, so that the knee read 0.2 % high on average. More repetitions narrow the interval, not a bias: it held the
    # truth in 92 % of 4,000 runs with five repetitions and in 86 % of those with eleven.
    # Each side has its start, because along 1/p the cost is flat at the sharp corner.
    sides = [
        least_squares(residuals, [*sharp.x, first], slopes, ([-np.inf, -np.inf, low], [np.inf, np.inf, high]), **close)
        for first, low, high in ((0.05, 0.0, 1.0), (-0.05, -1.0, 0.0))
    ]
    best = min(sides, key=lambda side: side.cost)
    # better than the sharp corner by more than rounding errors, squared
    compute, memory, rounding = best.x if best.cost < sharp.cost - 1e-24 else (*sharp.x, 0.0)
    return float(np.exp(compute)), float(np.exp(memory)), float(rounding)
