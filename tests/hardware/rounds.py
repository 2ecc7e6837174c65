"""A round as pytest-benchmark counts it: one repetition by the suite's only timing loop, and what is known beside it.

A repetition has fresh buffers, its result is checked before anything is timed, it is warmed up, calibrated and sampled,
and its time is the median of the samples, in seconds per launch by the device's own timer. What is kept is the record,
no buffer (a GPU keeps the last graph that it replayed until the next case begins or the session ends).
"""

import math
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Protocol

from bench.measure.budget import BUDGETS, Budget
from bench.measure.device.protocol import Device, DeviceError, Unsupported
from bench.measure.timing import measure
from bench.schema import FIRST_ROUND, Measurement
from tests.hardware.headline import Headline

# Without --benchmark-enable a case runs once and short: its result counts, not its time.
GLANCE = replace(BUDGETS["standard"], headline=0.01, min_samples=3)
# A datasheet rounds its figures, and a clock its ticks.
ABOVE = 1.02


class Advances(Protocol):
    def advance(self, seconds: float) -> None: ...


@dataclass
class Rounds:
    """Repetitions of one case on one device, and the clock that is told how long each took."""

    device: Device
    headline: Headline
    clock: Advances
    budget: Budget
    measured: list[Measurement] = field(default_factory=list)

    def once(self) -> None:
        """One more. Raises Unsupported where the device cannot, else whatever makes it no measurement of this device.

        What raises here is kept out of pytest-benchmark's files.
        """
        case, probe, budget = self.headline.case, self.headline.probe, self.budget
        repetition = FIRST_ROUND + len(self.measured)
        until = self.device.now() if budget is GLANCE else math.inf
        found = measure(self.device, probe.name, probe.version, case, budget, repetition, until)
        if found.skip:
            raise Unsupported(found.skip)
        if not found.usable:
            raise DeviceError("; ".join(found.reasons))
        rate, ceiling = self.headline.rate(found.median), self.headline.ceiling
        assert rate > 0
        assert ceiling is None or rate <= ABOVE * ceiling, "faster than the datasheet: what was counted was not done"
        self.measured.append(found)
        self.clock.advance(found.median)

    @property
    def facts(self) -> dict[str, Any]:
        """What pytest-benchmark does not know of its times."""
        info, metric = self.device.info, self.headline.metric
        clocks = [hertz for each in self.measured for hertz in each.clock_hz]
        return {
            **self.headline.identity(info),
            "metric": metric.name,
            "rate": self.headline.rate(median(each.median for each in self.measured)),
            "unit": metric.unit,
            "ceiling": self.headline.ceiling,
            "clock_hz": median(clocks) if clocks else None,
            "driver": info.facts.get("driver"),
            "samples": [len(each.seconds) for each in self.measured],
            "doubts": sorted({reason for each in self.measured for reason in each.reasons}),
        }
