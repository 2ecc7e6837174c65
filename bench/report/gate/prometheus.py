"""The gate for node-exporter's textfile collector: gauges without timestamps, labelled by metric and GPU.

A simulated Run carries simulated="true" on every sample, and a measured one has no such label: {simulated=""} selects
what was measured.
"""

import math

from bench.analysis.gate.verdict import WORDS, Gate
from bench.report.gate import words

_OWN = ("history", "baseline", "product")


def prometheus(gate: Gate) -> bytes:
    """The text that the collector reads. Raises RunError for a Run that has no place in time."""
    from prometheus_client import CollectorRegistry, generate_latest

    from bench.analysis.entries import moment

    registry = CollectorRegistry()
    set_ = _Gauges(registry, gate.run.environment.simulated).set
    about, uuids = gate.run.environment, {info.id: info.uuid for info in gate.run.environment.devices}
    set_("last_run_timestamp_seconds", "When the judged Run started.", moment(gate.run))
    set_("build_info", "Which suite judged which product.", 1, version=about.suite, product=about.product)
    for word in WORDS:
        set_("gate_verdict", "1 for the gate's word, of all gated metrics.", word == gate.word, state=word)
    for device in words.devices(gate):
        broken = sum(who == device for who, _ in gate.defects)
        set_("hardware_defects", "Defects that a GPU's own counters state.", broken, gpu=device)
    for verdict in gate.verdicts:
        which = {"metric": verdict.metric.name, "gpu": verdict.device}
        if verdict.value is not None:
            uuid = uuids.get(verdict.device, "")
            set_("metric_value", "In SI base units.", verdict.value, **which, uuid=uuid, unit=verdict.metric.unit)
        for finding in verdict.findings:
            kind = finding.reference.kind
            if kind == "theory":
                set_("metric_ratio_to_theory", "Speed over the datasheet's.", finding.ratio, **which)
            elif kind in _OWN:
                set_("metric_ratio_to_baseline", "Speed over what was usual.", finding.ratio, **which, reference=kind)
        for word in WORDS:
            set_("verdict", "1 for the metric's word.", word == verdict.word, **which, state=word)
    return generate_latest(registry)


class _Gauges:
    """Gauges of one registry by name, made when first set."""

    def __init__(self, registry, simulated: bool):
        self._registry, self._made = registry, {}
        self._always = {"simulated": "true"} if simulated else {}

    def set(self, name: str, about: str, value: float, **labels: str) -> None:
        from prometheus_client import Gauge

        if not math.isfinite(value):
            return
        labels = {key: words.line(text) for key, text in (labels | self._always).items()}
        if name not in self._made:
            self._made[name] = Gauge(f"ridgepoint_{name}", about, list(labels), registry=self._registry)
        made = self._made[name]
        (made.labels(**labels) if labels else made).set(float(value))
