"""The roofline's section: the ridge with its interval, a figure per device, and a text for who cannot see it."""

import pytest

from bench import work
from bench.analysis.fit import fit
from bench.analysis.user_kernels import UserKernel, place
from bench.measure.budget import BUDGETS
from bench.report.sections import roofline
from tests.report.runs import by_hand, measured, simulated
from tests.report.sections.conftest import view


def test_the_ridge_is_said_with_its_interval_and_the_datasheets():
    section = roofline.section(view(simulated("sim:h200-sxm,dram=0.8", ("bandwidth", "peak"))))
    first, second = (finding.text for finding in section.findings)
    assert first == (
        "BF16 work becomes compute-bound at 258 FLOP/B (95 % interval 258–258); below it DRAM is the limit."
    )
    assert second == "By the datasheet that ridge lies at 206 FLOP/B; measured: 125 % of it."


def test_under_lasting_load_it_is_another():
    section = roofline.section(
        view(simulated("sim:h200-sxm,sustained=0.88", ("bandwidth", "peak"), BUDGETS["standard"]))
    )
    assert section.findings[1].text.startswith("Under lasting load at 181 FLOP/B (range of ")
    assert section.findings[1].text.endswith("88.0 % of burst.")
    assert all(len(finding.text.split()) <= 20 for finding in section.findings)


def test_every_other_device_is_a_variant(slow_sibling):
    seen = view(slow_sibling, 2)
    section = roofline.section(seen)
    (plot,) = section.plots
    assert section.title == "Roofline of GPU 2"
    assert plot.figure.layout.meta["device"] == "GPU 2"
    assert [name for name, _ in plot.variants] == ["GPU 0", "GPU 1", "GPU 3"]
    for name, figure in plot.variants:
        assert figure.layout.meta["device"] == name
        rates = {each["key"]: each["rate"] for each in figure.layout.meta["roofs"] if each["trace"].startswith("roof ")}
        chosen = next(each for each in fit(slow_sibling) if each.info.id.endswith(name[-1]))
        assert rates["dram"] == pytest.approx(chosen.roofline.roof("dram").rate, rel=1e-4)


def test_a_variant_has_the_readers_kernels_under_its_own_roofs(slow_sibling):
    fits = fit(slow_sibling)
    kernel = UserKernel("mine", work.Work(1e9, "vector", "float32", bytes=8e9), 4e-3)
    (plot,) = roofline.section(view(slow_sibling, kernels=(place(fits[0], kernel),))).plots
    texts = {
        figure.layout.meta["device"]: next(t for t in figure.data if t.meta == "points your kernels").text[0]
        for figure in (plot.figure, *(figure for _, figure in plot.variants))
    }
    assert texts["GPU 0"] == "mine<br>× 2.40 possible"
    assert texts["GPU 2"] == "mine<br>× 2.16 possible"


def test_who_cannot_see_it_hears_roofs_ridge_points_and_kernels(h200):
    chosen = fit(h200)[0]
    kernels = [
        UserKernel("mine", work.Work(1e9, "vector", "float32", bytes=8e9), 4e-3),
        UserKernel("foreign", work.Work(1e12, "tensor", "float4", bytes=8e9), 3e-3),
    ]
    (plot,) = roofline.section(view(h200, kernels=tuple(place(chosen, each) for each in kernels))).plots
    for text in ("DRAM 4.", "TB/s", "compute-bound at 20", "lies at 206 FLOP/B", "measured points, "):
        assert text in plot.label
    assert "mine: 41." in plot.label
    assert "of memory (DRAM), × 2." in plot.label
    assert "foreign: no roof here." in plot.label


def test_without_a_roofline_it_says_what_is_missing():
    copy = measured("bandwidth", {"mix": "copy", "bytes": 2**20}, work.stream("copy", 2**17), saturates="dram")
    loop = measured(
        "peak",
        {"kind": "loop"},
        work.fma_loop(512, 10**6, "float32"),
        (),
        saturates="vector.float32.loop",
        skip="no `cc`",
    )
    section = roofline.section(view(by_hand([copy, loop])))
    assert section.plots == ()
    assert "needs a memory roof and a compute roof" in section.findings[0].text
    assert section.findings[1].text == "FP32 vector loop is missing: no 'cc'."
    assert section.tables[0].rows[0]["key"] == "dram"
    nothing = roofline.section(view(by_hand()))
    assert (nothing.plots, nothing.tables) == ((), ())


def test_cases_without_arithmetic_are_counted(h200):
    moved = sum(1 for case in fit(h200)[0].cases if case.seconds and not case.work.flops)
    assert roofline.section(view(h200)).notes[0].startswith(f"{moved} cases without arithmetic")
