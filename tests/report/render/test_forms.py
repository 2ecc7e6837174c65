"""A new form is one new file in render/, and every form says the same findings."""

import sys
from dataclasses import replace

import pytest

from bench import report, store
from bench.report import render
from bench.report.document import Document, Finding, Verdict

PLAIN = Document("A title", "A machine", verdicts=(Verdict("GPU health", "fail", "fail", "GPU 3."),),
                 findings=(Finding("GPU 3: DRAM −9.6 %.", "fail", "repeat: `python -m bench run`"),))  # fmt: skip


def test_every_form_is_found():
    assert {"html", "md", "txt", "json", "csv", "parquet", "png", "svg", "junit", "prometheus"} <= set(render.forms())


def test_a_new_form_is_one_new_file(tmp_path, monkeypatch):
    (tmp_path / "shout.py").write_text('FORMS = {"loud": lambda document: document.heading.upper()}\n')
    monkeypatch.setattr(render, "__path__", [*render.__path__, str(tmp_path)])
    assert report.made(PLAIN, "loud") == b"A MACHINE"
    sys.modules.pop("bench.report.render.shout")


def test_an_unknown_form_is_refused_in_one_line():
    with pytest.raises(store.RunError, match=r"unknown form 'docx'; choose one of .*html") as caught:
        report.made(PLAIN, "docx")
    assert "\n" not in str(caught.value)


def test_writing_is_whole_or_nothing(tmp_path):
    path = report.save(PLAIN, tmp_path / "new" / "report.md", "md")
    assert path.read_bytes() == report.made(PLAIN, "md")
    assert [p.name for p in path.parent.iterdir()] == ["report.md"]
    (tmp_path / "file").write_text("")
    with pytest.raises(store.RunError, match="cannot write") as caught:
        report.save(PLAIN, tmp_path / "file" / "report.md", "md")
    assert "\n" not in str(caught.value)


def test_a_document_without_a_flat_table_has_no_csv():
    for form in ("csv", "parquet"):
        with pytest.raises(store.RunError, match="no flat table"):
            report.made(PLAIN, form)


def test_a_document_without_a_figure_has_no_image():
    with pytest.raises(store.RunError, match="no roofline to draw"):
        report.made(PLAIN, "svg")


@pytest.mark.parametrize("form", ["html", "md", "txt", "json"])
def test_every_form_says_verdict_finding_and_next_step(form):
    text = report.made(PLAIN, form).decode()
    for said in ("FAIL", "GPU health", "GPU 3.", "DRAM −9.6 %", "python -m bench run"):
        assert said in text or said.lower() in text, said
    silent = report.made(replace(PLAIN, findings=(), verdicts=()), form).decode()
    assert "DRAM" not in silent
