"""Several Runs in one figure: every ratio at its place with its interval, each Run its own look, each roof named."""

import math

import pytest

from bench.analysis.fit import fit
from bench.analysis.quantities import EQUIVALENT
from bench.analysis.run_comparison import comparisons
from bench.analysis.several_runs import overlay
from bench.report import comparison
from bench.report.plots.runs import RunLabel, forest, rooflines
from tests.report.pairs import good, real, section, slow
from tests.report.runs import by_hand


def ratios(*runs):
    (plot,) = section("ratios", *runs).plots
    return plot.figure


def point(what="DRAM", ratio=1.0, low=0.99, high=1.01, label=1, **more):
    fields = {"label": RunLabel(label, False, "x"), "what": what, "ratio": ratio, "low": low, "high": high}
    return fields | {"headline": True, "differs": not low <= 1 <= high, "crowded": False, "hover": what} | more


def drawn(*points):
    return forest(points, [RunLabel(0, False, "x"), RunLabel(1, False, "x")], EQUIVALENT)


def test_it_holds_the_ratios():
    fig = ratios(good(), slow())
    (trace,) = fig.data
    names = list(fig.layout.yaxis.ticktext)
    places = [names[round(y)] for y in trace.y]
    at = places.index("DRAM")
    (found,) = comparisons([good(), slow()])
    memory = next(d for d in found.of("roof") if d.key == "dram")
    value, minus, plus = trace.x[at], trace.error_x.arrayminus[at], trace.error_x.array[at]
    assert (value, value - minus, value + plus) == pytest.approx((memory.ratio, *memory.interval))
    symbols = dict(zip(places, trace.marker.symbol, strict=True))
    assert symbols["DRAM"] == "square"
    assert symbols["BF16 GEMM"] == "square-open"
    band = next(shape for shape in fig.layout.shapes if shape.type == "rect")
    assert (band.x0, band.x1) == pytest.approx((1 / (1 + EQUIVALENT), 1 + EQUIVALENT))
    assert names[0] == "DRAM"


def test_every_run_has_its_place_in_a_row():
    fig = ratios(good(), slow(), good(), slow())
    heights = [next(y for y in trace.y if round(y) == 0) for trace in fig.data]
    assert heights == sorted(heights)
    assert len(set(heights)) == 3


def test_no_point_lies_outside_and_an_arrow_says_where_an_interval_ends():
    fig = drawn(point(ratio=1.0, low=0.97, high=2.9), point("L2", 0.9, 0.89, 0.91))
    low, high = fig.layout.xaxis.range
    assert all(low < x < high for trace in fig.data for x in trace.x)
    (note,) = [note for note in fig.layout.annotations if note.name == "beyond"]
    assert (note.text, note.x) == ("× 2.90 ▸", high)
    ends = [x + plus for x, plus in zip(fig.data[0].x, fig.data[0].error_x.array, strict=True)]
    assert max(ends) == pytest.approx(high)


def test_machines_far_apart_have_a_logarithmic_axis_that_holds_them():
    fig = drawn(point(ratio=40.0, low=1e-80, high=1e80), point("L2", 0.9, 0.89, 0.91))
    assert fig.layout.xaxis.type == "log"
    low, high = fig.layout.xaxis.range
    assert all(low < math.log10(x) < high for trace in fig.data for x in trace.x)
    texts = {note.text: note.x for note in fig.layout.annotations if note.name == "beyond"}
    # a bound that says nothing has no number
    assert texts == {"◂": pytest.approx(low), "▸": pytest.approx(high)}


def test_where_devices_share_a_row_only_telling_intervals_are_drawn():
    fig = drawn(point(crowded=True), point(ratio=0.9, low=0.89, high=0.91, crowded=True))
    assert list(fig.data[0].error_x.array) == pytest.approx([0.0, 0.01])


def test_markup_of_a_run_stays_text():
    fig = drawn(point("<b>x</b>"))
    assert fig.layout.yaxis.ticktext == ("&lt;b&gt;x&lt;/b&gt;",)


def test_nothing_comparable_draws_nothing():
    assert section("ratios", by_hand(), by_hand(run_id="1" * 32)).plots == ()
    assert section("ratios", good(), real()).plots != ()
    assert comparison.document([good(), good()]).every_plot


# --- rooflines over one another


def laid(*runs):
    found = overlay([next(iter(fit(run)), None) for run in runs])
    return found and rooflines(found, [RunLabel(k, run.environment.simulated, "x") for k, run in enumerate(runs)])


def test_six_runs_have_six_looks():
    fig = laid(*[good(), slow()] * 3)
    looks = [(trace.line.color, trace.line.dash, trace.marker.symbol) for trace in fig.data]
    assert len({look[0] for look in looks}) == len({look[1] for look in looks}) == len({look[2] for look in looks}) == 6
    assert fig.data[0].line.dash == "solid"
    assert [trace.meta for trace in fig.data] == [f"run {letter}" for letter in "ABCDEF"]


def test_a_line_is_bandwidth_times_intensity_up_to_its_roof():
    fig = laid(good(), slow())
    roofline = fit(slow())[0].roofline
    xs, ys = fig.data[1].x, fig.data[1].y
    first = list(xs).index(None)
    for x, y in zip(xs[:first], ys[:first], strict=True):
        assert y == pytest.approx(roofline.find("dram").rate * x, rel=1e-4)
    tallest = max(y for y in ys if y)
    assert tallest == pytest.approx(roofline.find("tensor.bfloat16.library").rate, rel=1e-4)


def test_roofs_are_named_with_the_letters_of_their_runs():
    texts = " ".join(note.text for note in laid(good(), slow()).layout.annotations)
    for part in ("A: DRAM 4.8", "B: DRAM 4.3", "A: BF16 GEMM", "B: BF16 GEMM"):
        assert part in texts
    rates = " ".join(note.text for note in laid(good(), slow(), slow()).layout.annotations)
    assert "C: 4.3" in rates


def test_a_hover_says_the_run_the_roof_and_its_interval():
    hover = laid(good(), slow()).data[1].customdata[0]
    assert hover.startswith("<b>B (simulated): x</b><br>DRAM 4.3")
    assert "95 % interval 4." in hover


def test_the_frame_holds_every_machine():
    alone, both = laid(real()), laid(real(), good())
    assert both.layout.yaxis.range[0] <= alone.layout.yaxis.range[0]
    assert both.layout.yaxis.range[1] > alone.layout.yaxis.range[1]


def test_what_is_simulated_is_said_in_the_corner_where_the_rest_is_not():
    assert [n.text for n in laid(real(), good()).layout.annotations if n.name == "simulated"] == [
        "B simulated, not measured"
    ]
    assert not [n for n in laid(good(), slow()).layout.annotations if n.name == "simulated"]


def test_without_roofs_there_is_nothing_to_draw():
    assert laid(by_hand(), by_hand()) is None
