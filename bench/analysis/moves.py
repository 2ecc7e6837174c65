"""What moved: the level of a series where its environment changed, and drifts and steps where nothing did.

The unit is the Run. What would make a move wrong: Runs that do not scatter independently (intervals are widened by the
neighbours' correlation, a crude remedy), a drift that passes for a step (both sides share a slope where there are Runs
enough), several things that changed at once (which of them did it no data can tell), and many questions asked of the
same Runs (each interval holds against all of them together, Bonferroni).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import stdtrit

from bench.analysis.series import ENOUGH, FEW, SEARCHED, WINDOW, WORTH, Change, Point, Segment, Series


@dataclass(frozen=True)
class Move:
    """A level of a series after over before, with its interval. kind: "change" (of the environment), "step" or "drift".

    since: the last Run before, until: the first after; a drift's ends. verdict: "moved", "still", or "unknown" where
    there are too few valid Runs on a side. The ratio of an unknown one is nan.
    """

    series: Series
    kind: str
    verdict: str
    since: float
    until: float
    changes: tuple[Change, ...]
    ratio: float
    low: float
    high: float
    before: int
    after: int


def moves(series: Series, questions: int) -> Iterator[Move]:
    for before, after in pairwise(series.segments):
        if after.joined:
            yield _across(series, before, after, questions)
    for segment in series.segments:
        if segment.n >= SEARCHED and (move := _within(series, segment, questions)):
            yield move


def _across(series: Series, before: Segment, after: Segment, questions: int) -> Move:
    """The step where the environment changed, by the Runs nearest to it."""
    left, right = before.valid[-WINDOW:], after.valid[:WINDOW]
    ends = before.points[-1].at, after.points[0].at
    counts = len(left), len(right)
    if min(counts) < FEW:
        return Move(series, "change", "unknown", *ends, after.changes, *[float("nan")] * 3, *counts)
    logs = np.log([point.value.value for point in (*left, *right)])
    columns = [np.ones(len(logs)), np.arange(len(logs)) >= len(left)]
    if min(counts) >= ENOUGH:
        columns.append(_times((*left, *right)))
    effect, half = _effect(columns, logs, questions)
    return _judged(series, "change", ends, after.changes, effect, half, counts)


def _within(series: Series, segment: Segment, questions: int) -> Move | None:
    """A drift or a step while nothing recorded changed, whichever explains the segment better; None where neither."""
    points = segment.valid
    logs, n = np.log([point.value.value for point in points]), len(points)
    x = _times(points)
    slope = np.column_stack([np.ones(n), x])
    drift = float(np.sum((logs - slope @ np.linalg.lstsq(slope, logs, rcond=None)[0]) ** 2))
    # sums of squares around two levels for every place of the step at once
    total, squares = np.cumsum(logs), float(np.sum(logs**2))
    k = np.arange(FEW, n - FEW + 1)
    apart = squares - total[k - 1] ** 2 / k - (total[-1] - total[k - 1]) ** 2 / (n - k)
    split = int(k[np.argmin(apart)])
    if drift <= float(apart.min()):
        effect, half = _effect([np.ones(n), x], logs, questions)
        move = _judged(series, "drift", (points[0].at, points[-1].at), (), effect, half, (n, n))
    else:
        # the place was searched for: as many more questions as there are places
        effect, half = _effect([np.ones(n), np.arange(n) >= split], logs, questions * len(k))
        ends = points[split - 1].at, points[split].at
        move = _judged(series, "step", ends, (), effect, half, (split, n - split))
    return move if move.verdict == "moved" else None


def _times(points: Sequence[Point]) -> np.ndarray:
    """From 0 to 1 over the points."""
    at = np.array([point.at for point in points])
    return (at - at[0]) / max(at[-1] - at[0], 1.0)


def _effect(columns: Sequence[np.ndarray], logs: np.ndarray, questions: int) -> tuple[float, float]:
    """The second column's coefficient by least squares, and half its interval's width at 5 % over all questions."""
    design = np.column_stack(columns).astype(float)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        design = design[:, :2]
    if np.linalg.matrix_rank(design) < 2:
        return 0.0, float("inf")
    found = np.linalg.lstsq(design, logs, rcond=None)[0]
    rest = logs - design @ found
    freedom = len(logs) - design.shape[1]
    scatter = float(rest @ rest)
    follow = max(0.0, float(rest[1:] @ rest[:-1]) / scatter) if scatter > 1e-24 else 0.0
    widened = (1 + follow) / (1 - min(follow, 0.98))
    error = np.sqrt(scatter / freedom * widened * np.linalg.inv(design.T @ design)[1, 1])
    return float(found[1]), float(stdtrit(max(freedom / widened, 1.0), 1 - 0.025 / questions) * error)


def _judged(series, kind, ends, changes, effect: float, half: float, counts: tuple[int, int]) -> Move:
    with np.errstate(over="ignore"):
        ratio, low, high = (float(np.exp(value)) for value in (effect, effect - half, effect + half))
    moved = abs(ratio - 1) >= WORTH and not low <= 1 <= high
    return Move(series, kind, "moved" if moved else "still", *ends, changes, ratio, low, high, *counts)
