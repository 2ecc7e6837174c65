"""A Run as one HTML file that needs nothing else: no network, no server, no second file. Or in any form of render/.

>>> from bench import report, store
>>> report.write(store.read("results/h200-sxm/RUN.jsonl"), "reports/RUN.html")  # doctest: +SKIP

With your own kernels under its roofs, and its headlines beside an older Run:

>>> from bench.analysis.user_kernels import UserKernel
>>> from bench.work import Work
>>> mine = UserKernel("my gemm", Work(2 * 4096**3, "tensor", "bfloat16", bytes=3 * 2 * 4096**2), seconds=210e-6)
>>> report.write(run, "reports/RUN.html", points=[mine], baseline=store.read("OLD.jsonl"))  # doctest: +SKIP
"""

# plotly and pandas take a second to load: only who asks for a report waits for it
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.store import RunError, whole_file

if TYPE_CHECKING:
    from bench.analysis.gate.verdict import Gate
    from bench.analysis.user_kernels import UserKernel
    from bench.report.document import Document
    from bench.schema import Run


def html(run: Run, points: Sequence[UserKernel] = (), baseline: Run | None = None, gate: Gate | None = None) -> str:
    """The whole page. points: kernels of yours, drawn under the roofs; baseline: an older Run to state changes from;
    gate: the verdicts on this Run.
    """
    from bench.report.run import document

    return made(document(run, points, baseline, gate), "html").decode()


def write(
    run: Run, path: Path | str, points: Sequence[UserKernel] = (), baseline: Run | None = None,
    gate: Gate | None = None, form: str = "html", serving: bool | None = None,
) -> Path:  # fmt: skip
    """Writes a Run in a form and returns the path; no reader ever sees half of it. Raises RunError where it cannot.

    serving: whether a page about serving is written beside an HTML file; by default for GPUs.
    """
    from bench.report.run import document

    return pages(run, document(run, points, baseline, gate), path, form, serving)


def pages(run: Run, found: Document, path: Path | str, form: str = "html", serving: bool | None = None) -> Path:
    """Writes the Document of a Run, as write() does."""
    from bench.report.run import serving_page

    path = Path(path)
    serving = any(info.sms for info in run.environment.devices) if serving is None else serving
    if form == "html" and serving and (beside := serving_page(run)):
        name = f"{path.stem}-serving{path.suffix}"
        save(replace(beside, links=(("Roofline", path.name),)), path.with_name(name))
        found = replace(found, links=(*found.links, ("Serving", name)))
    return save(found, path, form)


def save(document: Document, path: Path | str, form: str = "html") -> Path:
    """Writes any Document in a form and returns the path. Raises RunError."""
    return whole_file(made(document, form), path)


def made(document: Document, form: str) -> bytes:
    """Any Document in a form. Raises RunError for one that is unknown or cannot be made here."""
    from bench.report.render import forms

    known = forms()
    if form not in known:
        raise RunError(f"unknown form {form!r}; choose one of {', '.join(known)}")
    content = known[form](document)
    return content if isinstance(content, bytes) else content.encode("utf-8", "replace")
