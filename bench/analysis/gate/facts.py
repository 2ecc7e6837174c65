"""The gate as plain values for other programs: SI base units, every number with the name of its unit."""

import math
import re
from typing import Any

import pandas as pd

from bench.analysis.entries import moment
from bench.analysis.gate.groups import Group, groups
from bench.analysis.gate.samples import stating
from bench.analysis.gate.thresholds import Reference
from bench.analysis.gate.verdict import Gate, MetricVerdict
from bench.schema import SUSTAINED, Run
from bench.store import RunError

SCHEMA = "ridgepoint.gate/2"


def facts(gate: Gate) -> dict[str, Any]:
    """What `gate --json` prints beside its sentences. Ratios are of speeds: above 1 is faster, for a time too. What is
    infinite is null.
    """
    about, seconds = gate.run.environment, _seconds(gate)
    return {
        "schema": SCHEMA,
        "verdict": gate.status,
        "run": {
            "id": about.run_id,
            "source": gate.run.source,
            "started": about.started,
            "started_s": _moment(gate.run),
            "host": about.host,
            "commit": about.commit,
            "system": dict(about.system),
            "product": about.product,
            "suite": about.suite,
            "budget": about.budget,
            "seed": about.seed,
            "simulated": about.simulated,
            "complete": gate.run.complete,
        },
        "devices": [
            {"id": info.id, "name": info.name, "uuid": info.uuid, "source": (gate.references or {}).get(info.id)}
            for info in about.devices
        ],
        "counts": dict(gate.counts),
        "gated": sum(gate.counts.values()),
        "no_reference": gate.no_reference,
        "required": gate.required,
        "baseline_elsewhere": list(gate.baseline_elsewhere),
        "slow": list(gate.slow),
        "defects": [{"device": device, "what": what} for device, what in gate.defects],
        "notes": list(gate.notes),
        "groups": [_group(group) for group in groups(gate)],
        "verdicts": [
            _verdict(verdict) | {"elapsed_s": seconds.get((verdict.device, verdict.pin), 0.0)} for verdict in gate.worst
        ],
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "device": group.device,
        "family": group.family,
        "kind": group.kind,
        "verdict": group.status,
        "gates": group.gates,
        "together": group.together,
        "metrics": [verdict.metric.name for verdict in group.verdicts],
        "of": group.of,
        "change": [_finite(change) for change in group.range or ()],
        "confirmed": group.confirmed,
        "cause": group.cause,
    }


def _verdict(verdict: MetricVerdict) -> dict[str, Any]:
    metric = verdict.metric
    return {
        "metric": metric.name,
        "device": verdict.device,
        "family": metric.family,
        "gates": verdict.gates,
        "verdict": verdict.status,
        "why": verdict.why,
        "cause": verdict.cause,
        "unit": metric.unit,
        "better": metric.better,
        "value": _finite(verdict.value),
        "expected": _finite(verdict.expected),
        "limit": _finite(verdict.limit),
        "n": verdict.n,
        "first": _in_unit(verdict, verdict.speed),
        "again": _in_unit(verdict, verdict.again),
        "ratio": _finite(verdict.ratio),
        "change": _finite(verdict.change),
        "per_clock_ratio": _finite(verdict.per_clock),
        "spread_ratio": _finite(verdict.spread),
        "tolerance": {
            "warn_ratio": verdict.tolerance.warn,
            "floor_ratio": verdict.tolerance.floor,
            "siblings_ratio": verdict.tolerance.siblings,
            "least_s": verdict.tolerance.least,
        },
        "basis": _basis(verdict, verdict.reference) if verdict.reference else None,
        "findings": [
            _basis(verdict, each.reference) | {"ratio": _finite(each.ratio), "place": each.place}
            for each in verdict.comparisons
        ],
        "probe": metric.probe,
        "sustained": metric.sustained,
        "params": {name: _plain(given) for name, given in verdict.params.items()},
    }


def _basis(verdict: MetricVerdict, reference: Reference) -> dict[str, Any]:
    """What it was compared with; low and high bound the speed, so that of a time the limit is the longer one."""
    return {
        "kind": reference.kind,
        "n": reference.n,
        "source": reference.source,
        "unit": verdict.metric.unit,
        "expected": _in_unit(verdict, reference.centre),
        "limit": _in_unit(verdict, reference.low),
        "improved_beyond": _in_unit(verdict, reference.high),
        "clock_hz": _finite(reference.clock_hz),
    }


def _in_unit(verdict: MetricVerdict, speed: float | None) -> float | None:
    return _finite(verdict.metric.value(speed)) if speed and math.isfinite(speed) else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(given: Any) -> Any:
    if isinstance(given, float):
        return _finite(given)
    return given if isinstance(given, str | int | bool | None) else str(given)


def marker(gate: Gate) -> str:
    """The hidden first line by which a bot finds its comment of this product again."""
    return f"<!-- ridgepoint:gate {re.sub('[^a-z0-9]+', '-', gate.run.environment.product.lower())[:80].strip('-')} -->"


def repetitions(gate: Gate) -> pd.DataFrame:
    """The repetitions that each value rests on, with their raw seconds per launch."""
    rows = [
        (v.metric.name, v.device, v.status, m.repetition, m.launches, list(m.seconds))
        for v in gate.verdicts
        if v.pin
        for m in stating(gate.run, v.device, v.pin, v.again is not None)
    ]
    return pd.DataFrame(rows, columns=["metric", "device", "verdict", "repetition", "launches", "seconds"])


def _moment(run: Run) -> float | None:
    try:
        return moment(run)
    except RunError:
        return None


def _seconds(gate: Gate) -> dict[tuple, float]:
    """(device, case) -> how long its repetitions took, preparation included."""
    found: dict[tuple, float] = {}
    for m in gate.run.measurements:
        key = m.device, (m.key, m.regime == SUSTAINED)
        found[key] = found.get(key, 0.0) + m.elapsed
    return found
