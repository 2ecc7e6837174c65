"""Many ratios with their intervals: which are worth a row of a forest plot, and how far its axis reaches.

A ratio is a mapping with what (its row), headline, differs, ratio, low and high; crowded: others share its row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Ratio = Mapping[str, Any]
# Ratios further apart than this need a logarithmic axis.
FAR = 3.0
# A bound further out than this factor, or an interval that spans more, says nothing.
LOST = 100.0
# More rows than this are thinned to headlines and to what differs.
MOST_ROWS = 16


def rows(ratios: Sequence[Ratio]) -> list[str]:
    """All of them, or of many headlines and whatever differs in some Run; headlines first."""
    names = list(dict.fromkeys(each["what"] for each in sorted(ratios, key=lambda each: not each["headline"])))
    keep = {each["what"] for each in ratios if each["headline"] or each["differs"]}
    return names if len(names) <= MOST_ROWS else [name for name in names if name in keep]


def edges(ratios: Sequence[Ratio], near: float) -> tuple[float, float]:
    """Of the axis: it holds every ratio and what is near to 1; an interval that knows nothing may leave it, or nothing
    could be read.
    """
    low = min([1 / (1 + 2 * near), *(max(each["low"], each["ratio"] / 1.5) for each in ratios)])
    high = max([1 + 2 * near, *(min(each["high"], each["ratio"] * 1.5) for each in ratios)])
    room = 0.04 * (high - low)
    return (low / 1.1, high * 1.1) if high / low > FAR else (low - room, high + room)


def bounds(each: Ratio) -> tuple[float, float]:
    """The interval; of several in a row only those that say something, or they would cover one another."""
    return (each["ratio"],) * 2 if each["crowded"] and not each["differs"] else (each["low"], each["high"])


def beyond(each: Ratio, low: float, high: float) -> Iterator[tuple[float, float]]:
    """(bound, edge) where the interval leaves the axis."""
    first, last = bounds(each)
    if first < low:
        yield first, low
    if last > high:
        yield last, high
