"""What fits: allocated beside predicted, and what reading all of it costs."""

import pytest

from bench.work import Work
from tests.report.runs import by_hand, measured
from tests.report.sections.conftest import drawn, findings, notes


def held(context=2048, **noted):
    params = {"model": "thin", "context": context, "mix": "read"}
    noted = {name: str(value) for name, value in noted.items()}
    return measured("capacity", params, Work(bytes=1e6), (2e-3,) * 6, notes=noted)


def test_what_was_allocated_stands_beside_what_was_predicted():
    run = by_hand([held(predicted=12, confirmed=10, stopped="memory was refused", largest=99)])
    assert findings(run, "capacity") == [
        "thin, 2,048 tokens: 10 sequences allocated, 12 predicted; reading all of them takes 20.0 ms a step."
    ]
    assert notes(run, "capacity") == [
        "thin, 2,048 tokens: memory was refused.",
        "In the share of memory that engines take, 99 sequences of 2,048 tokens would fit: predicted, not confirmed.",
    ]
    hovers = [fig.data[0].customdata[0] for fig in drawn(run, "capacity").values()]
    assert hovers == [
        "<b>really allocated</b><br>thin, 2,048 tokens<br>10",
        "<b>read</b><br>thin, 2,048 tokens<br>20.0 ms",
    ]
    bars = {title: {trace.name: list(trace.x) for trace in fig.data} for title, fig in drawn(run, "capacity").items()}
    assert bars["The largest batch"] == {"predicted": [12], "really allocated": [10]}
    assert bars["Reading all of it"] == {"read": [pytest.approx(20e-3)]}


def test_as_predicted_needs_no_reason():
    run = by_hand([held(predicted=1, confirmed=1, stopped="all that may be taken is")])
    assert "1 sequence allocated, as predicted;" in findings(run, "capacity")[0]
    assert notes(run, "capacity") == []


def test_what_was_only_predicted_is_not_called_allocated():
    run = by_hand([held(size, predicted=12, stopped="a simulated device has no memory") for size in (2048, 8192)])
    assert findings(run, "capacity")[0] == "thin, 2,048 tokens: 12 sequences predicted, none allocated."
    assert notes(run, "capacity") == ["thin, 2,048 tokens and thin, 8,192 tokens: a simulated device has no memory."]
    assert set(drawn(run, "capacity")) == {"The largest batch"}


def test_memory_beyond_the_sizes_and_before_the_run_is_told():
    sizes = {"sizes_bytes": 1000, "counted_bytes": 1100, "total_bytes": 8 << 30, "free_bytes": 6 << 30}
    told = notes(by_hand([held(predicted=9, confirmed=9, **sizes)]), "capacity")
    assert told == [
        "thin, 2,048 tokens: counted from outside, they take 1.10 times their size.",
        "2 GiB of 8 GiB were in use before.",
    ]
    sizes |= {"counted_bytes": 1010, "free_bytes": 8 << 30}
    assert notes(by_hand([held(predicted=9, confirmed=9, **sizes)]), "capacity") == []
