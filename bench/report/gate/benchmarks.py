"""The gate for other people's trackers: github-action-benchmark and pytest-benchmark. Bridges; neither is the gate.

github-action-benchmark compares with the previous Run only, and takes one direction per file: rates go into FILE
(customBiggerIsBetter), times into FILE-smaller (customSmallerIsBetter), which is only written where there are times,
because the action refuses an empty list.

pytest-benchmark compares seconds, of which less is better, so it gets the Run's raw seconds per launch.
`pytest-benchmark compare OLD NEW` prints exports side by side. `pytest --benchmark-compare` and its `-fail` match a
session's tests with a saved file by `fullname`, which no test shares with an export. The rounds here are samples, not
repetitions: their deviations are those within a Run, which say little of those between Runs.
"""

import json
from collections.abc import Sequence
from statistics import mean, median, stdev
from typing import Any

from bench.analysis.gate.verdict import INVALID, Gate, Verdict
from bench.report.gate import words
from bench.schema import CONFIRM, FIRST_ROUND, SUSTAINED, Measurement

# Whose layout of the file this is.
_LAYOUT = "5.3.1"


def bigger(gate: Gate) -> bytes:
    """Every rate, for the tool customBiggerIsBetter."""
    return _listed(gate, "higher")


def smaller(gate: Gate) -> bytes:
    """Every time, for the tool customSmallerIsBetter; nothing without times."""
    return _listed(gate, "lower") if _of(gate, "lower") else b""


def _of(gate: Gate, better: str) -> list[Verdict]:
    """What has a value that may be tracked: an invalid one would be the next Run's yardstick."""
    return [v for v in gate.verdicts if v.metric.better == better and v.value is not None and v.word != INVALID]


def _listed(gate: Gate, better: str) -> bytes:
    simulated = "SIMULATED " * gate.run.environment.simulated
    found = []
    for verdict in _of(gate, better):
        entry = {
            "name": f"{simulated}{words.name(verdict.metric.name)} ({words.name(verdict.device)})",
            "unit": verdict.metric.unit,
            "value": verdict.value,
            "extra": f"{verdict.word}: {words.evidence(verdict)}",
        }
        if verdict.spread is not None:
            # the farthest of its repetitions from one another, to both sides
            entry["range"] = f"± {verdict.value * verdict.spread / 2:.3g}"
        found.append(entry)
    return (json.dumps(found, indent=2, allow_nan=False) + "\n").encode()


def pytest_benchmark(gate: Gate) -> bytes:
    """What `pytest-benchmark compare` reads: a benchmark per metric and device, of the samples that state its value."""
    about = gate.run.environment
    found = [made for verdict in gate.verdicts if (made := _benchmark(gate, verdict))]
    names = {info.id: info.name for info in about.devices}
    whole = {
        "machine_info": {
            "node": about.host,
            "machine": about.system.get("machine", ""),
            "system": about.system.get("os", ""),
            "release": about.system.get("kernel", ""),
            "python_version": about.system.get("python", ""),
            "product": about.product,
            "devices": names,
            "simulated": about.simulated,
            "cpu": {},
        },
        "commit_info": {"id": about.commit or "unversioned", "project": "ridgepoint"},
        "benchmarks": found,
        "datetime": about.started,
        "version": _LAYOUT,
    }
    return (json.dumps(whole, indent=2, allow_nan=False) + "\n").encode()


def _benchmark(gate: Gate, verdict: Verdict) -> dict[str, Any] | None:
    used = _stating(gate, verdict)
    if not used:
        return None
    name = f"{words.name(verdict.metric.name)}[{words.name(verdict.device)}]"
    return {
        "group": words.name(verdict.metric.name),
        "name": name,
        "fullname": f"ridgepoint/gate::{name}",
        "params": {"device": verdict.device},
        "param": verdict.device,
        "extra_info": {
            "verdict": verdict.word,
            "value": verdict.value,
            "unit": verdict.metric.unit,
            "repetition_medians_s": [m.median for m in used],
            "simulated": gate.run.environment.simulated,
        },
        "options": {"timer": "device", "warmup": True},
        "stats": stats([seconds for m in used for seconds in m.seconds]) | {"iterations": max(1, used[0].launches)},
    }


def _stating(gate: Gate, verdict: Verdict) -> list[Measurement]:
    """The repetitions that the value rests on: the re-measurements where they decided, else the rounds."""
    if verdict.pin is None:
        return []
    key, lasting = verdict.pin
    mine = [
        m
        for m in gate.run.measurements
        if m.device == verdict.device and m.key == key and (m.regime == SUSTAINED) == lasting
    ]
    again = [m for m in mine if m.repetition >= CONFIRM]
    first = [m for m in mine if m.repetition < CONFIRM]
    if verdict.again is not None or not first:
        return [m for m in again if m.sound]
    return [m for m in ([m for m in first if m.repetition >= FIRST_ROUND] or first) if m.sound]


def stats(data: Sequence[float]) -> dict[str, Any]:
    """The statistics that pytest-benchmark keeps of its rounds, by its own definitions (quartiles without the median's
    ends, as in Moore and McCabe, with its interpolation for odd counts).
    """
    ordered = sorted(data)
    centre, deviation = mean(ordered), stdev(ordered) if len(ordered) > 1 else 0
    low, high = _quartiles(ordered)
    between = high - low
    inner = [v for v in ordered if low - 1.5 * between <= v <= high + 1.5 * between]
    apart = sum(abs(value - centre) > deviation for value in ordered)
    beyond = len(ordered) - len(inner)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": centre,
        "stddev": deviation,
        "rounds": len(ordered),
        "median": median(ordered),
        "iqr": between,
        "q1": low,
        "q3": high,
        "iqr_outliers": beyond,
        "stddev_outliers": apart,
        "outliers": f"{apart};{beyond}",
        "ld15iqr": inner[0],
        "hd15iqr": inner[-1],
        "ops": len(ordered) / sum(ordered),
        "total": sum(ordered),
        "data": list(data),
    }


def _quartiles(ordered: Sequence[float]) -> tuple[float, float]:
    n, rest = divmod(len(ordered), 4)
    if len(ordered) == 1:
        return ordered[0], ordered[0]
    if rest == 1:
        return 0.25 * ordered[n - 1] + 0.75 * ordered[n], 0.75 * ordered[3 * n] + 0.25 * ordered[3 * n + 1]
    if rest == 3:
        return 0.75 * ordered[n] + 0.25 * ordered[n + 1], 0.25 * ordered[3 * n + 1] + 0.75 * ordered[3 * n + 2]
    half = len(ordered) // 2
    return median(ordered[:half]), median(ordered[half:])
