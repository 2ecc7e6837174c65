"""The FMA sweep: its knee per dtype beside the ridge of separate roofs; float32 is what is drawn at first."""

from dataclasses import replace

from bench import work
from tests.report.runs import by_hand, gpu, rounds
from tests.report.sections.conftest import drawn, findings, points, said

FIGURE = "Performance over arithmetic intensity"


def sweep(dtype, steps=(1, 2, 4, 8, 16, 32, 64, 128), **more):
    found = []
    for fmas in steps:
        demand = work.ladder(1 << 26, fmas, dtype)
        seconds = max(demand.bytes / 4e12, demand.flops / (64e12 if dtype == "float32" else 32e12))
        found += rounds("intensity", {"dtype": dtype, "fmas": fmas, "elements": 1 << 26} | more, demand, seconds)
    return found


def scattered(found):
    """The same repetitions, 1 % apart from one another."""
    return [replace(m, seconds=tuple(s * (1 + 0.01 * (m.repetition % 3)) for s in m.seconds)) for m in found]


def roofs(memory=4e12):
    copy, loop = work.stream("copy", 2**27), work.Work(1e12, "vector", "float32", bytes=1.0)
    return [
        *rounds("bandwidth", {"mix": "copy", "bytes": 2**30}, copy, copy.bytes / memory, saturates="dram"),
        *rounds("peak", {"kind": "loop", "dtype": "float32"}, loop, 1e12 / 64e12, saturates="vector.float32.loop"),
    ]


def test_a_knee_per_dtype_with_both_sides():
    text = said(by_hand([*sweep("float32"), *sweep("float64")], gpu()), "intensity")
    assert "The FP32 FMA sweep bends at 16.0 FLOP/B (95 % interval 16.0–16.0)." in text
    assert "Below the FP32 knee memory binds at 4.00 TB/s, above it arithmetic at 64.0 TFLOP/s; sharp corner." in text
    assert "The FP64 FMA sweep bends at 8.00 FLOP/B" in text


def test_the_knee_is_compared_with_peak_over_bandwidth():
    told = findings(by_hand([*sweep("float32"), *roofs()], gpu()), "intensity")
    assert told[1].startswith("FP32 peak over bandwidth, measured separately, is 16.0 FLOP/B:")
    bandwidth, loop = roofs()[:6], roofs()[6:]
    told = findings(by_hand([*sweep("float32"), *scattered(bandwidth), *loop], gpu()), "intensity")
    assert told[1].endswith("off, intervals overlap.")
    apart = findings(by_hand([*sweep("float32"), *roofs(3.2e12)], gpu()), "intensity")
    assert apart[1].endswith("is 20.0 FLOP/B: 20 % off, intervals do not meet.")


def test_too_few_points_give_no_knee():
    assert findings(by_hand(sweep("float32", (1, 2)), gpu()), "intensity") == [
        "No knee: it needs six points of the same repetition, of 2 points with a time."
    ]
    text = said(by_hand([*sweep("float32"), *sweep("float64", (1, 2))], gpu()), "intensity")
    assert "Too few points for a knee: FP64." in text


def test_only_float32_is_drawn_at_first_and_the_others_by_the_legend():
    run = by_hand([*sweep("float64"), *sweep("float32"), *roofs()], gpu())
    figure = drawn(run, "intensity")[FIGURE]
    shown = {trace.name: trace.visible for trace in figure.data}
    assert shown == {
        "FP32 FMA sweep": True,
        "FP32 asymptotes": True,
        "FP32 knee": True,
        "FP32 ridge: loop / DRAM": True,
        "FP64 FMA sweep": "legendonly",
        "FP64 asymptotes": "legendonly",
        "FP64 knee": "legendonly",
    }
    assert {trace.legendgroup for trace in figure.data if trace.name.startswith("FP64")} == {"float64"}
    ends, _ = points(figure, "FP32 asymptotes")
    assert ends[0] < min(points(figure, "FP32 FMA sweep")[0]) < max(points(figure, "FP32 FMA sweep")[0]) < ends[-1]
    (x,), (y,) = points(figure, "FP32 knee")
    assert (round(x, 2), round(y / 1e12, 2)) == (16, 64)
    assert [note.text for note in figure.layout.annotations] == ["<b>FP32 knee 16.0 FLOP/B</b>"]


def test_a_dtype_of_the_run_is_inert():
    found = [replace(m, params=m.params | {"dtype": "<img src=x>"}) for m in sweep("float32")]
    figure = drawn(by_hand(found, gpu()), "intensity")[FIGURE]
    assert len(figure.data) == 3
    assert "<img" not in figure.to_json().replace("\\u003c", "<")


def test_a_case_of_the_first_version_is_float32():
    bare = [{name: value for name, value in m.params.items() if name != "dtype"} for m in sweep("float32")]
    found = [replace(m, params=params) for m, params in zip(sweep("float32"), bare, strict=True)]
    assert "The FP32 FMA sweep bends at 16.0 FLOP/B" in said(by_hand(found, gpu()), "intensity")
    assert "FP32 FMA sweep" in [trace.name for trace in drawn(by_hand(found, gpu()), "intensity")[FIGURE].data]
