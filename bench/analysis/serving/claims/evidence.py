"""What a machine says to a claim, and how that decides it.

Measured claims are right within 15 %, wrong beyond a factor of 1.5, and in between they depend; an order or a sign is
right where it holds on the whole sweep.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

RIGHT, CONDITION, DEPENDS, WRONG, OPEN = "right", "right with condition", "depends", "wrong", "not measurable"
VERDICTS = (RIGHT, CONDITION, DEPENDS, WRONG, OPEN)
NEAR, FAR = 1.15, 1.5


class MissingProbe(Exception):
    """The Run lacks what would answer; the message is the probe to run."""


@dataclass(frozen=True)
class Evidence:
    """text: what this machine shows. verdict: as it decides, or "". depends_on: what the verdict hangs on, where."""

    text: str
    verdict: str = ""
    depends_on: str = ""


def judged(claimed: float, measured: float) -> str:
    """The verdict on a number."""
    ratio = claimed / measured
    ratio = max(ratio, 1 / ratio)
    return RIGHT if ratio <= NEAR else WRONG if ratio > FAR else DEPENDS


def at_most(limit: float, measured: float) -> str:
    """The verdict on "no more than"."""
    return RIGHT if measured <= limit * NEAR else judged(limit, measured)


def at_least(limit: float, measured: float) -> str:
    return RIGHT if measured >= limit / NEAR else judged(limit, measured)


def within(low: float, high: float, measured: Iterable[float]) -> str:
    """The verdict on a range: right or wrong where every value says so."""
    said = {
        RIGHT if low / NEAR <= each <= high * NEAR else judged(min(max(each, low), high), each) for each in measured
    }
    return said.pop() if len(said) == 1 else DEPENDS


def rises(values: Iterable[float], slack: float = 0.03) -> bool:
    """Whether each value is at least the one before it, but for scatter."""
    return all(after >= before * (1 - slack) for before, after in pairwise(values))


def crossing(points: Iterable[tuple[float, float]], level: float) -> float | None:
    """The first x where a line through the points passes a level; None where it does not."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if (y0 - level) * (y1 - level) <= 0 and y0 != y1:
            return x0 + (x1 - x0) * (level - y0) / (y1 - y0)
    return None


def of_product(verdict: str, wanted: str, product: str) -> str:
    """The verdict on a claim about one product; another machine cannot refute it, and leaves the reference's."""
    return verdict if verdict == RIGHT or re.search(rf"\b{wanted}\b", product) else ""
