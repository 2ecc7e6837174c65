"""Several Runs beside the first as one HTML file: what differs, by how much, and whether it can be believed.

>>> from bench import store
>>> from bench.report import comparison
>>> comparison.write([store.read("A.jsonl"), store.read("B.jsonl")], "reports/comparison.html")  # doctest: +SKIP
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.schema import Run
from bench.store import RunError, whole_file

# Each Run has a colour, a dash and a marker; more than these cannot be told apart in one frame.
MOST = 6


def html(runs: Sequence[Run]) -> str:
    """The whole page; the first Run is the reference. Raises RunError for too few or too many Runs."""
    _counted(runs)
    from bench.report.comparison.page import page

    return page(runs)


def facts(runs: Sequence[Run]) -> dict[str, Any]:
    """The same as plain values, SI base units, for JSON. Raises RunError as html does."""
    _counted(runs)
    from bench.analysis.difference import differences
    from bench.report.comparison.plain import plain

    return plain(runs, differences(runs))


def write(runs: Sequence[Run], path: Path | str) -> Path:
    """Writes the page and returns its path; no reader ever sees half of it. Raises RunError where it cannot."""
    return whole_file(html(runs).encode("utf-8", "replace"), path)


def _counted(runs: Sequence[Run]) -> None:
    if not 2 <= len(runs) <= MOST:
        raise RunError(f"a comparison takes 2 to {MOST} Runs, the reference first, not {len(runs)}")
