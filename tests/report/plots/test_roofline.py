"""The roofline figure: few things at first, everything by choice, each trace says what it is, nothing is cut off."""

import json
from dataclasses import replace

import pytest

from bench import work
from bench.analysis import tidy
from bench.analysis.datasheet import datasheet
from bench.analysis.fit import fit
from bench.analysis.user_kernels import UserKernel, place
from bench.measure.budget import BUDGETS
from bench.report.plots.roofline import common, roofline
from bench.report.render.html import packed
from tests.report.runs import by_hand, cpu, measured, simulated

STANDARD = replace(BUDGETS["standard"], rounds=6)
HOSTILE = "<img src=x onerror=alert(1)> %{customdata.x}"


def drawn(run, kernels=(), device=0, **more):
    """(its traces by name, its layout) as the page gets them."""
    fits = fit(run)
    chosen = fits[device]
    theory = datasheet(chosen.info)
    rows = tidy.burst(tidy.cases(chosen, theory))
    others = [other for other in fits if other is not chosen]
    figure = roofline(chosen, theory, rows, others, [place(chosen, kernel) for kernel in kernels], **more)
    plain = json.loads(figure.to_json())
    return {trace["meta"]: trace for trace in plain["data"]}, plain["layout"]


def visible(traces) -> set[str]:
    return {name for name, trace in traces.items() if trace["visible"]}


def labels(layout, name="roof name") -> list[str]:
    return [note["text"] for note in layout["annotations"] if note.get("name") == name]


@pytest.fixture(scope="module")
def h200_drawn(h200):
    return drawn(h200)


@pytest.fixture(scope="module")
def lasting():
    return simulated("sim:h200-sxm,sustained=0.88", ("bandwidth", "peak", "intensity"), STANDARD)


def test_few_points_at_first_and_the_precisions_that_lead(h200_drawn):
    traces, _ = h200_drawn
    shown = visible(traces)
    points = {name for name in shown if name.startswith("points ")}
    assert points == {"points stream float32", "points GEMM over batch bfloat16", "points attention decode bfloat16"}
    assert {"roof dram", "roof tensor.bfloat16.library", "roof vector.float32.loop", "datasheet dram"} <= shown
    assert not [name for name in shown if "float8" in name or "int8" in name or "h2d" in name]
    assert len(traces) > 2 * len(shown)


def test_a_readers_precision_is_shown_from_the_start(h200):
    kernel = UserKernel("mine", work.Work(1e12, "tensor", "float8_e4m3", bytes=1e9), 1e-3)
    assert "roof tensor.float8_e4m3.library" in visible(drawn(h200, [kernel])[0])


def test_every_trace_says_what_it_is_and_all_of_it_can_be_chosen(h200_drawn):
    traces, layout = h200_drawn
    sides = layout["meta"]["traces"]
    assert set(traces) == set(sides)
    roof = sides["roof tensor.bfloat16.library"]
    assert (roof["dtype"], roof["method"], roof["regime"]) == ("bfloat16", "library", "burst")
    assert "level" not in roof
    assert sides["datasheet dram"]["method"] == "datasheet"
    assert sides["roof h2d"]["level"] == sides["roof d2h"]["level"] == "host"
    assert sides["points attention decode bfloat16"]["probe"] == "attention decode"
    choices = {each["side"]: [c["value"] for c in each["choices"]] for each in layout["meta"]["selectors"]}
    assert list(choices) == ["dtype", "method", "level", "probe"]
    for each in sides.values():
        assert all(each.get(side, values[0]) in values for side, values in choices.items())
    assert {"measured roof", "DRAM", "BF16 tensor", "stream"} <= set(layout["meta"]["isolates"])


def test_a_kind_has_one_legend_entry(h200_drawn):
    traces, layout = h200_drawn
    entries = [layout["meta"]["traces"][name]["kind"] for name, trace in traces.items() if trace["showlegend"]]
    assert len(entries) == len(set(entries))
    assert set(entries) == {layout["meta"]["traces"][name]["kind"] for name in visible(traces)}


def test_sweeps_are_paths_of_one_shape_each_from_left_to_right(h200, h200_drawn):
    path = h200_drawn[0]["points GEMM over batch bfloat16"]
    rows = [m for m in h200.measurements if m.probe == "gemm" and m.params.get("dtype") == "bfloat16" and m.seconds]
    shapes = {tuple(m.params.get(key) for key in ("n", "k", "strided")) for m in rows}
    assert path["x"].count(None) == len(shapes) - 1 > 0
    assert path["y"].count(None) == path["x"].count(None)
    assert "lines" in path["mode"]
    parts = [[]]
    for x in path["x"]:
        parts.append([]) if x is None else parts[-1].append(x)
    assert all(part == sorted(part) for part in parts)


