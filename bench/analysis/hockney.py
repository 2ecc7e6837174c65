"""Latency and bandwidth of messages by size: seconds = alpha + bytes / beta (Hockney, Parallel Computing 20, 1994)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls


@dataclass(frozen=True)
class Line:
    """alpha: seconds that a message of no bytes takes. beta: B/s of a message without end. misfit: the typical relative
    distance of the sizes from the line; libraries change protocol with size, so it is seldom small.
    """

    alpha: float
    beta: float
    misfit: float

    @property
    def half(self) -> float:
        """Bytes at which half of beta is reached."""
        return self.alpha * self.beta

    def seconds(self, size: float) -> float:
        return self.alpha + size / self.beta


def line(points: Sequence[tuple[float, float]]) -> Line | None:
    """Through (bytes, seconds) of four sizes or more, least squares of relative errors: every size counts alike.

    None where there are fewer, or where time does not grow with size.
    """
    if len({size for size, _ in points}) < 4:
        return None
    sizes, seconds = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    # in units of the largest, or the columns would differ by ten orders
    scale = sizes.max()
    (alpha, slope), _ = nnls(np.column_stack([1 / seconds, sizes / scale / seconds]), np.ones(len(sizes)))
    if slope <= 0:
        return None
    found = alpha + slope * sizes / scale
    return Line(float(alpha), float(scale / slope), float(np.median(np.abs(found / seconds - 1))))
