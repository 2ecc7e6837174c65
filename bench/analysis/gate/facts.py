"""The gate as plain values for other programs (SI base units, every number with the name of its unit), and as other
people's trackers take it: values for github-action-benchmark and for pytest-benchmark, gauges for Prometheus.

The trackers are bridges; none of them is the gate. All take what `facts` gives, with the sentences of the report.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.analysis.gate.expectations import Reference
from bench.analysis.gate.samples import stating
from bench.analysis.gate.verdict import STATUSES, Gate, GateGroup, MetricVerdict, groups
from bench.analysis.run_entry import moment
from bench.schema import SUSTAINED, Run
from bench.store import RunError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "ridgepoint.gate/2"
# Whose layout of pytest-benchmark's file this is, and what it calls a machine's facts.
_LAYOUT = "5.3.1"
_SYSTEM = {"machine": "machine", "system": "os", "release": "kernel", "python_version": "python"}
# Kinds of references that say what was usual of this device itself.
_OWN = ("history", "baseline", "product")


def facts(gate: Gate) -> dict[str, Any]:
    """What `gate --json` prints beside its sentences. Ratios are of speeds: above 1 is faster, for a time too. What is
    infinite is null.
    """
    about, sources, seconds = gate.run.environment, gate.references or {}, _seconds(gate)
    run = {"id": about.run_id, "source": gate.run.source, "started": about.started, "started_s": _moment(gate.run)}
    run |= {"host": about.host, "commit": about.commit, "system": dict(about.system)}
    run |= {name: getattr(about, name) for name in ("product", "suite", "budget", "seed", "simulated")}
    return {
        "schema": SCHEMA,
        "verdict": gate.status,
        "run": run | {"complete": gate.run.complete},
        "devices": [{"id": d.id, "name": d.name, "uuid": d.uuid, "source": sources.get(d.id)} for d in about.devices],
        "counts": dict(gate.counts),
        "gated": sum(gate.counts.values()),
        "no_reference": gate.no_reference,
        "required": gate.required,
        "baseline_elsewhere": list(gate.baseline_elsewhere),
        "slow": list(gate.slow),
        "defects": [{"device": device, "what": what} for device, what in gate.defects],
        "notes": list(gate.notes),
        "groups": [_group(group) for group in groups(gate)],
        "verdicts": [_verdict(v) | {"elapsed_s": seconds.get((v.device, v.pin), 0.0)} for v in gate.worst],
    }


def _group(group: GateGroup) -> dict[str, Any]:
    told = {"device": group.device, "family": group.family, "kind": group.kind, "verdict": group.status}
    told |= {"gates": group.gates, "together": group.together}
    told |= {"metrics": [verdict.metric.name for verdict in group.verdicts], "of": group.of}
    told |= {"change": [_finite(change) for change in group.range or ()]}
    return told | {"confirmed": group.confirmed, "cause": group.cause}


def _verdict(verdict: MetricVerdict) -> dict[str, Any]:
    metric, tolerance = verdict.metric, verdict.tolerance
    told = {"metric": metric.name, "device": verdict.device, "family": metric.family, "gates": verdict.gates}
    told |= {"verdict": verdict.status, "why": verdict.why, "cause": verdict.cause}
    told |= {"unit": metric.unit, "better": metric.better}
    told |= {name: _finite(getattr(verdict, name)) for name in ("value", "expected", "limit", "n")}
    told |= {"first": _in_unit(verdict, verdict.speed), "again": _in_unit(verdict, verdict.again)}
    told |= {"ratio": _finite(verdict.ratio), "change": _finite(verdict.change)}
    told |= {"per_clock_ratio": _finite(verdict.per_clock), "spread_ratio": _finite(verdict.spread)}
    shares = {f"{name}_ratio": getattr(tolerance, name) for name in ("warn", "floor", "siblings")}
    told |= {"tolerance": shares | {"least_s": tolerance.least}}
    told |= {"basis": _basis(verdict, verdict.reference) if verdict.reference else None}
    found = [(each, _basis(verdict, each.reference)) for each in verdict.comparisons]
    told |= {"findings": [basis | {"ratio": _finite(each.ratio), "place": each.place} for each, basis in found]}
    params = dict(verdict.pin[0][2]) if verdict.pin else {}
    plain = {name: _plain(given) for name, given in params.items()}
    return told | {"probe": metric.probe, "sustained": metric.sustained, "params": plain}


def _basis(verdict: MetricVerdict, reference: Reference) -> dict[str, Any]:
    """What it was compared with; low and high bound the speed, so that of a time the limit is the longer one."""
    told = {"kind": reference.kind, "n": reference.n, "source": reference.source, "unit": verdict.metric.unit}
    speeds = {"expected": reference.centre, "limit": reference.low, "improved_beyond": reference.high}
    told |= {name: _in_unit(verdict, speed) for name, speed in speeds.items()}
    return told | {"clock_hz": _finite(reference.clock_hz)}


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


def repetitions(gate: Gate) -> "pd.DataFrame":
    """The repetitions that each value rests on, with their raw seconds per launch."""
    rows = [
        (v.metric.name, v.device, v.status, m.repetition, m.launches, list(m.seconds))
        for v in gate.verdicts
        if v.pin
        for m in stating(gate.run, v.device, v.pin, v.again is not None)
    ]
    import pandas as pd  # half of the time that a verdict takes, which needs no frame

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


# --- texts and numbers as other programs take them


def line(text: str, most: int = 400) -> str:
    """Foreign text as one printable line: whatever would steer a terminal, a parser or a log is left out."""
    joined = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return joined if len(joined) <= most else f"{joined[: most - 1].rstrip()}…"


def name(text: str) -> str:
    """What something is called, as a label that is never empty."""
    return line(text, 120) or "–"


def decimal(number: float) -> str:
    """Digits and a point, no exponent; more than a dozen places of a second are below a clock's tick."""
    return f"{number:.12f}".rstrip("0").rstrip(".") if abs(number) < 1e3 else f"{number:.0f}"


