"""A gate for node-exporter's textfile collector: gauges without timestamps, labelled by metric and GPU.

A simulated Run carries simulated="true" on every sample, and a measured one has no such label: {simulated=""} selects
what was measured.
"""

from bench.analysis.gate.trackers import gauges
from bench.report.document import Document
from bench.report.render.ci import gate_data
from bench.store import RunError


def render(document: Document) -> bytes:
    """The text that the collector reads. Raises RunError for a Run that has no place in time."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    data, registry = gate_data(document), CollectorRegistry()
    if data["run"]["started_s"] is None:
        raise RunError(f"it started at {data['run']['started']!r}, which is no time")
    made: dict[str, Gauge] = {}
    for name, about, value, labels in gauges(data):
        if name not in made:
            made[name] = Gauge(f"ridgepoint_{name}", about, list(labels), registry=registry)
        (made[name].labels(**labels) if labels else made[name]).set(value)
    return generate_latest(registry)


FORMS = {"prometheus": render}
