"""A Run in a pull request: verdict, roofs and kernels, small enough for a comment, and hostile text stays text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench import report
from bench.analysis.user_kernels import UserKernel
from bench.report.document import Column, Document, Finding, Section, Tile, Verdict, table
from bench.report.render import markdown
from bench.report.run import document
from bench.work import Work, stream
from tests.report.render.test_data import KERNELS
from tests.report.runs import by_hand, cpu, measured, simulated

NASTY = "a|b `c` <img src=x onerror=alert(1)> [d](javascript:e) *f*\nnext </script>"


def said(run, kernels=(), baseline=None) -> str:
    return report.made(document(run, kernels, baseline), "md").decode()


def test_it_says_verdict_roofs_and_kernels(h200):
    text = said(h200, KERNELS)
    assert text.startswith("## SIMULATED")
    assert "nothing here was measured" in text
    assert text.index("GPU health") < text.index("Measurement") < text.index("### ")
    assert "| DRAM | **4." in text
    assert "95 % interval" in text
    rows = [line for line in text.splitlines() if line.startswith("|") and "too" in line]
    assert any("too \\| fast" in row and "!" in row for row in rows), rows
    assert "FP4" in text


def test_it_states_the_change_since_a_baseline(h200):
    slower = simulated("sim:h200-sxm,noise=0.002:0.007,overhead=2us,seed=5,dram=0.9", ("bandwidth", "peak"))
    text = said(slower, (), h200)
    assert "baseline" in text.lower()
    assert "DRAM −10 %" in text or "DRAM −9." in text


def test_hostile_text_stays_text():
    rows = [
        measured("bandwidth", {"mix": "copy", "bytes": 2**20}, stream("copy", 2**17), saturates="dram"),
        measured("peak", {"kind": NASTY}, stream("copy", 2), (), skip=NASTY, saturates="vector.float32.loop"),
    ]
    run = by_hand(rows, cpu(name=NASTY), host=NASTY, command=("python", NASTY), libraries={NASTY: NASTY}, budget=NASTY)
    text = said(run, [UserKernel(NASTY, Work(bytes=1e9), 1.0)])
    assert "a\\|b `c` &lt;img" in text
    assert "<img" not in text
    assert "</script" not in text
    # no name ends its line, and no cell breaks out of its table
    assert "\nnext" not in text
    widths = [line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")]
    heads = [line.count("|") for line in text.splitlines() if line.startswith("|--")]
    assert set(widths) == set(heads)


@given(st.text(st.sampled_from("ab|`*_[]()<>&#@~\\!-\n"), max_size=30))
def test_no_text_becomes_markup_or_another_cell(text):
    made = markdown.render(
        Document(
            "t",
            "h",
            (text,),
            verdicts=(Verdict(text, "pass", "pass", text),),
            findings=(Finding(text, "fail", text),),
            tiles=(Tile(text, text, (text,)),),
            sections=(Section("s", "S", tables=(table("t", "c", [{"a": f"x{text}", "b": "y"}], *_columns()),)),),
        )
    ).decode()
    found = {token.type for part in MarkdownIt("commonmark").parse(made) for token in (part, *(part.children or ()))}
    assert not found & {"html_block", "html_inline", "link_open", "image", "em_open"}
    row = next(line for line in made.splitlines() if line.startswith("| x"))
    assert row.replace("\\|", "").count("|") == 3


def _columns() -> tuple[Column, Column]:
    return Column("a", "a"), Column("b", "b")


def test_it_is_cut_at_a_line_and_says_so():
    long = tuple(Section(f"s{n}", f"Section {n}", findings=(Finding("µ word " * 40),)) for n in range(400))
    text = markdown.render(Document("t", "h", sections=long))
    assert 60_000 < len(text) <= markdown.MOST
    assert text.endswith(b"*Cut here: the whole is in the HTML report.*\n")
    assert text.decode().splitlines()[-3].endswith(("word", "")), "cut within a line"


@pytest.mark.parametrize("detail", [False, True])
def test_tables_of_every_case_are_for_the_page(detail):
    made = table("t", "c", [{"a": f"row {n}", "b": "y"} for n in range(9)], *_columns(), detail=detail)
    text = markdown.render(Document("t", "h", sections=(Section("s", "S", tables=(made,)),))).decode()
    assert ("row 7" in text) is not detail
