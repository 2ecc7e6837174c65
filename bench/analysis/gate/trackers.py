"""A gate as other people's trackers take it: values for github-action-benchmark and for pytest-benchmark, gauges.

Bridges; none of them is the gate. All take what `facts` gives, with the sentences that the report adds.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from bench.analysis.gate.plain import line, name
from bench.analysis.gate.verdict import STATUSES

# Whose layout of pytest-benchmark's file this is, and what it calls a machine's facts.
_LAYOUT = "5.3.1"
_SYSTEM = {"machine": "machine", "system": "os", "release": "kernel", "python_version": "python"}
# Kinds of references that say what was usual of this device itself.
_OWN = ("history", "baseline", "product")


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
        entry = {
            "name": f"{simulated}{name(verdict['metric'])} ({name(verdict['device'])})",
            "unit": verdict["unit"],
            "value": verdict["value"],
            "extra": line(verdict["text"]),
        }
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
    machine = {
        "node": run["host"],
        **{key: run["system"].get(field, "") for key, field in _SYSTEM.items()},
        "product": run["product"],
        "devices": {info["id"]: info["name"] for info in data["devices"]},
        "simulated": run["simulated"],
        "cpu": {},
    }
    return {
        "machine_info": machine,
        "commit_info": {"id": run["commit"] or "unversioned", "project": "ridgepoint"},
        "benchmarks": [_benchmark(verdict, used, run["simulated"], stats) for verdict, used in found if used],
        "datetime": run["started"],
        "version": _LAYOUT,
    }


def _benchmark(verdict: Mapping, used: Sequence[Mapping], simulated: bool, stats: Callable) -> dict[str, Any]:
    label = f"{name(verdict['metric'])}[{name(verdict['device'])}]"
    extra = {"verdict": verdict["verdict"], "value": verdict["value"], "unit": verdict["unit"]}
    medians, seconds = [median(row["seconds"]) for row in used], [each for row in used for each in row["seconds"]]
    return {
        "group": name(verdict["metric"]),
        "name": label,
        "fullname": f"ridgepoint/gate::{label}",
        "params": {"device": verdict["device"]},
        "param": verdict["device"],
        "extra_info": extra | {"repetition_medians_s": medians, "simulated": simulated},
        "options": {"timer": "device", "warmup": True},
        "stats": stats(seconds) | {"iterations": max(1, used[0]["launches"])},
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
        for each in (each for each in verdict["findings"] if each["ratio"] is not None):
            kind, ratio = each["kind"], each["ratio"]
            if kind == "theory":
                yield "metric_ratio_to_theory", "Speed over the datasheet's.", ratio, which
            elif kind in _OWN:
                known = which | {"reference": kind}
                yield "metric_ratio_to_baseline", "Speed over what was usual.", ratio, known
        for status in STATUSES:
            what = "1 for the metric's status."
            yield "verdict", what, status == verdict["verdict"], which | {"state": status}
