"""Launches: what each way of launching costs, and when a graph pays."""

import pytest

from bench.work import Work
from tests.report.runs import by_hand, gpu, rounds
from tests.report.sections.conftest import drawn, findings


def launches(graph=1e-6, **more):
    times = {"synchronous": 8e-6, "back to back": 2e-6, "graph": graph}
    return [m for way, seconds in times.items() for m in rounds("launch", {"way": way}, Work(), seconds, **more)]


def test_each_way_of_launching_says_whom_it_times():
    assert findings(by_hand(launches(), gpu()), "launch") == [
        "An empty kernel costs 8.00 µs waited for, 2.00 µs queued back to back and 1.00 µs in a graph.",
        "A graph saves 1.00 µs a launch.",
        "Without a graph, kernels shorter than 2.00 µs leave the device idle.",
    ]
    assert len(findings(by_hand(launches(1.9e-6), gpu()), "launch")) == 1, "a saving within noise is none"


def test_a_row_per_way_from_the_top_with_its_interval():
    figure = drawn(by_hand(launches(validity="suspect", reasons=("hot",)), gpu()), "launch")["Time of an empty kernel"]
    (marks,) = figure.data
    assert list(marks.x) == pytest.approx([8, 2, 1])
    assert figure.layout.yaxis.categoryarray == ("graph", "back to back", "synchronous")
    assert len(marks.error_x.array) == 3
    assert figure.layout.xaxis.range[1] == pytest.approx(10), "the axis begins at 0 and holds the slowest"
    assert list(marks.text) == ["8.00 µs", "2.00 µs", "1.00 µs"]
    assert set(marks.marker.symbol) == {"circle-open"}
