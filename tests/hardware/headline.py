"""A gated metric as one case of one device: which case it is here or why there is none, and what physics allows it.

The case is the registry's own choice, as the gate's is where no baseline is blessed. What would make it another one
from one day to the next (a new version of the probe, another preference of the registry) shows in its identity.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench import theory
from bench.analysis.datasheet import at_clock, datasheet
from bench.analysis.gate.metrics import Candidate, Metric, Pin, metrics, pinned
from bench.measure.budget import BUDGETS
from bench.measure.device.protocol import Unsupported
from bench.measure.device.sim import open_simulated
from bench.measure.probes import Probe, cases_of, describe, probes
from bench.schema import SUSTAINED, Case, DeviceInfo, case_key

_BUDGET = BUDGETS["standard"]


@dataclass(frozen=True)
class Headline:
    """A metric and the case that it is on a device. ceiling: the most that a datasheet allows, None if it is silent, or
    if there is none: what a CPU could reach is assumed, from a clock that a busy machine hides.
    """

    metric: Metric
    probe: Probe
    case: Case
    ceiling: float | None

    @property
    def pin(self) -> Pin:
        return case_key(self.probe.name, self.probe.version, self.case.params), self.metric.sustained

    def rate(self, seconds: float) -> float:
        """In the metric's unit, from seconds per launch."""
        return self.metric.value(self.metric.speed(self.case.work, seconds))

    def identity(self, info: DeviceInfo) -> Mapping[str, Any]:
        """What must be equal for two times to be comparable, in JSON's types."""
        return {
            "device": info.name,
            "probe": self.probe.name,
            "version": self.probe.version,
            "params": dict(self.case.params),
            "sustained": self.metric.sustained,
        }


def names() -> list[str]:
    """Every metric that gates some device: all GPUs of the table in pairs, and a machine without tensor cores."""
    gpus = [open_simulated(f"sim:{product.sku},gpus=2")[0].info for product in theory.products()]
    host = replace(gpus[0], units=dict.fromkeys(gpus[0].units, "vector"), regime="steady", ranks=1)
    found = {m.name: m.sustained for info in (*gpus, host) for m in metrics(info).values() if m.gates}
    # lasting load leaves a device warm, so it comes last
    return sorted(found, key=lambda name: found[name])


def headline(info: DeviceInfo, name: str) -> Headline:
    """A gated metric of a device. Raises Unsupported with the reason where the device lacks it."""
    metric = metrics(info).get(name)
    if metric is None or not metric.gates:
        raise Unsupported(f"{info.name} is not gated by {name}")
    probe = probes()[metric.probe]
    described = describe(info, probe, _BUDGET)
    pin = pinned(metric, [_candidate(probe, case, metric) for case in described if not case.skip])
    case = next(iter(cases_of(info, probe, [pin[0]], _BUDGET)), None) if pin else None
    if case is None:
        skips = [case.skip for case in described if case.skip]
        raise Unsupported(skips[0] if skips else f"the probe {probe.name} describes no case of {name} on {info.name}")
    # repeated, and so with the time that a headline has
    case = replace(case, repeat=True, regime=SUSTAINED if metric.sustained else case.regime)
    return Headline(metric, probe, case, _ceiling(info, metric, case))


def _candidate(probe: Probe, case: Case, metric: Metric) -> Candidate:
    pin = (case_key(probe.name, probe.version, case.params), metric.sustained)
    return Candidate(pin, case.saturates)


def _ceiling(info: DeviceInfo, metric: Metric, case: Case) -> float | None:
    """The datasheet's rate, or that of its machine at the highest clock that the driver allows, if that is more."""
    sheet = datasheet(info) if info.sku else None
    key = {"bytes": case.work.channel, "flops": case.work.compute}.get(metric.amount, "")
    roof = sheet.find(key) if sheet else None
    if roof is None:
        return None
    return max(roof.rate, at_clock(info, roof.key, float(info.facts.get("sm_clock_max_hz", 0))) or 0.0)
