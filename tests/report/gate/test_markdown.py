"""Markdown for GitHub: small enough, complete as far as it goes, and nothing in it is more than text."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from markdown_it import MarkdownIt

from bench.report.gate.markdown import MOST, escaped, markdown, marker
from tests.report.gate.gates import (
    GATES,
    HOSTILE,
    every_word,
    fine,
    gate,
    gpus,
    hostile,
    metric,
    node,
    simulated,
    verdict,
)
from tests.report.gate.strategies import ANY_TEXT, SOME

# What the page itself writes as HTML.
OURS = re.compile(r"</?(details|summary)>")


def parsed(text: str):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, as text."""
    found, row = [], None
    for token in parsed(text):
        if token.type == "tr_open":
            row = []
        elif token.type == "inline" and row is not None:
            row.append("".join(child.content for child in token.children))
        elif token.type == "tr_close":
            found.append(row)
            row = None
    return found


def html(text: str) -> list[str]:
    """Every piece of HTML in it, but for the marker."""
    found = []
    for token in parsed(text):
        if token.type == "html_block":
            found.append(token.content)
        found += [child.content for child in token.children or () if child.type == "html_inline"]
    return [re.sub(r"\A<!-- ridgepoint:gate [a-z0-9-]* -->", "", each) for each in found]


@pytest.mark.parametrize("name", GATES)
def test_a_bot_finds_its_comment_again(name):
    made = GATES[name]()
    first = markdown(made).decode().splitlines()[0]
    assert first == marker(made)
    assert re.fullmatch(r"<!-- ridgepoint:gate [a-z0-9-]* -->", first)


def test_the_worst_rows_come_first_and_ok_ones_not_at_all():
    found = rows(markdown(every_word()).decode())
    assert [row[0].split()[-1] for row in found[1:]] == [
        "regressed",
        "missing",
        "invalid",
        "inconclusive",
        "suspicious",
        "improved",
    ]
    assert found[1] == [
        "✕ regressed",
        "memory.regressed",
        "GPU 0",
        "3.80 TB/s",
        "4.00 TB/s",
        "−5.0 %",
        "3.92 TB/s",
        "3",
    ]


def test_evidence_and_warnings_stand_below():
    text = markdown(every_word()).decode()
    assert "- **memory.regressed** regressed: the evidence of regressed. Likely cause: memory." in text
    assert "Only warning: 1 metric" in text
    assert "driver 580 → 590" in text


def test_of_eight_gpus_the_quiet_ones_have_a_line():
    text = markdown(node()).decode()
    assert "- **GPU 5**: uncorrectable memory errors while measuring" in text
    assert len(re.findall(r"^- GPU \d: .*12 ok$", text, re.M)) == 7
    assert len(rows(text)) == 3


def test_a_gate_that_is_ok_folds_its_metrics_away():
    text = markdown(fine()).decode()
    assert "OK: 3 gated metrics, all as expected." in text
    assert [row[1] for row in rows(text)[1:]] == ["memory.dram.read", "gemm.bfloat16", "launch.async"]


def test_a_simulated_gate_says_so():
    assert "> **SIMULATED**" in markdown(simulated()).decode()


@pytest.mark.parametrize("text", ["m", "&<>|`" * 80, "😀" * 200, "@#a" * 100, HOSTILE])
def test_it_never_exceeds_what_github_takes(text):
    devices = [f"cuda:{i}" for i in range(64)]
    found = [
        verdict(metric(f"{text}{i}"), "regressed", 0.9, d, why=text, cause=text) for d in devices for i in range(12)
    ]
    found += [verdict(metric(f"w{i}", gates=False), "suspicious", 0.9, why=text) for i in range(500)]
    made = gate(*found, defects=tuple((d, text) for d in devices) * 9, notes=(text,) * 500)
    about = replace(made.run.environment, devices=tuple(gpus(64)), product=text, command=(text,) * 99, suite=text)
    made = replace(made, run=replace(made.run, environment=about), references={d: f"{d}{text}" for d in devices})
    data = markdown(made)
    assert 20_000 < len(data) <= MOST
    shown = len(re.findall(r"^\| ✕ regressed", data.decode(), re.M))
    assert shown > 10
    assert f"… and {64 * 12 - shown} more, in the report." in data.decode()
    assert data.decode().count("<details>") == data.decode().count("</details>") == 1


@given(ANY_TEXT)
@SOME
def test_foreign_text_stays_text(text):
    made = markdown(hostile(text)).decode()
    assert not [each for each in html(made) if OURS.sub("", each).strip(" \n") not in ("", "Only warning: 1 metric")]
    # a bar that was not escaped would push the last cells out
    assert [row[3:] for row in rows(made)[1:]] == [["3.60 TB/s", "4.00 TB/s", "−10 %", "3.92 TB/s", "3"]]
    kinds = {child.type for token in parsed(made) for child in token.children or ()}
    assert kinds <= {"text", "strong_open", "strong_close", "softbreak", "text_special"}
    assert not {token.type for token in parsed(made)} & {"fence", "code_block", "hr"}


@given(ANY_TEXT)
@SOME
def test_nobody_is_mentioned(text):
    # as GitHub finds mentions and issues in the text that was rendered
    found = re.search(r"(?<![\w`])[@#]\w", escaped(f"x {text} @all #1"))
    assert not found


def test_escaped_text_reads_as_it_was():
    text = "a|b `c` <d> & *e* _f_ ~g~ [h](i) \\"
    shown = "".join(child.content for child in parsed(escaped(text))[1].children)
    assert shown == text
