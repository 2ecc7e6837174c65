"""A Run in its other forms: what is written comes back, stays text, stays small, and says what is missing."""

import io
import json
import shutil
import struct
from dataclasses import replace

import pandas as pd
import pytest

from bench import report, store
from bench.analysis.fit import fit
from bench.analysis.placed import Kernel
from bench.report import exports
from bench.work import Work, gemm, stream
from tests.report.runs import by_hand, cpu, measured, simulated

NASTY = "a|b `c` <img src=x onerror=alert(1)> [d](javascript:e) *f*\nnext </script>"
KERNELS = (
    Kernel("my gemm", gemm(4096, 4096, 4096, "bfloat16", "tensor"), 210e-6),
    Kernel("too | fast", Work(1e9, "vector", "float32", bytes=8e9), 1e-3),
    Kernel("fp4", Work(1e12, "tensor", "float4", bytes=8e9), 1e-3),
)


def test_csv_and_parquet_hold_every_case(h200):
    cases = fit(h200)[0].cases
    table = pd.read_csv(io.BytesIO(exports.made(h200, "csv")))
    assert len(table) == len(cases)
    sizes = pd.read_parquet(io.BytesIO(exports.made(h200, "parquet")))
    assert len(sizes) == len(cases)
    for column, wanted in (
        ("flops", [case.work.flops for case in cases]),
        ("seconds", [case.seconds.value if case.seconds else None for case in cases]),
    ):
        assert list(sizes[column].dropna()) == pytest.approx([value for value in wanted if value is not None])
        assert list(table[column].dropna()) == pytest.approx([value for value in wanted if value is not None])
    assert [json.loads(params) for params in sizes["params"]] == [dict(case.params) for case in cases]


def test_json_holds_the_fit_and_the_kernels(h200):
    found = json.loads(exports.made(h200, "json", KERNELS))
    rates = {roof["key"]: roof["rate"] for roof in found["devices"][0]["roofs"]}
    assert rates == {key: made.roof.rate for key, made in fit(h200)[0].roofs.items()}
    assert found["simulated"] is True
    assert [(each["name"], each["above_roof"]) for each in found["points"]] == [
        ("my gemm", False),
        ("too | fast", True),
        ("fp4", False),
    ]
    assert found["points"][2]["lacking"] == ["tensor.float4"]


def test_markdown_says_verdict_roofs_and_kernels(h200):
    text = exports.made(h200, "md", KERNELS).decode()
    assert text.startswith("## SIMULATED")
    assert "nothing here was measured" in text
    assert "| DRAM | 4." in text
    rows = [line for line in text.splitlines() if "fast |" in line or "too" in line]
    assert any("too \\| fast" in row and "⚠ above" in row for row in rows)
    assert "no roof for FP4 tensor" in text


def test_markdown_states_the_change_since_a_baseline(h200):
    slower = simulated("sim:h200-sxm,noise=0.002:0.007,overhead=2us,seed=5,dram=0.9", ("bandwidth", "peak"))
    text = exports.made(slower, "md", (), h200).decode()
    assert "The baseline is the Run of" in text
    assert "DRAM changed most: −" in text


def test_markdown_keeps_hostile_text_text():
    rows = [
        measured("bandwidth", {"mix": "copy", "bytes": 2**20}, stream("copy", 2**17), saturates="dram"),
        measured("peak", {"kind": NASTY}, stream("copy", 2), (), skip=NASTY, saturates="vector.float32.loop"),
    ]
    run = by_hand(rows, cpu(name=NASTY), host=NASTY, command=("python", NASTY), libraries={NASTY: NASTY}, budget=NASTY)
    text = exports.made(run, "md", [Kernel(NASTY, Work(bytes=1e9), 1.0)]).decode()
    assert "a\\|b \\`c\\` &lt;img" in text
    assert "<img" not in text
    assert "</script" not in text
    # no cell breaks out of its table, and no name ends its line
    assert "\nnext" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") in (4, 6)


def test_markdown_is_cut_at_a_line_and_says_so(h200):
    info = h200.environment.devices[0]
    many = tuple(replace(info, id=f"sim:h200-sxm:{k}") for k in range(60))
    found = tuple(replace(m, device=device.id) for device in many for m in h200.measurements if m.saturates)
    run = replace(h200, environment=replace(h200.environment, devices=many), measurements=found)
    text = exports.made(run, "md")
    assert 60_000 < len(text) <= exports.MOST_MARKDOWN
    assert text.endswith(b"*Cut here: the whole is in the HTML report.*\n")


def test_write_is_whole_and_refuses_in_one_line(h200, tmp_path):
    path = exports.write(h200, tmp_path / "new" / "run.md", "md")
    assert path.read_bytes() == exports.made(h200, "md")
    assert [p.name for p in path.parent.iterdir()] == ["run.md"]
    with pytest.raises(store.RunError, match="unknown form 'docx'; choose one of md, csv"):
        exports.write(h200, tmp_path / "run.docx", "docx")
    (tmp_path / "file").write_text("")
    with pytest.raises(store.RunError, match="cannot write"):
        exports.write(h200, tmp_path / "file" / "run.md", "md")


def test_images_without_a_browser_say_what_to_install(h200, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(exports.ExportError, match="Chrome or Chromium on the PATH") as caught:
        exports.made(h200, "png")
    assert "\n" not in str(caught.value)


def test_a_run_without_roofs_has_no_image_but_every_other_form():
    empty = by_hand()
    with pytest.raises(exports.ExportError, match="no roofline to draw"):
        exports.made(empty, "svg")
    for form in ("md", "csv", "parquet", "json"):
        assert exports.made(empty, form)


@pytest.fixture
def drawing():
    pytest.importorskip("kaleido", reason="kaleido is not installed")
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("no Chromium on the PATH")


@pytest.mark.usefixtures("drawing")
def test_images_show_the_figure_in_real_colours(h200):
    svg = exports.made(h200, "svg", KERNELS).decode()
    assert svg.startswith("<svg")
    assert "var(--" not in svg
    for word in ("DRAM", "memory-bound", "my gemm", "too | fast", "SIMULATED", "simulated h200-sxm"):
        assert word in svg
    # the memory and the compute colour of the light theme
    assert "rgb(179, 71, 0)" in svg
    assert "rgb(0, 95, 158)" in svg
    png = exports.made(h200, "png")
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (2240, 1520)


def test_the_page_takes_kernels_and_a_baseline_too(h200, tmp_path):
    path = report.write(h200, tmp_path / "page.html", points=KERNELS, baseline=h200)
    text = path.read_text(encoding="utf-8")
    assert "Your kernels" in text
    assert "it is this very Run" in text
