"""The memories of a multiprocessor: per clock, beside the data path, and why a number is missing."""

import pytest

from bench import work
from bench.work import Work
from tests.report.runs import by_hand, gpu, measured, rounds
from tests.report.sections.conftest import drawn, findings, notes, points, said


def reads(channel="shared", per_clock=120, **more):
    """So many of the 128 bytes per clock and multiprocessor, at 1.5 GHz."""
    demand = work.stream("read", 132 * 2 * 8192, channel=channel, passes=4096)
    params = {"memory": channel, "tiles": 2, "passes": 4096}
    seconds = demand.bytes / (132 * per_clock * 1.5e9)
    return rounds("onchip", params, demand, seconds, saturates=channel, cache="hot", **more)


def test_bytes_per_clock_need_the_clock():
    run = by_hand([*reads(clock_hz=(1.5e9,)), *reads("l1", 60, clock_hz=(1.5e9,))], gpu())
    told = findings(run, "onchip")
    assert told[0].startswith("Shared memory delivers 23.8 TB/s (95 % interval 23.8–23.8 TB/s), 71.")
    assert "% of the datasheet's 33.5 TB/s" in told[0]
    assert told[2] == (
        "Per clock and multiprocessor: shared memory 120 of 128 B at 1.50 GHz and L1 60.0 of 128 B at 1.50 GHz."
    )
    assert notes(run, "onchip") == []
    figure = drawn(run, "onchip")["Bandwidth inside the multiprocessors"]
    rates, rows = points(figure, "datasheet at the clock seen")
    assert rates == pytest.approx([132 * 128 * 1.5e9] * 2)
    assert rows == ["shared memory", "L1"]
    unknown = by_hand(reads(), gpu())
    assert notes(unknown, "onchip") == ["No clock was read, so bytes per clock are not known."]
    assert "Per clock" not in said(unknown, "onchip")


def test_the_figure_holds_the_claim_and_the_interval():
    figure = drawn(by_hand(reads(), gpu()), "onchip")["Bandwidth inside the multiprocessors"]
    assert points(figure, "measured")[0] == pytest.approx([132 * 120 * 1.5e9])
    (claim,), _ = points(figure, "datasheet")
    assert claim < figure.layout.xaxis.range[1]
    assert figure.data[-1].error_x.array is not None


def test_a_memory_without_a_roof_says_why():
    lost = measured(
        "onchip", {"memory": "l1"}, Work(bytes=1.0, channel="l1"), (), skip="no such kernel", saturates="l1"
    )
    text = said(by_hand([*reads(), lost], gpu()), "onchip")
    assert "No roof for L1: no such kernel." in text