def test_a_hover_is_said_once_per_line_and_small(h200, h200_drawn):
    traces, _ = h200_drawn
    line = traces["roof dram"]
    assert len(line["x"]) == 3
    assert "customdata" not in line
    assert "measured<br>4." in line["hovertemplate"]
    assert "95 % interval" in line["hovertemplate"]
    assert "% of datasheet" in line["hovertemplate"]
    text = traces["points GEMM over batch bfloat16"]["text"][0]
    assert "batch 1" in text
    assert "FLOP/s at" in text
    assert "n = " in text
    assert "% of measured roof, limited by memory (DRAM)" in text
    assert "% of what is claimed" in text
    chosen = fit(h200)[0]
    rows = tidy.burst(tidy.cases(chosen, None))
    figure = roofline(chosen, datasheet(chosen.info), rows)
    assert len(packed(figure.to_json())) < 40_000


def test_a_regime_is_drawn_once_and_beside_the_other(lasting):
    chosen = fit(lasting)[0]
    rows = tidy.burst(tidy.cases(chosen, None))
    traces, layout = drawn(lasting)
    found = sum(len([x for x in trace["x"] if x]) for name, trace in traces.items() if name.startswith("points "))
    assert found == len(rows[rows["seconds"].notna() & (rows["intensity"] > 0)])
    burst, after = traces["roof tensor.bfloat16.library"], traces["sustained tensor.bfloat16.library"]
    assert after["y"][-1] == pytest.approx(0.88 * burst["y"][-1], rel=1e-4)
    assert (burst["line"]["dash"], after["line"]["dash"]) == ("solid", "dot")
    assert "88.0 % of burst" in after["hovertemplate"]
    assert traces["ridge sustained"]["x"][0] == pytest.approx(0.88 * traces["ridge roof"]["x"][0], rel=1e-4)
    assert "BF16 GEMM<br>871 TFLOP/s sustained" in labels(layout)
    regimes = next(each for each in layout["meta"]["selectors"] if each["side"] == "regime")
    assert (regimes["one"], [c["text"] for c in regimes["choices"] if c["on"]]) == (True, ["both"])


def test_without_a_sustained_regime_nothing_speaks_of_it(h200_drawn):
    assert "sustained" not in json.dumps(h200_drawn)


def test_the_ridge_is_named_with_its_interval_above_the_plot(h200, h200_drawn):
    traces, layout = h200_drawn
    (note,) = [note for note in layout["annotations"] if note.get("name") == "ridge name"]
    ridge = fit(h200)[0].headline.estimate
    assert (note["yref"], note["y"], note["yanchor"]) == ("paper", 1, "bottom")
    assert 10 ** note["x"] == pytest.approx(ridge.value, rel=1e-3)
    assert "95 % interval" in note["text"]
    assert traces["ridge roof"]["x"][0] == pytest.approx(ridge.value, rel=1e-3)
    # the headline leads, though a loop may be faster; the others are over the same memory
    assert "BF16 GEMM / DRAM" in traces["ridge roof"]["text"][0]
    assert all("/ DRAM" in text for text in traces["ridge roof"]["text"])
    left, right, _ = layout["shapes"]
    assert left["x1"] == right["x0"] == pytest.approx(ridge.value, rel=1e-3)


def test_slopes_end_at_the_highest_roof_and_plateaus_begin_at_dram(h200_drawn):
    traces, layout = h200_drawn
    rates = {each["trace"]: each["rate"] for each in layout["meta"]["roofs"]}
    slope, plateau = traces["roof dram"], traces["roof vector.float32.loop"]
    top = max(rates[name] for name in visible(traces) if name in rates and "." in name)
    assert max(slope["y"]) == pytest.approx(top, rel=1e-3)
    assert min(plateau["x"]) == pytest.approx(rates["roof vector.float32.loop"] / rates["roof dram"], rel=1e-3)


KERNELS = (
    UserKernel("near <b>", work.gemm(8192, 8192, 8192, "bfloat16", "tensor"), 1.2e-3),
    UserKernel("far", work.Work(1e9, "vector", "float32", bytes=8e9), 4e-3),
    UserKernel("too fast", work.Work(1e9, "vector", "float32", bytes=8e9), 1e-3),
    UserKernel("foreign", work.Work(1e12, "tensor", "float4", bytes=8e9), 3e-3),
    UserKernel("copy", work.Work(bytes=8e9), 2e-3),
)


