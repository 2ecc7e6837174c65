"""One annotation and a step's outputs, read back as GitHub's runner reads them; and one parsable line for Nagios."""

import re

import pytest
from hypothesis import given

from bench.analysis.gate.facts import line, nagios_code
from bench.report.gate import document, to_json
from bench.report.render import ci
from tests.report.gates import (
    ANY_TEXT,
    GATES,
    SOME,
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


def annotation(made, code: int) -> str:
    return ci.annotation(document(made), code)


def outputs(made, report: str) -> str:
    return ci.outputs(document(made), report)


def command(said: str) -> tuple[str, str, str]:
    """(level, title, message) of a workflow command, unescaped."""
    match = re.fullmatch(r"::(error|warning|notice) title=([^:,\r\n]*)::([^\r\n]*)", said)
    assert match, said
    return match[1], plain(plain(match[2], ("%3A", ":"), ("%2C", ",")), ("%25", "%")), plain(match[3], ("%25", "%"))


def plain(text: str, *pairs: tuple[str, str]) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), *pairs):
        text = text.replace(code, character)
    return text


def read(text: str) -> dict[str, str]:
    """As the runner reads $GITHUB_OUTPUT: a line's first = ends the name, << before it would begin a block."""
    found = {}
    for each in re.split(r"\r\n|\n|\r", text.removesuffix("\n")):
        name, equals, value = each.partition("=")
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
    assert lines[1].startswith("GPU 0 memory: 3 of 7 metrics −3.0 to −5.0 %")
    assert len(lines) == 6


def test_of_many_findings_the_worst_are_told_and_the_rest_counted():
    made = gate(*(verdict(metric(), "regressed", 0.9, f"cuda:{i}") for i in range(8)), devices=8)
    lines = command(annotation(made, 1))[2].splitlines()
    assert [part[:5] for part in lines[1:6]] == [f"GPU {i}" for i in range(5)]
    assert lines[6:] == ["and 3 more"]
    assert command(annotation(simulated(), 0))[1].startswith("SIMULATED")


@pytest.mark.parametrize("name", GATES)
def test_one_command_for_every_gate(name):
    command(annotation(GATES[name](), 1))


@given(ANY_TEXT)
@SOME
def test_no_text_starts_a_command_of_its_own(text):
    said = annotation(hostile(text), 1)
    said.encode()
    assert len(re.split(r"[\r\n]", said)) == 1
    level, title, message = command(said)
    assert level == "error"
    assert title == f"GPU gate regressed ({line(text, 80)})"
    assert 2 < len(message.splitlines()) <= 7


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


# --- Nagios

# As Nagios' guidelines define performance data: a quote in a label is doubled, numbers have no exponent.
PERFDATA = re.compile(r"'((?:[^'=|]|'')+)'=(U|-?[0-9.]+)(s?)(?:;;(-?[0-9.]+:?))?(?: |$)")


def said(made, code: int) -> str:
    return ci.status_line(document(made), code)


def data(line: str) -> dict[str, tuple[str, str, str]]:
    assert line.count("|") == 1
    found, position, text = {}, 0, line.split("|")[1]
    while position < len(text):
        match = PERFDATA.match(text, position)
        assert match, text[position:]
        found[match[1]] = match[2], match[3], match[4]
        position = match.end()
    return found


@pytest.mark.parametrize(
    ("made", "code", "expected"),
    [
        (fine(), 0, 0),
        (every_word(), 1, 2),
        (gate(verdict(metric(), "suspicious", 0.97)), 0, 1),
        (gate(verdict(metric(), "suspicious", 0.97)), 3, 1),
        (gate(verdict(metric(), "regressed", 0.9)), 0, 1),  # silenced by --fail-on never, and still slow
        (gate(verdict(metric(), "missing", None)), 3, 3),
        (gate(verdict(metric(), "inconclusive", 0.9)), 3, 3),
        (gate(verdict(metric(), "inconclusive", 0.9)), 0, 0),
        (gate(), 3, 3),
        (fine(), 4, 3),
        (fine(), 5, 3),
        (fine(), 130, 3),
        (gate(verdict(metric(), "suspicious", 0.97), no_reference=True), 3, 3),
    ],
)
def test_codes(made, code, expected):
    assert nagios_code(to_json(made), code) == expected
    assert said(made, code).startswith(f"GATE {('OK', 'WARNING', 'CRITICAL', 'UNKNOWN')[expected]} - ")


def test_the_line_says_the_summary_and_what_is_slow():
    line = said(node(), 1).split("|")[0]
    assert "REGRESSED: 2 regressed, 94 ok of 96 gated metrics; look at GPU 5, GPU 3" in line.replace(" and ", ", ")
    assert "GPU 3 memory: 1 of 11 metrics −5.0 %" in line
    assert "SIMULATED" in said(simulated(), 0)


def test_it_gets_the_gated_metrics_with_their_limits():
    found = data(said(every_word(), 1))
    assert found["memory.regressed"] == ("3800000000000", "", "3920000000000:")
    assert found["memory.missing"] == ("U", "", None)
    assert "vector.int8.loop" not in found
    assert data(said(slow_launch(), 1)) == {"launch.async": ("0.00000625", "s", "0.000006")}
    assert len(data(said(node(), 1))) == 96


@given(ANY_TEXT, ANY_TEXT)
@SOME
def test_it_is_one_parsable_line_whatever_things_are_called(name, device):
    line = said(gate(verdict(metric(name), "regressed", 0.9, device, why=name), defects=((device, name),)), 1)
    assert len(line.splitlines()) == 1
    line.encode()
    assert len(data(line)) == 1


def test_it_keeps_what_nagios_would_keep():
    many = [verdict(metric(f"{'m' * 100}.{i}")) for i in range(300)]
    line = said(gate(verdict(metric("worst"), "regressed", 0.9), *many), 1)
    assert len(line.encode()) <= 8192
    found = data(line)
    assert next(iter(found)) == "worst"
    assert 20 < len(found) < 300
