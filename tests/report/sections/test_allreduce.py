"""All-reduce: bus bandwidth of planted times, the tail of small arrays, and the line through all sizes."""

import pytest

from bench.work import Work
from tests.report.runs import by_hand, cpu, measured, simulated
from tests.report.sections.conftest import drawn, findings, notes, points, said, section

SIZES = tuple(2**p for p in range(10, 31, 4))


def reduction(size, seconds, algorithm="ring", ranks=4, **more):
    params = {"algorithm": algorithm, "bytes": size, "ranks": ranks}
    times = seconds if isinstance(seconds, tuple) else (seconds,) * 6
    return measured("allreduce", params, Work(bytes=1.5 * size, channel="link"), times, **more)


def ring(alpha=1e-5, beta=1e11, **more):
    """Time = α + size / β, of which the bus bandwidth is 1.5 times at four ranks."""
    return [reduction(size, alpha + size / beta, **more) for size in SIZES]


def test_bus_bandwidth_is_said_with_what_reached_it():
    told = findings(by_hand(ring(saturates="link")), "allreduce")
    assert told[0] == "4 ranks reach a bus bandwidth of 150 GB/s (ring, 1 GiB)."
    assert told[1] == "Half of that bandwidth needs arrays of 4 MiB."
    assert "No algorithm here claims a link roof." in notes(by_hand(ring()), "allreduce")
    assert "No algorithm" not in said(by_hand(ring(saturates="link")), "allreduce")


def test_of_plateaus_within_noise_the_largest_size_stands():
    rows = [reduction(2**26, 2**26 / 1.01e11), reduction(2**30, 2**30 / 1e11)]
    assert "150 GB/s (ring, 1 GiB)" in said(by_hand(rows), "allreduce")
    rows = [reduction(2**26, 2**26 / 1.1e11), reduction(2**30, 2**30 / 1e11)]
    assert "165 GB/s (ring, 64 MiB)" in said(by_hand(rows), "allreduce")


def test_the_tail_of_the_smallest_needs_a_hundred_samples():
    rows = [reduction(1024, (*((1e-5,) * 98), 5e-5, 9e-5)), *ring()[1:]]
    told = findings(by_hand(rows), "allreduce")
    assert told[1] == "1 KiB by ring takes 10.0 µs at p50, 50.4 µs at p99, 90.0 µs at worst of 100 samples."
    figure = drawn(by_hand(rows), "allreduce")["Latency of small all-reduces"]
    assert points(figure, "ring max") == ([1024], [9e-5])
    assert "p99" not in said(by_hand(ring()), "allreduce")
    assert "Latency of small all-reduces" not in drawn(by_hand(ring()), "allreduce")


def test_the_line_through_all_sizes_gives_latency_and_bandwidth():
    """A simulated ring costs its overhead and its bytes over the link: both come back."""
    run = simulated("sim:h200-sxm,gpus=4,overhead=20us", ["bandwidth", "allreduce"])
    text = said(run, "allreduce")
    assert "Line through all sizes of ring: α = 20.0 µs, β = 450 GB/s of bus bandwidth" in text
    assert "% of the datasheet's 450 GB/s" in text
    rough = [reduction(size, (1e-5 + size / 1e11) * (2 if n % 2 else 1)) for n, size in enumerate(SIZES)]
    assert "off that line: take it roughly" in said(by_hand(rough), "allreduce")
    assert "roughly" not in said(by_hand(ring()), "allreduce")


def test_every_algorithm_is_a_curve_beside_its_line():
    run = by_hand([*ring(saturates="link"), *ring(5e-6, 5e10, algorithm="tree")], cpu())
    figure = drawn(run, "allreduce")["Bus bandwidth over the size of the array"]
    assert [trace.name for trace in figure.data] == ["ring: α + size / β", "ring", "tree: α + size / β", "tree"]
    sizes, rates = points(figure, "tree")
    assert sizes == list(SIZES)
    assert rates[-1] == pytest.approx(7.5e10, rel=0.01)
    assert points(figure, "tree: α + size / β")[1] == pytest.approx(rates, rel=0.01)
    low, high = (10**end for end in figure.layout.yaxis.range)
    assert all(low < rate < high for trace in figure.data for rate in trace.y)


def test_a_missing_link_is_said():
    made = section(simulated("sim:t4,gpus=2", ["allreduce"]), "allreduce")
    assert "the datasheet states no link" in made.findings[0].text


def test_one_rank_reduces_nothing():
    assert findings(by_hand([reduction(1024, 1e-5, ranks=1)]), "allreduce") == []
