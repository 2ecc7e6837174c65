"""One annotation and a step's outputs, read back as GitHub's runner reads them."""

import re

import pytest
from hypothesis import given

from bench.report.gate import words
from bench.report.gate.github import annotation, outputs
from tests.report.gate.gates import (
    GATES,
    every_word,
    fine,
    gate,
    hostile,
    metric,
    node,
    simulated,
    slow_launch,
    verdict,
)
from tests.report.gate.strategies import ANY_TEXT, SOME


def command(line: str) -> tuple[str, str, str]:
    """(level, title, message) of a workflow command, unescaped."""
    match = re.fullmatch(r"::(error|warning|notice) title=([^:,\r\n]*)::([^\r\n]*)", line)
    assert match, line
    return match[1], plain(plain(match[2], ("%3A", ":"), ("%2C", ",")), ("%25", "%")), plain(match[3], ("%25", "%"))


def plain(text: str, *pairs: tuple[str, str]) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), *pairs):
        text = text.replace(code, character)
    return text


def read(text: str) -> dict[str, str]:
    """As the runner reads $GITHUB_OUTPUT: a line's first = ends the name, << before it would begin a block."""
    found = {}
    for line in re.split(r"\r\n|\n|\r", text.removesuffix("\n")):
        name, equals, value = line.partition("=")
        assert equals
        assert "<<" not in name
        assert name not in found
        found[name] = value
    return found


@pytest.mark.parametrize(
    ("made", "code", "level"),
    [
        (fine(), 0, "notice"),
        (gate(verdict(metric(), "improved", 1.1)), 0, "notice"),
        (gate(verdict(metric(), "suspicious", 0.97)), 0, "warning"),
        (gate(verdict(metric(), "suspicious", 0.97)), 3, "error"),
        (every_word(), 1, "error"),
        (gate(), 3, "error"),
        (node(), 0, "warning"),
    ],
)
def test_the_level_is_what_the_step_does(made, code, level):
    assert command(annotation(made, code))[0] == level


def test_it_names_the_word_the_product_and_the_worst():
    _, title, message = command(annotation(every_word(), 1))
    assert title == "GPU gate regressed (h200-sxm-x1)"
    lines = message.splitlines()
    assert lines[0].startswith("REGRESSED: 1 regressed, 1 missing")
    assert lines[1].startswith("regressed memory.regressed, 3.80 TB/s: the evidence of regressed.")
    assert lines[-1] == "and 1 more"
    assert command(annotation(simulated(), 0))[1].startswith("SIMULATED")


@pytest.mark.parametrize("name", GATES)
def test_one_command_for_every_gate(name):
    command(annotation(GATES[name](), 1))


@given(ANY_TEXT)
@SOME
def test_no_text_starts_a_command_of_its_own(text):
    line = annotation(hostile(text), 1)
    line.encode()
    assert len(re.split(r"[\r\n]", line)) == 1
    level, title, message = command(line)
    assert level == "error"
    assert title == f"GPU gate regressed ({words.line(text, 80)})"
    assert words.line(text) in message.splitlines()[1]


def test_outputs():
    assert read(outputs(every_word(), "reports/my run.html")) == {
        "verdict": "regressed",
        "report": "reports/my run.html",
        "run": "test.jsonl",
        "worst_delta_pct": "-5.00",
        "slow": "cuda:0",
    }
    assert read(outputs(slow_launch(), ""))["worst_delta_pct"] == "-25.00"
    assert read(outputs(gate(), ""))["worst_delta_pct"] == ""
    assert read(outputs(node(), ""))["slow"] == "cuda:5,cuda:3"


@given(ANY_TEXT)
@SOME
def test_no_text_starts_another_output(text):
    found = outputs(hostile(text), f"{text}\nverdict=ok\r\nslow<<EOF")
    found.encode()
    assert list(read(found)) == ["verdict", "report", "run", "worst_delta_pct", "slow"]
    assert read(found)["verdict"] == "regressed"


def test_spaces_of_a_path_are_kept():
    assert read(outputs(fine(), "a  b/ç.html"))["report"] == "a  b/ç.html"
