"""Where a pointer chase is at home: the memory levels as one thread sees them, and the latency of each."""

from dataclasses import dataclass
from statistics import median

import pandas as pd

from bench.analysis.rows import numbered, usable
from bench.schema import DeviceInfo


@dataclass(frozen=True)
class Level:
    """A memory level: bytes that one thread reaches in it, at_least where more may be there; DRAM has no end."""

    name: str
    bytes: float
    at_least: bool = False


@dataclass(frozen=True)
class Plateau:
    """The median latency of the working sets well inside a level; cycles where the clock was seen."""

    level: Level
    seconds: float
    cycles: float | None
    points: int


def levels(info: DeviceInfo) -> list[Level]:
    """From the inside out, DRAM last.

    info counts a level over the whole device. A CPU's core has its own part of every level but the last; what a GPU's
    multiprocessor has to itself is known as a lower bound only.
    """
    cores = int(info.facts.get("cores", "1") or 1)
    inner = [Level(cache.name, cache.bytes / (1 if info.sms else cores)) for cache in info.caches[:-1]]
    own = [Level("l1", info.onchip["l1"], at_least=True)] if "l1" in info.onchip else []
    last = [Level(cache.name, cache.bytes) for cache in info.caches[-1:]]
    return [*own, *inner, *last, Level("dram", float("inf"))]


def chases(rows: pd.DataFrame) -> pd.DataFrame:
    """The usable cases of the latency probe by size, with `size` and `load`, the seconds of one load.

    rows: cases with their probe, params, seconds and clock_hz.
    """
    seen = numbered(usable(rows, "latency"), "bytes", "hops")
    return seen.assign(size=seen["bytes"], load=seen["seconds"] / seen["hops"]).sort_values("size")


def plateaus(rows: pd.DataFrame, info: DeviceInfo) -> list[Plateau]:
    """One per level that the sweep meets: from four times the level below to half of the level itself."""
    seen, found, below = chases(rows), [], 0.0
    for level in levels(info):
        inside = seen[(seen["size"] >= 4 * below) & (seen["size"] <= level.bytes / 2)]
        if len(inside):
            cycles = (inside["load"] * inside["clock_hz"]).dropna()
            found.append(
                Plateau(
                    level, float(median(inside["load"])), float(cycles.median()) if len(cycles) else None, len(inside)
                )
            )
        below = level.bytes
    return found
