"""A Document in the terminal: short at first, whole on request, and nothing that a terminal would obey."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bench.report.document import Column, Document, Finding, Section, Tile, Verdict, table
from bench.report.render import terminal

_SHARE = Column("%", "share", lambda v: f"{100 * v:.0f}", mark="mark")
ROWS = table("t", "Roofs", [{"roof": "DRAM", "share": 0.9, "mark": "fail"}], Column("roof", "roof"), _SHARE)
MADE = Document(
    "T", "8 × H200", ("host", "a day"),
    verdicts=(Verdict("GPU health", "fail", "fail", "GPU 3"), Verdict("Measurement", "pass", "valid", "9 of 9 valid.")),
    findings=(Finding("DRAM −9.6 %.", "fail", "run `nvidia-smi -q`"),),
    tiles=(Tile("DRAM", "4.33 TB/s", ("90 % of datasheet", "95 % interval 4.3–4.4")),),
    matrix=ROWS,
    sections=(Section("s", "Memory", findings=(Finding("Deep inside."),), tables=(ROWS,), notes=("A note.",)),),
    absent="latency (no datasheet states it)",
)  # fmt: skip


def shown(document: Document, full: bool = False, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(terminal.text(document, full))
    return out.getvalue()


def test_the_first_screen_answers_and_full_says_the_rest():
    text = shown(MADE)
    assert text.index("✕ FAIL  GPU health: GPU 3") < text.index("DRAM −9.6 %.") < text.index("Next: run nvidia-smi -q")
    assert text.index("Next:") < text.index("✓ VALID  Measurement: 9 of 9 valid.") < text.index("4.33 TB/s")
    assert "Not measured: latency" in text
    assert "Deep inside." not in text
    whole = shown(MADE, full=True)
    assert "Deep inside." in whole
    assert "A note." in whole


def test_every_case_of_a_probe_is_for_the_page():
    cases = replace(ROWS, caption="Every case", detail=True)
    made = replace(MADE, matrix=None, sections=(replace(MADE.sections[0], tables=(ROWS, cases)),))
    assert "Roofs" in shown(made, full=True)
    assert "Every case" not in shown(made, full=True)


def test_doubtful_cells_are_marked_by_more_than_colour():
    assert "90 ✕" in shown(MADE)


@pytest.mark.parametrize("width", [80, 140])
def test_no_line_is_wider_than_the_terminal(width):
    long = Document("T", "h", findings=(Finding("word " * 60, "warn", "do " * 60),))
    assert max(map(len, shown(long, width=width).splitlines())) <= width


@pytest.mark.parametrize(("width", "end"), [(60, "it was measured"), (38, " ured")])
def test_short_cells_stay_whole_where_words_are_wrapped(width, end):
    why = "hardware thermal slowdown for all of the time that it was measured"
    rows = [{"GPU": f"GPU {n}", "rate": "123.46 TFLOP/s", "state": "assumed", "why": why} for n in range(3)]
    columns = (Column("GPU"), Column("BF16 GEMM, sustained", "rate"), Column("state"), Column("why"))
    text = shown(replace(MADE, matrix=table("t", "Every GPU", rows, *columns)), width=width)
    for row in rows:
        for cell in ("GPU", "rate", "state"):
            assert row[cell] in text
    assert max(map(len, text.splitlines())) <= width
    assert end in text, "nothing is cut off, only the long cell is broken"


def test_control_characters_do_not_reach_the_terminal():
    evil = "\x1b]0;owned\x07\x1b[31mred"
    made = Document("T", evil, (evil,), findings=(Finding(evil, "fail", evil),), absent=evil,
                    verdicts=(Verdict(evil, "fail", evil, evil),), tiles=(Tile(evil, evil, (evil,)),),
                    matrix=table("t", evil, [{"a": evil}], Column(evil, "a")))  # fmt: skip
    assert "\x1b" not in shown(made, full=True)
    assert "\x07" not in terminal.render(made)


def test_simulated_is_the_first_word():
    assert shown(Document("T", "h", simulated=True)).startswith("SIMULATED")
