"""This machine's own noise, from Runs in which nothing changed: how far apart they are is what a gate must forgive.

A floor is never set below the registry's: Runs in a row share a day, a room and a neighbour, and the next month's do
not. What scatters so much that its floor would be half of the value cannot gate here, and says so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.analysis.gate.metrics import Metric, metrics
from bench.analysis.gate.samples import pins, samples
from bench.analysis.gate.tolerances import Settings
from bench.schema import DeviceInfo, Run
from bench.store import RunError

# Fewer Runs say next to nothing of how far apart they may be.
FEWEST = 5
# A floor forgives so many deviations, and so much more than the worst of the Runs.
DEVIATIONS, MARGIN = 3.5, 1.25
# A floor beyond this gates nothing.
USELESS = 0.5


@dataclass(frozen=True)
class Noise:
    """How one metric scattered over n Runs, as shares of its median: the slow Runs' root mean square distance from it,
    and the slowest's.
    """

    metric: Metric
    n: int
    deviation: float
    worst: float

    @property
    def floor(self) -> float:
        return max(self.metric.tolerance.floor, DEVIATIONS * self.deviation, MARGIN * self.worst)

    @property
    def useless(self) -> bool:
        return self.floor > USELESS

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the registry."""
        if self.useless:
            return {"floor": USELESS, "gates": False} if self.metric.gates else {"floor": USELESS}
        own = self.metric.tolerance
        # half a unit of the last digit that is written must not take from it
        found = {"floor": round(self.floor + 5e-5, 4)} if self.floor > own.floor else {}
        if self.deviation > own.warn:
            found["warn"] = round(self.deviation + 5e-5, 4)
        return found


def noise(runs: Sequence[Run], info: DeviceInfo) -> dict[str, Noise]:
    """Each followed metric's scatter over Runs of one device, of valid values only: a gate does not believe the others
    either. Raises RunError where too few are.
    """
    chosen, known = pins(runs[0], info), metrics(info)
    found: dict[str, list[float]] = {}
    for run in runs:
        for name, measured in samples(run, info.id, chosen, known).items():
            if measured.believed:
                found.setdefault(name, []).append(measured.speed)
    found = {name: speeds for name, speeds in found.items() if len(speeds) >= FEWEST}
    if not found:
        raise RunError(
            f"{info.id}: no metric was valid in {FEWEST} of {len(runs)} Runs, and with fewer nobody knows its noise;"
            " calibrate again on a quiet machine"
        )
    return {name: _noise(known[name], speeds) for name, speeds in found.items()}


def _noise(metric: Metric, speeds: Sequence[float]) -> Noise:
    """Of the slow side: a Run that was lucky is nothing that a gate must forgive."""
    values = [metric.value(speed) for speed in speeds]
    centre = median(values)
    off = [(centre - value if metric.better == "higher" else value - centre) / centre for value in values]
    slow = [share for share in off if share > 0]
    deviation = math.sqrt(sum(share**2 for share in slow) / len(slow)) if slow else 0.0
    return Noise(metric, len(values), deviation, max(off))


def settings(found: Mapping[str, Noise]) -> Settings:
    """What a gate should forgive beyond the registry's tolerances."""
    return Settings({name: each.settings for name, each in found.items() if each.settings})
