"""The history of one product as one HTML file: every headline number over time, what changed, what moved.

>>> from bench.report.trend import trend
>>> trend("results/h200-sxm")  # doctest: +SKIP
PosixPath('reports/trend-h200-sxm.html')
"""

from pathlib import Path
from typing import Any

from bench.analysis.changes import LEAST, MOST_P, ChangePoint, ChangePoints
from bench.analysis.history import History, Move, Series, history
from bench.store import whole_file


def trend(folder: Path | str, out: Path | str | None = None) -> Path:
    """Reads a folder of Runs and writes its page; as history() and write()."""
    return write(history(folder), out)


def write(found: History, out: Path | str | None = None, changes: ChangePoints | None = None) -> Path:
    """Writes the page, reports/trend-PRODUCT.html by default, and returns its path; with marks where the level changed,
    if they were searched for. Raises RunError where it cannot.
    """
    # plotly and pandas take a second to load: only who asks for a page waits for it
    from bench.report.trend.page import page

    path = Path(out) if out else Path("reports") / f"trend-{found.product}.html"
    return whole_file(page(found, changes).encode("utf-8", "replace"), path, "page")


def facts(found: History, changes: ChangePoints | None = None) -> dict[str, Any]:
    """The history as plain values, SI base units: what --json prints."""
    return {
        "product": found.product,
        "simulated": found.simulated,
        "runs": len(found.runs),
        "left_out": dict(found.left_out),
        "warnings": list(found.warnings),
        "series": [_series(each) for each in found.series],
        "moves": [_move(move) for move in found.moves],
        "change_points": _searched(changes) if changes else None,
    }


def _searched(changes: ChangePoints) -> dict[str, Any]:
    return {
        "method": "E-divisive (Matteson & James 2014) by apache-otava: information, not the gate",
        "most_p": MOST_P,
        "least": LEAST,
        "judged": changes.judged,
        "left_out": [_which(series) | {"why": why} for series, why in changes.left_out],
        "points": [_point(each) for each in changes.points],
    }


def _point(each: ChangePoint) -> dict[str, Any]:
    return _which(each.series) | {
        "since": each.since,
        "until": each.at,
        "file": each.file,
        "run": each.run,
        "changes": [vars(change) for change in each.changes],
        "ratio": each.ratio,
        "p": each.p,
        "runs": [each.before, each.after],
        "trusted": each.trusted,
    }


def _which(series: Series) -> dict[str, Any]:
    return {"key": series.key, "regime": series.regime, "budget": series.budget, "device": series.device}


def _move(move: Move) -> dict[str, Any]:
    # JSON has no NaN: what was not judged has no ratio
    known = move.verdict != "unknown"
    return _which(move.series) | {
        "kind": move.kind,
        "verdict": move.verdict,
        "since": move.since,
        "until": move.until,
        "changes": [vars(change) for change in move.changes],
        "ratio": move.ratio if known else None,
        "low": move.low if known else None,
        "high": move.high if known else None,
        "runs": [move.before, move.after],
    }


def _series(each: Series) -> dict[str, Any]:
    return _which(each) | {
        "known": each.known,
        "segments": [
            {
                "since": segment.points[0].run.started,
                "changes": [vars(change) for change in segment.changes],
                "joined": segment.joined,
                "median": segment.median,
                "deviation": segment.deviation,
                "n": segment.n,
            }
            for segment in each.segments
        ],
        "points": [
            {
                "file": point.file,
                "started": point.run.started,
                "value": point.value.value,
                "low": point.value.low,
                "high": point.value.high,
                "n": point.value.n,
                "validity": point.value.validity,
                "doubt": point.value.doubt,
            }
            for point in each.points
        ],
    }
