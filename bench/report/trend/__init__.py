"""The history of one product as one HTML file: every headline number over time, what changed, what moved.

>>> from bench.report.trend import trend
>>> trend("results/h200-sxm")  # doctest: +SKIP
PosixPath('reports/trend-h200-sxm.html')
"""

from pathlib import Path
from typing import Any

from bench.analysis.history import History, Move, Series, history
from bench.store import whole_file


def trend(folder: Path | str, out: Path | str | None = None) -> Path:
    """Reads a folder of Runs and writes its page; as history() and write()."""
    return write(history(folder), out)


def write(found: History, out: Path | str | None = None) -> Path:
    """Writes the page, reports/trend-PRODUCT.html by default, and returns its path. Raises RunError where it cannot."""
    # plotly and pandas take a second to load: only who asks for a page waits for it
    from bench.report.trend.page import page

    path = Path(out) if out else Path("reports") / f"trend-{found.product}.html"
    return whole_file(page(found).encode("utf-8", "replace"), path, "page")


def facts(found: History) -> dict[str, Any]:
    """The history as plain values, SI base units: what --json prints."""
    return {
        "product": found.product,
        "simulated": found.simulated,
        "runs": len(found.runs),
        "left_out": dict(found.left_out),
        "warnings": list(found.warnings),
        "series": [_series(each) for each in found.series],
        "moves": [_move(move) for move in found.moves],
    }


def _move(move: Move) -> dict[str, Any]:
    # JSON has no NaN: what was not judged has no ratio
    known = move.verdict != "unknown"
    return {
        "key": move.series.key,
        "regime": move.series.regime,
        "budget": move.series.budget,
        "device": move.series.device,
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
    return {
        "key": each.key,
        "regime": each.regime,
        "budget": each.budget,
        "device": each.device,
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
