"""A gate for other people's trackers: github-action-benchmark and pytest-benchmark. Bridges; neither is the gate.

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
from typing import Any

from bench.analysis.gate import trackers
from bench.report.document import Document
from bench.report.render.ci import gate_data


def bigger(document: Document) -> bytes:
    """Every rate, for the tool customBiggerIsBetter."""
    return _json(trackers.github_entries(gate_data(document), "higher"))


def smaller(document: Document) -> bytes:
    """Every time, for the tool customSmallerIsBetter; nothing without times."""
    found = trackers.github_entries(gate_data(document), "lower")
    return _json(found) if found else b""


def pytest_benchmark(document: Document) -> bytes:
    """What `pytest-benchmark compare` reads."""
    rows = document.rows.to_dict("records") if document.rows is not None else ()
    return _json(trackers.pytest_benchmark(gate_data(document), rows, _stats))


def _json(found: Any) -> bytes:
    return (json.dumps(found, indent=2, allow_nan=False) + "\n").encode()


def _stats(data: Sequence[float]) -> dict[str, Any]:
    """The statistics that pytest-benchmark keeps of its rounds, by its own code."""
    from pytest_benchmark.stats import Stats

    made = Stats()
    for seconds in data:
        made.update(seconds)
    return made.as_dict() | {"data": list(data)}


FORMS = {"github-benchmark": bigger, "github-benchmark-smaller": smaller, "pytest-benchmark": pytest_benchmark}
