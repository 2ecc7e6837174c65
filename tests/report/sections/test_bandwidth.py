"""Memory bandwidth: what is said of planted copies, and what the figure holds."""

import pytest

from bench import work
from bench.schema import SUSTAINED, Cache
from tests.report.runs import by_hand, cpu, gpu, measured, rounds
from tests.report.sections.conftest import drawn, findings, notes, points, said

ROOF = 1e12


def stream(size, seconds, mix="copy", cache="cold", store="default", **more):
    params = {"mix": mix, "bytes": size, "cache": cache, "store": store}
    return rounds("bandwidth", params, work.stream(mix, size // 8), seconds, cache=cache, **more)


def copies(slowest: float = 0.5, sizes=(2**20, 2**24, 2**27, 2**30)):
    """Cold copies that come nearer to the roof as they grow; the largest is the roof."""
    found = []
    for number, size in enumerate(sizes):
        share = slowest + (1 - slowest) * number / (len(sizes) - 1)
        demand = work.stream("copy", size // 8).bytes
        claim = "dram" if size == sizes[-1] else ""
        found += stream(size, demand / (share * ROOF), saturates=claim)
    return found


def test_the_roof_is_said_with_its_interval_and_its_share_of_the_datasheet():
    run = by_hand(stream(2**30, work.stream("copy", 2**27).bytes / ROOF, saturates="dram"), gpu())
    assert findings(run, "bandwidth")[0] == (
        "DRAM delivers 1.00 TB/s (95 % interval 1.00–1.00 TB/s), 20.8 % of the datasheet's 4.80 TB/s."
    )
    assert "datasheet" not in said(by_hand(copies()), "bandwidth")


def test_what_lasting_load_leaves_follows():
    seconds = work.stream("copy", 2**27).bytes / ROOF
    burst, after = (
        stream(2**30, s, saturates="dram", regime=regime)
        for s, regime in ((seconds, "burst"), (2 * seconds, SUSTAINED))
    )
    run = by_hand([*burst, *after], gpu())
    assert findings(run, "bandwidth")[1] == "Sustained, DRAM keeps 500 GB/s, 50.0 % of its burst."
    (trace,) = drawn(run, "bandwidth")["Bandwidth over the working set"].data
    assert list(trace.y) == pytest.approx([ROOF]), "a regime is drawn once"


def test_a_lost_roof_says_why():
    lost = measured("bandwidth", {"mix": "copy"}, work.stream("copy", 8), (), skip="no memory", saturates="dram")
    assert findings(by_hand([lost]), "bandwidth") == ["No roof for DRAM: no memory."]


def test_caches_are_told_beside_dram_and_the_slowest_mix_is_the_slowest_by_its_best_setting():
    found = [
        *stream(2**30, work.stream("copy", 2**27).bytes / ROOF, saturates="dram"),
        *stream(2**30, work.stream("copy", 2**27).bytes / (0.3 * ROOF), store="slow", saturates="dram"),
        *stream(2**30, work.stream("read", 2**27).bytes / (0.8 * ROOF), "read", saturates="dram"),
        *stream(2**15, work.stream("copy", 2**12).bytes / (5 * ROOF), cache="hot", saturates="l1"),
        measured("bandwidth", {"mix": "copy", "bytes": 2**22}, work.stream("copy", 8), (), skip="none", saturates="l2"),
    ]
    run = by_hand(found, cpu(caches=(Cache("l1", 2**16), Cache("l2", 2**22))))
    text = said(run, "bandwidth")
    assert "Cached sets are faster: L1 5.00 TB/s, the innermost 5.0 times DRAM." in text
    assert "Best mix: copy; slowest: read, 80.0 % of the DRAM roof." in text
    assert "No roof for L2: none." in text


def test_the_size_from_which_on_a_copy_sees_the_roof():
    assert "stays within 10 % of the DRAM roof from 1 GiB on" in said(by_hand(copies(0.5)), "bandwidth")
    assert "from 16 MiB on" in said(by_hand(copies(0.88)), "bandwidth")
    assert "Every cold copy, from 1 MiB on, comes within 10 %" in said(by_hand(copies(0.95)), "bandwidth")
    assert "cold copy" not in said(by_hand(copies(0.5, (2**20, 2**25, 2**30))), "bandwidth"), "three are no sweep"
    text = said(by_hand(copies(1.5)), "bandwidth")
    assert "Smaller cold copies go beyond the DRAM roof, up to 150 % of it." in text
    assert "stayed in a cache" in text


def test_plain_stores_are_explained_only_where_they_are_slower():
    def stores(plain: float, size: int = 2**30) -> str:
        found = [*stream(2**30, 1e-3, store="streaming", saturates="dram"), *stream(size, plain, store="plain")]
        return said(by_hand(found, cpu(stores=("streaming", "plain"))), "bandwidth")

    assert "moves 66.7 % of one with streaming stores: a plain store first fetches" in stores(1.5e-3)
    assert "fetches" not in stores(0.9e-3)
    assert "plain stores" not in stores(1.5e-3, 2**29), "only equal copies are compared"


def test_the_overhead_of_a_launch_is_said():
    run = by_hand([*copies(), *rounds("launch", {"way": "graph"}, work.Work(), 3e-6)])
    assert "A launch costs 3.00 µs beyond its bytes" in " ".join(notes(run, "bandwidth"))


def test_every_mix_is_a_curve_and_the_axis_holds_them_all():
    tiny, plain = stream(2**12, 1.0, "read"), stream(2**27, 1e-3, store="plain")
    run = by_hand([*copies(), *tiny, *stream(2**15, 1e-9, "read", "hot"), *plain], gpu())
    figure = drawn(run, "bandwidth")["Bandwidth over the working set"]
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == ["cold copy", "cold read", "hot read", "cold copy, plain stores"]
    assert points(figure, "cold copy")[0] == [2**20, 2**24, 2**27, 2**30]
    looks = {name: (trace.line.dash, trace.marker.symbol[0], trace.mode) for name, trace in traces.items()}
    assert looks == {
        "cold copy": ("solid", "circle", "lines+markers"),
        "cold read": ("solid", "square", "markers"),
        "hot read": ("dot", "square", "markers"),
        "cold copy, plain stores": ("solid", "x", "markers"),
    }
    low, high = (10**end for end in figure.layout.yaxis.range)
    assert all(low < rate < high for trace in figure.data for rate in trace.y)
    levels = [note.text for note in figure.layout.annotations if note.name == "level label"]
    assert levels == ["DRAM 1.00 TB/s", "datasheet 4.80 TB/s"]


def test_of_several_settings_the_fastest_is_drawn_and_a_suspect_one_is_open():
    doubt = {"validity": "suspect", "reasons": ("hot",)}
    found = [*stream(2**30, 1e-3, saturates="dram", **doubt), *stream(2**30, 2e-3, store="slow")]
    (trace,) = drawn(by_hand(found), "bandwidth")["Bandwidth over the working set"].data
    assert list(trace.y) == pytest.approx([work.stream("copy", 2**27).bytes / 1e-3])
    assert trace.marker.symbol == ("circle-open",)