def test_kernels_are_drawn_with_an_arrow_to_what_their_roof_allows(h200):
    chosen = fit(h200)[0]
    traces, _ = drawn(h200, KERNELS)
    mine = traces["points your kernels"]
    assert len(mine["x"]) == 4
    assert len(traces["above your kernels"]["x"]) == 1
    assert mine["text"][0].startswith("near &lt;b&gt;<br>× 1.")
    assert mine["text"][2] == "too fast"
    assert mine["text"][3] == "foreign"
    assert mine["marker"]["symbol"] == ["bowtie", "bowtie", "bowtie", "bowtie-open"]
    assert "41." in mine["customdata"][1]
    assert "no measured roof for FP4 tensor" in mine["customdata"][3]
    far = place(chosen, KERNELS[1])
    assert f"× {far.possible:.3g} possible" in mine["text"][1]
    # the slowest first: from the kernel up to what the roofs allow at its intensity
    arrows = traces["possible"]
    assert arrows["x"][:3] == [0.125, 0.125, None]
    assert arrows["y"][1] == pytest.approx(arrows["y"][0] / far.share, rel=1e-3)
    assert arrows["marker"]["size"] == [0, 9, 0] * 2
    assert traces["points your kernels"]["showlegend"]


@pytest.mark.parametrize(
    ("flops", "moved", "seconds", "symbol", "value"),
    [
        (1e12, 1.0, 3e-3, "triangle-right", "1e+12 FLOP/B"),
        (1e3, 1e12, 1e-9, "triangle-left", "1e-09 FLOP/B"),
        (1e6, 1e6, 1e5, "triangle-down", "10.0 FLOP/s"),
        (1e15, 1e14, 1e-9, "triangle-up", "1000000000 PFLOP/s"),
    ],
)
def test_a_kernel_beyond_the_frame_stands_at_its_edge_with_its_value(h200, flops, moved, seconds, symbol, value):
    kernel = UserKernel("out", work.Work(flops, "tensor", "bfloat16", bytes=moved), seconds)
    traces, layout = drawn(h200, [kernel])
    mine, frame = traces["points your kernels"], layout["meta"]["frame"]
    assert mine["marker"]["symbol"] == [symbol]
    assert mine["text"][0].split("<br>")[1] == value
    assert frame["left"] <= mine["x"][0] <= frame["right"]
    assert frame["bottom"] <= mine["y"][0] <= frame["top"]
    assert mine["cliponaxis"] is False
    assert "possible" not in traces


def test_the_axis_holds_a_kernel_a_little_beyond_the_machines_frame(h200):
    kernel = UserKernel("slow", work.Work(1e9, "vector", "float32", bytes=1e9), 1e9 / 2e10)
    before = drawn(h200)[1]["meta"]["frame"]
    traces, layout = drawn(h200, [kernel])
    frame = layout["meta"]["frame"]
    assert frame["bottom"] < 2e10 < before["bottom"]
    assert traces["points your kernels"]["y"] == [2e10]
    assert layout["yaxis"]["range"][0] < 10.4


def test_names_and_arrows_of_many_kernels_stay_few(h200):
    many = [UserKernel(f"k{n}", work.Work(1e9, "vector", "float32", bytes=1e8 * n), 1e-2 * n) for n in range(1, 41)]
    traces, _ = drawn(h200, many)
    assert len([text for text in traces["points your kernels"]["text"] if text]) == 12
    assert len(traces["possible"]["x"]) == 3 * 6
    assert len(traces["points your kernels"]["customdata"]) == 40


def test_points_outside_the_frame_are_counted_and_what_is_above_is_ringed(h200):
    rows = [
        replace(m, seconds=tuple(1e5 * s for s in m.seconds)) if m.probe == "bandwidth" and m.work.flops else m
        for m in h200.measurements
    ]
    _, layout = drawn(replace(h200, measurements=tuple(rows)))
    (note,) = [note for note in layout["annotations"] if note.get("name") == "outside"]
    assert note["visible"]
    assert "outside the frame" in note["text"]
    rows = [
        replace(m, seconds=tuple(s / 50 for s in m.seconds)) if m.probe == "attention" else m for m in h200.measurements
    ]
    traces, layout = drawn(replace(h200, measurements=tuple(rows)))
    ring = traces["above attention decode bfloat16"]
    assert ring["visible"]
    assert ring["marker"]["color"] == "var(--alarm)"
    assert layout["meta"]["traces"]["above attention decode bfloat16"]["kind"] == "above its roof"
    assert any("above its roof: flagged" in text for text in traces["points attention decode bfloat16"]["text"])


