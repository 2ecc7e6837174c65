"""A Run for other programs: every case comes back from CSV, Parquet and JSON, and no spreadsheet runs a text."""

import io
import json
from dataclasses import replace

import pandas as pd
import pytest

from bench import report, store
from bench.analysis.fit import fit
from bench.analysis.user_kernels import UserKernel
from bench.report.document import Document, Finding, Section, Verdict
from bench.report.render import data
from bench.report.run import document
from bench.work import Work, gemm, stream
from tests.report.runs import by_hand, measured

KERNELS = (
    UserKernel("my gemm", gemm(4096, 4096, 4096, "bfloat16", "tensor"), 210e-6),
    UserKernel("too | fast", Work(1e9, "vector", "float32", bytes=8e9), 1e-3),
    UserKernel("fp4", Work(1e12, "tensor", "float4", bytes=8e9), 1e-3),
)


@pytest.fixture(scope="module")
def made(h200) -> Document:
    return document(h200, KERNELS)


def test_csv_and_parquet_hold_every_case(h200, made):
    cases = fit(h200)[0].cases
    table = pd.read_csv(io.BytesIO(report.made(made, "csv")))
    assert len(table) == len(cases)
    sizes = pd.read_parquet(io.BytesIO(report.made(made, "parquet")))
    assert len(sizes) == len(cases)
    for column, wanted in (
        ("flops", [case.work.flops for case in cases]),
        ("seconds", [case.seconds.value if case.seconds else None for case in cases]),
    ):
        assert list(sizes[column].dropna()) == pytest.approx([value for value in wanted if value is not None])
        assert list(table[column].dropna()) == pytest.approx([value for value in wanted if value is not None])
    assert [json.loads(params) for params in sizes["params"]] == [dict(case.params) for case in cases]


def test_json_holds_the_fit_and_the_kernels(h200, made):
    found = json.loads(report.made(made, "json"))
    rates = {roof["key"]: roof["rate"] for roof in found["devices"][0]["roofs"]}
    assert rates == {key: made.roof.rate for key, made in fit(h200)[0].roofs.items()}
    assert found["simulated"] is True
    assert [(each["name"], each["above_roof"]) for each in found["points"]] == [
        ("my gemm", False),
        ("too | fast", True),
        ("fp4", False),
    ]
    assert found["points"][2]["lacking"] == ["tensor.float4"]


def test_json_says_what_every_other_form_says(made):
    found = json.loads(report.made(made, "json"))
    assert found["title"] == made.title
    assert found["not_measured"] == made.absent
    assert [(each["question"], each["status"], each["text"]) for each in found["verdicts"]] == [
        (each.question, each.status, each.text) for each in made.verdicts
    ]
    assert [each["text"] for each in found["findings"]] == [each.text for each in made.findings]
    assert [(each["id"], [f["text"] for f in each["findings"]], each["notes"]) for each in found["sections"]] == [
        (each.id, [f.text for f in each.findings], list(each.notes)) for each in made.every_section
    ]
    figures = [figure for each in found["sections"] for figure in each["plots"]]
    assert [figure["says"] for figure in figures] == [plot.label for plot in made.every_plot]


def test_json_never_holds_what_is_not_json():
    """What a program reads strictly: no NaN, no infinity."""
    with pytest.raises(ValueError, match="JSON"):
        data.as_json(Document("t", "h", data={"rate": float("nan")}))
    odd = Document(
        "t",
        "h\ud800",
        verdicts=(Verdict("q", "pass", "pass"),),
        sections=(Section("s", "S", findings=(Finding("\x00"),)),),
    )
    assert json.loads(data.as_json(odd))["sections"][0]["findings"][0]["text"] == "\x00"


@pytest.mark.parametrize("evil", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "=HYPERLINK('http://x')"])
def test_csv_is_safe_to_open_in_a_spreadsheet(evil):
    rows = [measured(evil, {"mix": evil}, stream("copy", 2**17)), measured("x", {"n": 1}, stream("copy", 2**17))]
    text = report.made(document(by_hand(rows)), "csv").decode()
    assert f",'{evil}" in text or f"'{evil}," in text
    for line in text.splitlines()[1:]:
        assert not line.startswith(evil)
        assert f",{evil}" not in line
    # numbers below zero stay numbers
    assert data.csv_text(pd.DataFrame({"v": [-1.5, None]})) == 'v\n-1.5\n""\n'


def test_without_pyarrow_it_says_what_to_install(made, monkeypatch):
    def to_parquet(*_, **__):
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", to_parquet)
    with pytest.raises(store.RunError, match=r"pip install 'ridgepoint\[parquet\]'"):
        report.made(made, "parquet")


def test_a_run_without_roofs_has_every_form_but_an_image():
    rows = [measured("bandwidth", {"mix": "copy"}, stream("copy", 2**17), (), skip="no memory")]
    empty = document(by_hand(rows))
    for form in ("html", "md", "txt", "csv", "parquet", "json"):
        assert report.made(empty, form), form


def test_the_page_takes_kernels_and_a_baseline_too(h200, tmp_path):
    brief = replace(h200, measurements=tuple(m for m in h200.measurements if m.probe in ("bandwidth", "peak")))
    path = report.write(brief, tmp_path / "page.html", points=KERNELS, baseline=brief, serving=False)
    text = path.read_text(encoding="utf-8")
    assert "Your kernels" in text
    assert "it is this very Run" in text
