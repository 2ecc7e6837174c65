"""The gate on every surface: for the terminal, for monitoring, for CI and for other programs.

>>> from bench.report import gate as surfaces
>>> surfaces.write(judged, "junit", "gate.xml")  # doctest: +SKIP

text: the terminal, and Nagios. github: an annotation and a step's outputs. page: a section of the HTML report.
"""

import json
from collections.abc import Callable
from pathlib import Path

from bench.analysis.gate.verdict import Gate
from bench.store import RunError, whole_file


def _junit(gate: Gate) -> bytes:
    from bench.report.gate.junit import junit

    return junit(gate)


def _markdown(gate: Gate) -> bytes:
    from bench.report.gate.markdown import markdown

    return markdown(gate)


def _prometheus(gate: Gate) -> bytes:
    from bench.report.gate.prometheus import prometheus

    return prometheus(gate)


def _bigger(gate: Gate) -> bytes:
    from bench.report.gate.benchmarks import bigger

    return bigger(gate)


def _smaller(gate: Gate) -> bytes:
    from bench.report.gate.benchmarks import smaller

    return smaller(gate)


def _pytest_benchmark(gate: Gate) -> bytes:
    from bench.report.gate.benchmarks import pytest_benchmark

    return pytest_benchmark(gate)


def _json(gate: Gate) -> bytes:
    from bench.report.gate.facts import facts

    return (json.dumps(facts(gate), indent=2, allow_nan=False) + "\n").encode()


# Form -> its maker; what a maker needs is loaded when it is asked for.
FORMS: dict[str, Callable[[Gate], bytes]] = {
    "junit": _junit,
    "md": _markdown,
    "prometheus": _prometheus,
    "github-benchmark": _bigger,
    "pytest-benchmark": _pytest_benchmark,
    "json": _json,
}
# Form -> a second file beside the first, by what is added to its name; not written where there is nothing for it.
_BESIDE: dict[str, tuple[str, Callable[[Gate], bytes]]] = {"github-benchmark": ("-smaller", _smaller)}


def write(gate: Gate, form: str, path: Path | str) -> tuple[Path, ...]:
    """Writes a gate in one of FORMS and returns the paths; no reader ever sees half of a file. Raises RunError."""
    if form not in FORMS:
        raise RunError(f"unknown form {form!r}; choose one of {', '.join(FORMS)}")
    path, what = Path(path), f"{form} export"
    if not path.name:
        raise RunError(f"{form} needs a file to write to: --export {form}=FILE")
    if form == "prometheus" and path.suffix != ".prom":
        raise RunError(f"{path} does not end in .prom, so that no textfile collector would read it")
    try:
        files = [(path, FORMS[form](gate))]
        if form in _BESIDE:
            ending, made = _BESIDE[form]
            files.append((path.with_name(f"{path.stem}{ending}{path.suffix}"), made(gate)))
    except ModuleNotFoundError as error:
        raise RunError(f"{form} needs {error.name}: pip install 'ridgepoint[ci]'") from None
    return tuple(whole_file(content, where, what) for where, content in files if content)
