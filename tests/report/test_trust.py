"""How far to trust the numbers: the checks of a Run on its page, in a comment, and in the terminal."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bench.report import exports, html
from bench.report.checks import checks_table, counts, sentences
from bench.report.text import run_table
from bench.report.trust import TITLE, trust
from bench.schema import FAIL, NOT_AVAILABLE, PASS, Check
from tests.report.runs import by_hand, through_file

NASTY = "stream.copy <img src=x onerror=alert(1)> is off"


def check(name: str, state: str, **more: str) -> Check:
    return Check(name=name, device="cpu", proves="Copies copy.", expected="1 ± 0.1", state=state, **more)


GOOD = check("time.linear_copy", PASS, value="1.002 (0.99–1.01, n=12)")
BAD = check("kernels.twins", FAIL, value="stream.copy at n=2048", reason=NASTY, fix="trust no copy")
ABSENT = check("clock.stamps", NOT_AVAILABLE, reason="no GPU here")


@pytest.fixture
def run():
    return through_file(replace(by_hand(), checks=(GOOD, BAD, ABSENT)))


def shown(what, width=100) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return out.getvalue()


def test_the_page_says_how_far_to_trust_it(run):
    page = html(run)
    assert f'<h2 id="trust-h">{TITLE}</h2>' in page
    assert '<a href="#trust">Trust</a>' in page
    assert "1.002 (0.99–1.01, n=12)" in page
    assert "Trust no copy." in page
    assert "<img src=x" not in page


def test_a_run_that_tried_nothing_has_no_such_section():
    assert trust(by_hand()) is None
    assert TITLE not in html(by_hand())
    assert TITLE.encode() not in exports.made(by_hand(), "md")


def test_the_section_has_a_row_for_each_check(run):
    section = trust(run)
    assert [row[0].text for row in section.table.rows] == ["time.linear_copy", "kernels.twins", "clock.stamps"]
    assert [row[1].mark for row in section.table.rows] == ["", "invalid", ""]
    assert all(len(row) == len(section.table.columns) for row in section.table.rows)


def test_several_devices_are_told_apart(run):
    both = replace(run, checks=(*run.checks, replace(BAD, device="cuda:1")))
    section = trust(both)
    assert [row[1].text for row in section.table.rows] == ["cpu", "cpu", "cpu", "cuda:1"]
    assert "kernels.twins on cuda:1 failed" in section.paragraph


def test_a_comment_and_the_terminal_say_what_failed(run):
    assert f"**{TITLE}.**" in exports.made(run, "md").decode().replace("\\", "")
    assert "kernels.twins failed" in shown(run_table(run, []))
    assert "kernels.twins failed" not in shown(run_table(replace(run, checks=(GOOD,)), []))


def test_counts_and_sentences():
    assert counts([GOOD, BAD, ABSENT, GOOD]) == "2 passed, 1 failed, 1 not available"
    assert counts([]) == "nothing was tried"
    assert sentences([]) == []
    assert len(sentences([GOOD])) == 1
    assert "nothing for them" in sentences([GOOD, ABSENT])[-1]


@pytest.mark.parametrize("width", [80, 140])
def test_a_reason_that_several_share_is_said_once(width):
    said = shown(checks_table([GOOD, ABSENT, replace(ABSENT, name="clock.timer"), BAD]), width)
    assert said.count("no GPU here") == 1
    assert "clock.stamps, clock.timer" in said
    assert "→ trust no copy" in said
    assert max(map(len, said.splitlines())) <= width