# --- trackers


def worst_change(data: Mapping[str, Any]) -> float | None:
    """The worst change of a gated metric, below 0 for worse; None without any."""
    changed = [each for each in data["verdicts"] if each["gates"] and each["change"] is not None]
    return min((each["change"] if each["better"] == "higher" else -each["change"] for each in changed), default=None)


def nagios_code(data: Mapping[str, Any], gate_code: int) -> int:
    """0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. gate_code: the gate's own.

    Something slow that was not to fail the gate is a WARNING, whatever --fail-on silenced; so is a suspicion that was.
    """
    if gate_code == 1:
        return 2
    if gate_code == 0:
        return 1 if {"suspicious", "regressed"} & set(data["counts"]) or data["defects"] else 0
    return 1 if gate_code == 3 and data["verdict"] == "suspicious" and not data["no_reference"] else 3


def github_entries(data: Mapping[str, Any], better: str) -> list[dict[str, Any]]:
    """What has a value that may be tracked: an invalid one would be the next Run's yardstick."""
    simulated, found = "SIMULATED " * data["run"]["simulated"], []
    for verdict in data["verdicts"]:
        if verdict["better"] != better or verdict["value"] is None or verdict["verdict"] == "invalid":
            continue
        entry = {"name": f"{simulated}{name(verdict['metric'])} ({name(verdict['device'])})", "unit": verdict["unit"]}
        entry |= {"value": verdict["value"], "extra": line(verdict["text"])}
        if verdict["spread_ratio"] is not None:
            # the farthest of its repetitions from one another, to both sides
            entry["range"] = f"± {verdict['value'] * verdict['spread_ratio'] / 2:.3g}"
        found.append(entry)
    return found


