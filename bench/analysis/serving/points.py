"""Measured cases as the planner reads them: from a Run's fit or from a file, in the same words.

One point is one case: its probe, its params, its Work and the seconds of a launch. From these and the roofs come all
curves (efficiency_curves.py); nothing else crosses.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.analysis.fit import Fit
from bench.work import Work

# The probes whose cases a planner reads.
PROBES = ("gemm", "quantised", "attention", "decode", "layer", "moe", "bandwidth", "launch", "allreduce")


@dataclass(frozen=True)
class Point:
    """One measured case. seconds: of a launch, whatever it costs to start included."""

    probe: str
    params: Mapping[str, Any]
    work: Work
    seconds: float


def points_of(fit: Fit) -> tuple[Point, ...]:
    """The cases of a fitted device that serving needs; nothing that was skipped or unsound."""
    return tuple(
        Point(case.probe, dict(case.params), case.work, case.seconds.value)
        for case in fit.cases
        if case.probe in PROBES and case.seconds and case.regime != "sustained"
    )


def points_facts(points: Iterable[Point]) -> list[dict[str, Any]]:
    """Points as plain values; `points_from` reads them back."""
    return [
        {
            "probe": p.probe,
            "params": dict(p.params),
            "flops": p.work.flops,
            "unit": p.work.unit,
            "dtype": p.work.dtype,
            "variant": p.work.variant,
            "bytes": p.work.bytes,
            "channel": p.work.channel,
            "seconds": p.seconds,
        }
        for p in points
    ]


def points_from(rows: Iterable[Mapping[str, Any]], fail: Callable[[str], Exception]) -> tuple[Point, ...]:
    """The inverse of points_facts. `fail` makes the exception from one line."""
    found = []
    for number, row in enumerate(rows, 1):
        try:
            work = Work(
                float(row.get("flops", 0)), str(row.get("unit", "")), str(row.get("dtype", "")),
                str(row.get("variant", "")), float(row.get("bytes", 0)), str(row.get("channel", "dram")),
            )  # fmt: skip
            point = Point(str(row["probe"]), dict(row.get("params", {})), work, float(row["seconds"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise fail(f"case {number} cannot be read: {error!r}") from None
        if not point.seconds > 0:
            raise fail(f"case {number}: seconds must be more than 0")
        found.append(point)
    return tuple(found)
