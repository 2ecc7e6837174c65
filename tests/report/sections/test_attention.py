"""What the attention section says of planted times, roofs and backends, and that its axes hold all of them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import work
from tests.report.runs import by_hand, gpu, measured, rounds
from tests.report.sections.conftest import drawn, points, said, section, view

DRAM = rounds("bandwidth", {"mix": "read", "bytes": 2**30}, work.Work(bytes=1e10), 1.0, saturates="dram")
PRODUCT = work.gemm(1000, 1000, 1000, "bfloat16", "tensor")
GEMM = rounds("peak", {"kind": "gemm", "dtype": "bfloat16"}, PRODUCT, 2e-3, saturates="tensor.bfloat16.library")


def attend(backend, keys, seconds, phase="decode", layout="", batch=0, **more):
    decode = phase == "decode"
    params = {"phase": phase, "layout": layout or ("gqa" if decode else "mha"), "dtype": "bfloat16"}
    params |= {"batch": batch or (8 if decode else 1), "queries": 1 if decode else keys, "keys": keys}
    params |= {"causal": more.pop("causal", not decode), "backend": backend}
    demand = work.attention(params["batch"], 32, 8, params["queries"], keys, 128, "bfloat16", "tensor")
    return measured("attention", params, demand, (seconds,) * 6 if seconds else (), **more)


def attained(backend, keys, share, phase="decode", **more):
    """A case at that share of the roof of its phase: 10 GB/s of DRAM, 1 TFLOP/s of BF16 GEMM."""
    demand = attend(backend, keys, 1.0, phase, **more).work
    ideal = demand.bytes / 1e10 if phase == "decode" else demand.flops / 1e12
    return attend(backend, keys, ideal / share, phase, **more)


def run(*cases):
    return by_hand([*DRAM, *GEMM, *cases], gpu())


def backends():
    return [
        *(attend("default", keys, 2e-3, notes={"backend": "flash"}) for keys in (1024, 2048, 4096)),
        *(attend("flash", keys, 2e-3) for keys in (1024, 2048, 4096)),
        *(attend("cudnn", keys, seconds) for keys, seconds in ((1024, 1e-3), (2048, 1e-3), (4096, 4e-3))),
        attend("efficient", 1024, 0, skip="SDPA's efficient backend refuses: enable_gqa"),
    ]


def test_each_phase_has_its_best_share_of_its_own_roof():
    cases = [attained("default", 1024, 0.5), attained("default", 4096, 0.75)]
    text = said(run(*cases, attained("default", 2048, 0.25, "prefill")), "attention")
    assert "Decode moves at most 7.50 GB/s, 75.0 % of the DRAM roof (GQA, batch 8, KV 4,096)." in text
    assert "Prefill computes at most 250 GFLOP/s, 25.0 % of the BF16 GEMM roof (causal, prompt 2,048)." in text
    assert "No prefill" not in text
    assert "No prefill was measured." in said(run(*cases), "attention")


def test_without_a_roof_no_percentage_is_invented():
    bare = by_hand([attend("default", 1024, 1e-3)], gpu())
    text = said(bare, "attention")
    assert "Decode moves at most" in text
    assert "%" not in text
    assert not drawn(bare, "attention")


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ((0.5, 0.7, 0.9), "from KV 512 on"),
        ((0.9, 0.9, 0.9), "at every length"),
        ((0.9, 0.9, 0.7), "from no length on; best 90.0 %"),
        ((0.9, 0.7, 0.85), "from KV 512 on"),
    ],
)
def test_from_which_length_on_decode_stays_near_its_roof(shares, words):
    found = [attained("default", keys, share, batch=1) for keys, share in zip((128, 256, 512), shares, strict=True)]
    # a larger batch of the same layout says nothing of it
    found.append(attained("default", 1024, 0.1))
    assert f"GQA, batch 1: above 80 % of the DRAM roof {words}." in said(run(*found), "attention")


def test_backends_are_ranked_by_length_and_refusals_told():
    text = said(run(*backends()), "attention")
    assert "Fastest for decode (GQA, batch 8): cudnn at 1,024–2,048 and flash at 4,096." in text
    assert "torch's own choice takes up to 2.00 times as long as cudnn (decode, KV 2,048)" in text
    assert "Left alone, torch chose flash in 3 cases." in text
    assert "Decode, 1 case: SDPA's efficient backend refuses: enable_gqa." in text


def test_backends_within_noise_are_one():
    alike = [attend(name, 1024, seconds) for name, seconds in (("default", 1e-3), ("flash", 1e-3), ("cudnn", 1.02e-3))]
    text = said(run(*alike), "attention")
    assert "No backend is clearly faster than another for decode (GQA, batch 8)." in text
    assert "own choice" not in text


def test_neighbouring_lengths_share_what_is_fastest_at_all_of_them():
    times = {("cudnn", 1024): 1.01e-3, ("flash", 1024): 1e-3, ("cudnn", 2048): 3e-3, ("flash", 2048): 2e-3}
    found = [attend("default", 1024, 1e-3), *(attend(name, keys, seconds) for (name, keys), seconds in times.items())]
    assert "Fastest for decode (GQA, batch 8): flash at 1,024–2,048." in said(run(*found), "attention")


def test_fusion_is_told_at_the_same_shape():
    both = [attend(name, 4096, seconds, "prefill", causal=False) for name, seconds in (("default", 1), ("unfused", 5))]
    text = said(run(*both, attend("default", 2048, 9.0, "prefill", causal=False)), "attention")
    assert "Unfused, with its scores in memory, prefill of 4,096 takes 5.00 times as long." in text
    # the unfused case is no point of torch's choice
    assert points(drawn(run(*both), "attention")["Prefill"], "full")[0] == [4096]
    assert "Unfused" not in said(run(both[1]), "attention")


def test_curves_of_torchs_choice_leave_named_backends_out():
    figures = drawn(run(*backends()), "attention")
    (curve,) = figures["Decode"].data
    assert list(curve.x) == [1024, 2048, 4096]
    assert [trace.name for trace in figures["Decode by backend"].data] == ["torch's choice", "flash", "cudnn"]
    assert set(figures) == {"Decode", "Decode by backend"}


def test_a_curve_per_layout_and_batch_and_per_mask():
    cases = [attained("default", 256, 0.5, layout=layout, batch=batch) for layout in ("mha", "gqa") for batch in (1, 8)]
    cases += [attained("default", 256, 0.5, "prefill", causal=causal) for causal in (True, False)]
    figures = drawn(run(*cases), "attention")
    assert [trace.name for trace in figures["Decode"].data] == [
        *("MHA, batch 1", "MHA, batch 8", "GQA, batch 1", "GQA, batch 8"),
    ]
    assert [trace.name for trace in figures["Prefill"].data] == ["causal", "full"]
    assert points(figures["Decode"], "MHA, batch 1") == ([256], pytest.approx([50]))
    assert figures["Prefill"].layout.yaxis.title.text == "Percent of measured BF16 GEMM roof"


@settings(max_examples=25)
@given(st.lists(st.floats(0.01, 40), min_size=1, max_size=4), st.sampled_from(("decode", "prefill")))
def test_the_percent_axis_holds_every_point(shares, phase):
    """It once stopped at 200 %, with prefill at 461 %."""
    cases = [attained("default", 2 ** (8 + place), share, phase) for place, share in enumerate(shares)]
    cases += [attained("flash", 2 ** (8 + place), share / 2, phase) for place, share in enumerate(shares)]
    figures = drawn(run(*cases), "attention")
    assert len(figures) == 2
    for figure in figures.values():
        low, high = figure.layout.yaxis.range
        assert all(low <= y <= high for trace in figure.data for y in trace.y)
    (curve,) = figures[phase.capitalize()].data
    assert list(curve.y) == pytest.approx([100 * share for share in shares])


def test_an_old_case_is_torchs_choice():
    old = attend("default", 1024, 1e-3)
    old = measured("attention", {key: v for key, v in old.params.items() if key != "backend"}, old.work)
    assert "Decode moves at most" in said(run(old), "attention")
    assert len(drawn(run(old), "attention")["Decode"].data[0].x) == 1


def test_a_full_run_says_both_phases(h200):
    found = section(h200, "attention")
    assert found.group == "Attention"
    assert found.findings[0].text.startswith("Decode moves at most")
    assert "% of the DRAM roof" in found.findings[0].text
    assert found.findings[1].text.startswith("Prefill computes at most")
    assert any("of the DRAM roof from KV" in note or "at every length" in note for note in found.notes)
    assert len(found.plots) == len({plot.id for plot in found.plots}) >= 2
    assert view(h200).rows["probe"].eq("attention").any()
