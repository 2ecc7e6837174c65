"""A Run as one HTML file that needs nothing else: no network, no server, no second file.

>>> from bench import report, store
>>> report.write(store.read("results/h200-sxm/RUN.jsonl"), "reports/RUN.html")  # doctest: +SKIP

With your own kernels under its roofs, and its headlines beside an older Run:

>>> from bench.analysis.placed import Kernel
>>> from bench.work import Work
>>> mine = Kernel("my gemm", Work(2 * 4096**3, "tensor", "bfloat16", bytes=3 * 2 * 4096**2), seconds=210e-6)
>>> report.write(run, "reports/RUN.html", points=[mine], baseline=store.read("OLD.jsonl"))  # doctest: +SKIP
"""

from collections.abc import Sequence
from pathlib import Path

from bench.analysis.gate.verdict import Gate
from bench.analysis.placed import Kernel
from bench.schema import Run
from bench.store import whole_file


def html(run: Run, points: Sequence[Kernel] = (), baseline: Run | None = None, gate: Gate | None = None) -> str:
    """The whole page. points: kernels of yours, drawn under the roofs; baseline: an older Run to state changes from;
    gate: the verdicts on this Run.
    """
    # plotly and pandas take a second to load: only who asks for a page waits for it
    from bench.report.page import page

    return page(run, points, baseline, gate)


def write(
    run: Run,
    path: Path | str,
    points: Sequence[Kernel] = (),
    baseline: Run | None = None,
    gate: Gate | None = None,
) -> Path:
    """Writes the page and returns its path; no reader ever sees half of it. Raises RunError where it cannot."""
    return whole_file(html(run, points, baseline, gate).encode("utf-8", "replace"), path)
