"""A history as rows of values in base units: for tables, for a CSV file, for JSON."""

from collections.abc import Iterator
from typing import Any

import msgspec

from bench.analysis.changes import LEAST, MOST_P, ChangePoint, ChangePoints
from bench.analysis.history import History, identity
from bench.analysis.moves import Move
from bench.analysis.series import FEW, Series, Shift

METHOD = "E-divisive (Matteson & James 2014) by apache-otava: information, not the gate"
# How the newest segment's level stands to the one before; else its move's verdict, "moved", "still" or "unknown".
FIRST, NOT_COMPARED = "first", "not compared"


def which(series: Series) -> dict[str, Any]:
    return {"key": series.key, "regime": series.regime, "budget": series.budget, "device": series.device}


def standing(history: History) -> Iterator[dict[str, Any]]:
    """The newest value of every series beside its segment, and by how much that differs from the segment before."""
    across = {id(move.series): move for move in history.moves if move.kind == "change"}
    for each in sorted(history.series, key=lambda each: history.keys.index(each.key)):
        segment, move = each.segments[-1], across.get(id(each))
        against = move.verdict if segment.joined and move else NOT_COMPARED
        yield (
            which(each)
            | vars(each.newest.value)
            | {
                "median": segment.median,
                "deviation": segment.deviation if segment.n >= FEW else None,
                "runs": segment.n,
                "since": segment.points[0].at,
                "changes": segment.changes,
                "against": against if len(each.segments) > 1 else FIRST,
                "ratio": move.ratio if move and against == "moved" else None,
            }
        )


def judged(history: History, changes: ChangePoints | None) -> list[dict[str, Any]]:
    """Every change that was judged, every step and drift that was found, and the change points; the newest first."""
    rows = [which(move.series) | vars(move) for move in history.moves]
    for point in changes.points if changes else ():
        found = {"kind": "step by E-divisive", "verdict": "", "until": point.at, "trusted": point.trusted}
        rows.append(which(point.series) | vars(point) | found)
    return sorted(rows, key=lambda row: -row["until"])


def flat(history: History, most: int) -> list[dict[str, Any]]:
    """A row per Run and device with every number, its interval and validity; the newest `most` in order of time."""
    runs = [(file, run, device) for file, run in history.runs for device in run.devices]
    rows = []
    for file, run, device in runs[-most:]:
        odd = [f"{run.counts[kind]} {kind}" for kind in ("suspect", "invalid") if run.counts.get(kind)]
        row: dict[str, Any] = {"file": file, "run_id": run.run_id, "started": run.started, "host": run.host}
        row |= {"device": device.id, "name": history.devices[identity(run, device)], "uuid": device.uuid}
        row |= {
            "budget": run.budget,
            "status": run.status,
            "state": run.state,
            "doubts": "; ".join((*odd, *run.warnings)),
        }
        row |= device.factors
        for value in device.values:
            name = f"{value.key} {value.regime}"
            parts = {"": value.value, " low": value.low, " high": value.high}
            # seven digits, for the file travels inside the page
            row |= {f"{name}{part}": float(f"{number:.7g}") for part, number in parts.items()}
            row |= {f"{name} n": value.n, f"{name} validity": value.validity}
        rows.append(row)
    return rows


def to_json(history: History, changes: ChangePoints | None = None) -> dict[str, Any]:
    """Everything as plain values."""
    names = ("product", "simulated", "left_out", "warnings")
    told = {name: getattr(history, name) for name in names} | {"runs": len(history.runs)}
    told |= {"series": [_series(each) for each in history.series], "moves": [_sides(each) for each in history.moves]}
    told |= {"shifts": [_sides(each) for each in history.shifts], "change_points": None}
    if changes:
        told["change_points"] = {
            "method": METHOD,
            "most_p": MOST_P,
            "least": LEAST,
            "judged": changes.judged,
            "left_out": [which(series) | {"why": why} for series, why in changes.left_out],
            "points": [_sides(each) | {"until": each.at, "trusted": each.trusted} for each in changes.points],
        }
    return msgspec.to_builtins(told, enc_hook=str)


def _sides(record: Move | Shift | ChangePoint) -> dict[str, Any]:
    """Its series by what tells it from others, and "runs", valid Runs before and after; what is not known is null."""
    fields = {name: value if value == value else None for name, value in vars(record).items() if name != "series"}
    if isinstance(record, Shift):
        return which(record.series) | fields | {"runs": [record.earlier, record.newest]}
    return which(record.series) | fields | {"runs": [record.before, record.after]}


def _series(each: Series) -> dict[str, Any]:
    segments = [
        {"since": s.points[0].run.started, "changes": s.changes, "joined": s.joined}
        | {"median": s.median, "deviation": s.deviation, "n": s.n}
        for s in each.segments
    ]
    names = ("value", "low", "high", "n", "validity", "doubt")
    points = [
        {"file": p.file, "started": p.run.started} | {name: getattr(p.value, name) for name in names}
        for p in each.points
    ]
    return which(each) | {"known": each.known, "segments": segments, "points": points}