def pytest_benchmark(
    data: Mapping[str, Any], rows: Iterable[Mapping[str, Any]], stats: Callable[[Sequence[float]], dict[str, Any]]
) -> dict[str, Any]:
    """A benchmark per metric and device, of the samples that state its value. rows: those of `repetitions`. stats: what
    pytest-benchmark keeps of its rounds.
    """
    run, samples = data["run"], {}
    for row in rows:
        samples.setdefault((row["metric"], row["device"]), []).append(row)
    found = [(verdict, samples.get((verdict["metric"], verdict["device"]))) for verdict in data["verdicts"]]
    machine = {"node": run["host"]} | {key: run["system"].get(field, "") for key, field in _SYSTEM.items()}
    machine |= {"product": run["product"], "devices": {info["id"]: info["name"] for info in data["devices"]}}
    return {
        "machine_info": machine | {"simulated": run["simulated"], "cpu": {}},
        "commit_info": {"id": run["commit"] or "unversioned", "project": "ridgepoint"},
        "benchmarks": [_benchmark(verdict, used, run["simulated"], stats) for verdict, used in found if used],
        "datetime": run["started"],
        "version": _LAYOUT,
    }


def _benchmark(verdict: Mapping, used: Sequence[Mapping], simulated: bool, stats: Callable) -> dict[str, Any]:
    label = f"{name(verdict['metric'])}[{name(verdict['device'])}]"
    extra = {key: verdict[key] for key in ("verdict", "value", "unit")}
    extra |= {"repetition_medians_s": [median(row["seconds"]) for row in used], "simulated": simulated}
    return {
        "group": name(verdict["metric"]),
        "name": label,
        "fullname": f"ridgepoint/gate::{label}",
        "params": {"device": verdict["device"]},
        "param": verdict["device"],
        "extra_info": extra,
        "options": {"timer": "device", "warmup": True},
        "stats": stats([each for row in used for each in row["seconds"]]) | {"iterations": max(1, used[0]["launches"])},
    }


def gauges(data: Mapping[str, Any]) -> Iterator[tuple[str, str, float, dict[str, str]]]:
    """(name, what it is, value, labels) of every finite gauge, for Prometheus."""
    always = {"simulated": "true"} if data["run"]["simulated"] else {}
    for gauge, about, value, labels in _gauges(data):
        if math.isfinite(value):
            yield gauge, about, float(value), {key: line(text) for key, text in (labels | always).items()}


def _gauges(data: Mapping[str, Any]) -> Iterator[tuple[str, str, float, dict[str, str]]]:
    run, uuids = data["run"], {info["id"]: info["uuid"] for info in data["devices"]}
    yield "last_run_timestamp_seconds", "When the judged Run started.", run["started_s"], {}
    yield "build_info", "Which suite judged which product.", 1, {"version": run["suite"], "product": run["product"]}
    for status in STATUSES:
        what = "1 for the gate's status, of all gated metrics."
        yield "gate_verdict", what, status == data["verdict"], {"state": status}
    broken = [defect["device"] for defect in data["defects"]]
    for device in dict.fromkeys([*uuids, *(verdict["device"] for verdict in data["verdicts"]), *broken]):
        yield "hardware_defects", "Defects that a GPU's own counters state.", broken.count(device), {"gpu": device}
    for verdict in data["verdicts"]:
        which = {"metric": verdict["metric"], "gpu": verdict["device"]}
        if verdict["value"] is not None:
            more = {"uuid": uuids.get(verdict["device"], ""), "unit": verdict["unit"]}
            yield "metric_value", "In SI base units.", verdict["value"], which | more
        for kind, ratio in ((each["kind"], each["ratio"]) for each in verdict["findings"] if each["ratio"] is not None):
            if kind == "theory":
                yield "metric_ratio_to_theory", "Speed over the datasheet's.", ratio, which
            elif kind in _OWN:
                yield "metric_ratio_to_baseline", "Speed over what was usual.", ratio, which | {"reference": kind}
        for status in STATUSES:
            yield "verdict", "1 for the metric's status.", status == verdict["verdict"], which | {"state": status}
