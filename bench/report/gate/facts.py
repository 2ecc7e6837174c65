"""The gate as plain values for other programs: SI base units, every number with the name of its unit."""

import math
from typing import Any

from bench.analysis.gate.bands import Finding, Reference
from bench.analysis.gate.verdict import Gate, Verdict
from bench.report.gate import words

SCHEMA = "ridgepoint.gate/1"


def facts(gate: Gate) -> dict[str, Any]:
    """What `gate --json` prints. Ratios are of speeds: above 1 is faster, for a time too. What is infinite is null."""
    about = gate.run.environment
    return {
        "schema": SCHEMA,
        "verdict": gate.word,
        "summary": words.headline(gate),
        "run": {
            "id": about.run_id,
            "source": gate.run.source,
            "started": about.started,
            "product": about.product,
            "suite": about.suite,
            "budget": about.budget,
            "seed": about.seed,
            "simulated": about.simulated,
            "complete": gate.run.complete,
        },
        "devices": [
            {
                "id": info.id,
                "name": info.name,
                "uuid": info.uuid,
                "held_against": (gate.references or {}).get(info.id),
            }
            for info in about.devices
        ],
        "counts": dict(gate.counts),
        "gated": sum(gate.counts.values()),
        "unfounded": gate.unfounded,
        "slow": list(gate.slow),
        "defects": [{"device": device, "what": what} for device, what in gate.defects],
        "notes": list(gate.notes),
        "verdicts": [_verdict(verdict) for verdict in gate.worst],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    metric = verdict.metric
    return {
        "metric": metric.name,
        "device": verdict.device,
        "gates": verdict.gates,
        "verdict": verdict.word,
        "why": verdict.why,
        "cause": verdict.cause,
        "unit": metric.unit,
        "better": metric.better,
        "value": _number(verdict.value),
        "expected": _number(verdict.expected),
        "limit": _number(verdict.limit),
        "n": verdict.n,
        "first": _in_unit(verdict, verdict.speed),
        "again": _in_unit(verdict, verdict.again),
        "ratio": _number(verdict.ratio),
        "per_clock_ratio": _number(verdict.per_clock),
        "spread_ratio": _number(verdict.spread),
        "tolerance": {
            "warn_ratio": verdict.tolerance.warn,
            "floor_ratio": verdict.tolerance.floor,
            "siblings_ratio": verdict.tolerance.siblings,
            "least_s": verdict.tolerance.least,
        },
        "basis": _basis(verdict, verdict.reference) if verdict.reference else None,
        "findings": [_finding(verdict, finding) for finding in verdict.findings],
        "probe": metric.probe,
        "sustained": metric.sustained,
        "params": {name: _plain(given) for name, given in verdict.params.items()},
    }


def _basis(verdict: Verdict, reference: Reference) -> dict[str, Any]:
    """What it was held against; low and high bound the speed, so that of a time the limit is the longer one."""
    return {
        "kind": reference.kind,
        "n": reference.n,
        "whence": reference.whence,
        "unit": verdict.metric.unit,
        "expected": _in_unit(verdict, reference.centre),
        "limit": _in_unit(verdict, reference.low),
        "improved_beyond": _in_unit(verdict, reference.high),
        "clock_hz": _number(reference.clock_hz),
    }


def _finding(verdict: Verdict, finding: Finding) -> dict[str, Any]:
    return {**_basis(verdict, finding.reference), "ratio": _number(finding.ratio), "place": finding.place}


def _in_unit(verdict: Verdict, speed: float | None) -> float | None:
    return _number(verdict.metric.value(speed)) if speed and math.isfinite(speed) else None


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _plain(given: Any) -> Any:
    if isinstance(given, float):
        return _number(given)
    return given if isinstance(given, str | int | bool | None) else str(given)
