"""Latency: each level's plateau by name, in seconds and in cycles, and what lies beyond the last cache."""

import pytest

from bench.work import Work
from tests.report.runs import by_hand, gpu, measured
from tests.report.sections.conftest import drawn, findings, points, said


def chase(size, nanoseconds, **more):
    return measured("latency", {"bytes": size, "hops": 1000}, Work(), (nanoseconds * 1e-6,) * 6, cache="hot", **more)


def chases(**more):
    sizes = [2**p for p in range(12, 31)]
    return [chase(s, 20 if s <= 2**17 else 150 if s <= 2**25 else 400, **more) for s in sizes]


def test_each_plateau_is_named():
    run = by_hand(chases(), gpu())
    assert findings(run, "latency") == [
        "A dependent load takes 20.0 ns in L1, 150 ns in L2, 400 ns in DRAM.",
        "From L1 to DRAM latency grows 20.0-fold.",
    ]
    assert "cycles" not in said(run, "latency")


def test_cycles_are_counted_where_the_clock_is_known():
    text = said(by_hand(chases(clock_hz=(1.5e9,)), gpu()), "latency")
    assert "In clock cycles: L1 30, L2 225 and DRAM 600." in text


def test_a_largest_set_that_is_slower_still_is_told():
    run = by_hand([*chases(), chase(2**34, 700)], gpu())
    assert "The largest set, 16 GiB, takes 700 ns: address translation (TLB) misses too." in said(run, "latency")
    assert "TLB" not in said(by_hand([*chases(), chase(2**34, 410)], gpu()), "latency")


def test_a_plateau_needs_a_point_well_inside():
    run = by_hand([chase(1 << 16, 20), chase(1 << 17, 20)], gpu())
    assert findings(run, "latency") == ["No working set lies far enough inside a level to name its plateau."]


def test_latency_is_drawn_with_its_caches_and_plateaus():
    figure = drawn(by_hand(chases(clock_hz=(1.5e9,)), gpu()), "latency")["Latency over the working set"]
    texts = [note.text for note in figure.layout.annotations]
    assert {"L1 ≥ 64 KiB", "L2 60 MiB", "<b>L2 150 ns, 225 cycles</b>"} <= set(texts)
    assert points(figure, "one load")[1][0] == pytest.approx(20e-9)
    assert "30 cycles at 1.50 GHz" in figure.data[0].customdata[0]
    plateaus = [trace for trace in figure.data if trace.name == "plateau"]
    assert [tuple(trace.x) for trace in plateaus] == [(2**12, 2**16), (2**16, 60 << 20), (60 << 20, 2**30)]
    assert [trace.y[0] for trace in plateaus] == pytest.approx([20e-9, 150e-9, 400e-9])
    assert [bool(trace.showlegend) for trace in plateaus] == [True, False, False]
