"""A Run as one HTML file that needs nothing else: no network, no server, no second file.

>>> from bench import report, store
>>> report.write(store.read("results/h200-sxm/RUN.jsonl"), "reports/RUN.html")  # doctest: +SKIP
"""

import os
import tempfile
from pathlib import Path

from bench.schema import Run
from bench.store import RunError


def html(run: Run) -> str:
    """The whole page."""
    # plotly and pandas take a second to load: only who asks for a page waits for it
    from bench.report.page import page

    return page(run)


def write(run: Run, path: Path | str) -> Path:
    """Writes the page and returns its path; no reader ever sees half of it. Raises RunError where it cannot."""
    path = Path(path)
    text = html(run)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            # mkstemp makes it private; a report is as readable as any file that its owner makes
            mask = os.umask(0)
            os.umask(mask)
            Path(temporary).chmod(0o666 & ~mask)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RunError(
            f"cannot write the report {path}: {error.strerror or error}. Choose another path with --out."
        ) from error
    return path