def test_siblings_and_a_baseline_are_thin_lines(slow_sibling):
    fits = fit(slow_sibling)
    traces, layout = drawn(slow_sibling, baseline=fits[1])
    assert {"siblings", "baseline"} <= visible(traces)
    # two roofs of each of three siblings
    assert traces["siblings"]["x"].count(None) == 6
    assert layout["meta"]["device"] == "GPU 0"


def test_doubtful_roofs_are_another_line_and_open_markers(h200):
    rows = tuple(replace(m, validity="suspect", reasons=(HOSTILE,)) for m in h200.measurements if not m.skip)
    traces, _ = drawn(replace(h200, measurements=rows))
    assert traces["roof dram"]["line"]["dash"] == "dashdot"
    assert traces["roof dram"]["name"] == "measured, doubtful"
    assert "doubtful: suspect" in traces["roof dram"]["hovertemplate"]
    assert traces["points stream float32"]["marker"]["symbol"] == "circle-open"


def test_strings_of_a_run_and_of_a_file_stay_text(h200):
    rows = [
        measured(HOSTILE, {HOSTILE: 1}, work.Work(1e9, "vector", "float32", bytes=1e9)),
        measured("bandwidth", {"mix": HOSTILE, "bytes": 2**30}, work.stream("copy", 2**27), saturates="dram"),
        measured("peak", {"kind": HOSTILE}, work.fma_loop(512, 10**6, "float32"), saturates=f"vector.{HOSTILE}.loop"),
    ]
    kernel = UserKernel(HOSTILE, work.Work(1e9, "vector", "float32", HOSTILE, 1e9, HOSTILE), 1.0)
    traces, layout = drawn(by_hand(rows, cpu()), [kernel])
    text = json.dumps([{k: v for k, v in trace.items() if k != "meta"} for trace in traces.values()])
    assert "<img" not in text
    assert "&lt;img" in text
    # what stands in a point's own text is not read again
    assert all("%{customdata.x}" not in trace.get("hovertemplate", "") for trace in traces.values())
    assert any("% {customdata.x}" in trace.get("hovertemplate", "") for trace in traces.values())
    assert "<img" not in json.dumps(layout["annotations"])


def test_names_of_roofs_stay_text():
    nasty = "<b onclick=x>"
    loop = work.Work(4e9, "vector", nasty, bytes=1e6)
    rows = [
        measured("bandwidth", {"mix": "copy", "bytes": 2**30}, work.stream("copy", 2**27), saturates=nasty),
        measured("peak", {"kind": "loop"}, loop, saturates=f"vector.{nasty}.loop"),
    ]
    traces, layout = drawn(by_hand(rows, cpu()))
    assert layout["meta"]["ridges"]
    said = [each[key] for each in layout["meta"]["ridges"] for key in ("text", "title")]
    said += [each["name"] for each in layout["meta"]["roofs"]]
    said += [note["text"] for note in layout["annotations"]]
    said += [trace.get("hovertemplate", "") for trace in traces.values()]
    assert all(nasty not in text for text in said)
    assert any(f"&lt;{nasty[1:-1]}&gt;" in text for text in said)


def test_nothing_without_a_slope_or_a_plateau():
    run = by_hand(
        [measured("bandwidth", {"mix": "copy", "bytes": 2**20}, work.stream("copy", 2**17), saturates="dram")]
    )
    chosen = fit(run)[0]
    assert roofline(chosen, None, tidy.burst(tidy.cases(chosen, None))) is None


def test_controls_of_several_devices_offer_what_any_of_them_has(h200, slow_sibling):
    def of(run):
        chosen = fit(run)[0]
        return roofline(chosen, None, tidy.burst(tidy.cases(chosen, None)))

    few, every = of(slow_sibling), of(h200)
    common(few, [every])
    found = {each["side"]: {c["value"] for c in each["choices"]} for each in few.layout.meta["selectors"]}
    for each in every.layout.meta["selectors"]:
        assert {choice["value"] for choice in each["choices"]} <= found[each["side"]]
    assert set(every.layout.meta["isolates"]) <= set(few.layout.meta["isolates"])
