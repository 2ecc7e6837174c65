"""How far to trust the numbers: the checks of a Run on its page, in a comment, and in the terminal."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bench import report, work
from bench.report.document import Document, Section
from bench.report.render import terminal
from bench.report.run import document
from bench.report.sections import checks
from bench.schema import FAIL, NOT_AVAILABLE, PASS, Check
from tests.report.runs import by_hand, measured, through_file
from tests.report.sections.conftest import view

TITLE = "How far to trust these numbers"
NASTY = "stream.copy <img src=x onerror=alert(1)> is off"


def check(name: str, state: str, **more: str) -> Check:
    return Check(name=name, device="cpu", proves="Copies copy.", expected="1 ± 0.1", state=state, **more)


GOOD = check("time.linear_copy", PASS, value="1.002 (0.99–1.01, n=12)")
BAD = check("kernels.twins", FAIL, value="stream.copy at n=2048", reason=NASTY, fix="trust no copy")
ABSENT = check("clock.stamps", NOT_AVAILABLE, reason="no GPU here")


@pytest.fixture(scope="module")
def run():
    row = measured("bandwidth", {"mix": "copy", "bytes": 2**20}, work.stream("copy", 2**17), saturates="dram")
    return through_file(replace(by_hand([row]), checks=(GOOD, BAD, ABSENT)))


def section(run) -> Section:
    return checks.section(view(run))


def text_of(made: Document, width=100) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(terminal.text(made))
    return out.getvalue()


def test_the_page_says_how_far_to_trust_it(run):
    page = report.html(run)
    assert f'<h3 id="checks-h">{TITLE}</h3>' in page
    assert "1.002 (0.99–1.01, n=12)" in page
    assert "trust no copy" in page
    assert "<img src=x" not in page


def test_a_run_that_tried_nothing_has_no_such_section(run):
    bare = replace(run, checks=())
    assert section(bare) is None
    assert TITLE not in report.html(bare)
    assert TITLE.encode() not in report.made(document(bare), "md")


def test_the_section_has_a_row_for_each_check(run):
    cells = section(run).tables[0].cells
    assert [row[0].text for row in cells] == ["time.linear_copy", "kernels.twins", "clock.stamps"]
    assert [row[1].text for row in cells] == [PASS, FAIL, NOT_AVAILABLE]
    assert [row[1].mark for row in cells] == ["", "fail", "skip"]
    assert cells[1][2].text == f"stream.copy at n=2048: {NASTY}"


def test_several_devices_are_told_apart(run):
    both = replace(run, checks=(*run.checks, replace(BAD, device="cuda:1")))
    made = section(both)
    assert [row[1].text for row in made.tables[0].cells] == ["cpu", "cpu", "cpu", "cuda:1"]
    assert any("kernels.twins on cuda:1 failed" in each.text for each in made.findings)


def test_the_first_screen_says_what_failed_and_its_fix(run):
    made = document(run)
    said = next(each for each in made.findings if "kernels.twins failed" in each.text)
    assert (said.status, said.next_step) == ("fail", "trust no copy")
    assert "kernels.twins failed" in text_of(made)
    assert TITLE in report.made(made, "md").decode()
    assert "kernels.twins failed" not in text_of(document(replace(run, checks=(GOOD,))))


def test_more_failures_than_fit_are_in_small_print(run):
    many = tuple(replace(BAD, name=f"check.{n}") for n in range(5))
    made = section(replace(run, checks=many))
    assert len(made.findings) == 3
    assert made.findings[0].status == "fail"
    told = " ".join([*(each.text for each in made.findings), *made.notes])
    assert all(f"check.{n} failed" in told for n in range(5))


def test_counts_and_sentences(run):
    assert checks.counts([GOOD, BAD, ABSENT, GOOD]) == "2 passed, 1 failed, 1 not available"
    assert checks.counts([]) == "nothing was tried"
    assert list(checks.absent([GOOD])) == []
    assert list(checks.absent([GOOD, ABSENT])) == ["Not available: no GPU here: clock.stamps."]
    assert list(checks.absent([ABSENT, ABSENT])) == ["Not available: no GPU here: all of them."]


def test_noise_is_one_reason_whatever_its_numbers():
    noisy = [replace(ABSENT, name=f"c{n}", reason=f"too noisy: {n} %") for n in (3, 4)]
    assert list(checks.absent([GOOD, *noisy])) == ["Not available: too noisy: c3, c4."]
    assert list(checks.absent([GOOD, noisy[0]])) == ["Not available: too noisy: 3 %: c3."]


def test_a_reason_that_several_share_is_said_once():
    said = " ".join(checks.absent([GOOD, ABSENT, replace(ABSENT, name="clock.timer"), BAD]))
    assert said.count("no GPU here") == 1
    assert "clock.stamps, clock.timer" in said
    shown = [row[0].text for row in checks.check_table([GOOD, ABSENT, BAD], whole=False).cells]
    assert shown == ["time.linear_copy", "kernels.twins"]
