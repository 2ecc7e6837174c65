"""Several Runs beside the first as one HTML file: what differs, by how much, and whether it can be believed.

>>> from bench import store
>>> from bench.report import comparison
>>> comparison.write([store.read("A.jsonl"), store.read("B.jsonl")], "reports/comparison.html")  # doctest: +SKIP
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.schema import Run
from bench.store import RunError

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
    path, text = Path(path), html(runs)
    part = path.with_name(f".{path.name[:40]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise RunError(
            f"cannot write the report {path}: {error.strerror or error}. Choose another path with --out."
        ) from error
    return path


def _counted(runs: Sequence[Run]) -> None:
    if not 2 <= len(runs) <= MOST:
        raise RunError(f"a comparison takes 2 to {MOST} Runs, the reference first, not {len(runs)}")
