"""The terminal and Nagios: readable at 80 columns, one parsable line, the right code."""

import re
from io import StringIO

import pytest
from hypothesis import given
from rich.console import Console

from bench.report.gate import words
from bench.report.gate.text import gate_table, nagios, nagios_code
from tests.report.gate.gates import GATES, every_word, fine, gate, metric, node, simulated, slow_launch, verdict
from tests.report.gate.strategies import ANY_TEXT, SOME

# As Nagios' guidelines define performance data: a quote in a label is doubled, numbers have no exponent.
PERFDATA = re.compile(r"'((?:[^'=|]|'')+)'=(U|-?[0-9.]+)(s?)(?:;;(-?[0-9.]+:?))?(?: |$)")


def printed(made, width: int = 80) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False, color_system=None).print(gate_table(made))
    return out.getvalue()


def data(line: str) -> dict[str, tuple[str, str, str]]:
    assert line.count("|") == 1
    found, position, text = {}, 0, line.split("|")[1]
    while position < len(text):
        match = PERFDATA.match(text, position)
        assert match, text[position:]
        found[match[1]] = match[2], match[3], match[4]
        position = match.end()
    return found


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("width", [80, 140])
def test_no_line_is_wider_than_the_terminal(name, width):
    lines = printed(GATES[name](), width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines if "hostile" not in name)


def test_the_headline_comes_first_and_names_what_is_slow():
    first = " ".join(printed(node()).splitlines()[:2])
    assert "REGRESSED: hardware defect on GPU 5" in first
    assert "2 regressed, 94 ok of 96 gated metrics" in first
    assert "slow: GPU 3" in first


def test_a_row_holds_value_expected_change_limit_and_n():
    row = next(line for line in printed(every_word()).splitlines() if line.startswith("memory.regressed"))
    assert row.split() == ["memory.regressed", "3.80", "TB/s", "4.00", "−5.0", "%", "3.92", "3", "regressed"]


def test_a_longer_time_is_more_though_it_is_slower():
    row = next(line for line in printed(slow_launch()).splitlines() if line.startswith("launch.async"))
    assert row.split() == ["launch.async", "6.25", "µs", "5.00", "+25", "%", "6.00", "3", "regressed"]


def test_each_verdict_that_is_not_ok_gives_its_evidence_and_cause():
    text = printed(every_word(), 140)
    for word in ("regressed", "missing", "invalid", "inconclusive", "suspicious"):
        assert f"{words.ICONS[word]} memory.{word}: the evidence of {word}. Likely cause: memory." in text
    assert "the evidence of ok" not in text
    assert "warns only: suspicious vector.int8.loop" in text
    assert "note: GPU 0: a new segment: driver 580 → 590" in text


def test_of_eight_gpus_only_what_is_not_ok_has_rows():
    lines = printed(node()).splitlines()
    assert [line for line in lines if line.startswith("GPU 3")] == ["GPU 3: 2 regressed, 10 ok"]
    assert sum(bool(re.match(r"GPU \d: 12 ok", line)) for line in lines) == 6
    assert "GPU 5: 1 hardware defect, 12 ok" in lines
    assert sum(line.startswith(("memory.", "gemm.")) for line in lines) == 2


def test_sixteen_rows_are_shown_whole_and_more_only_where_something_is_wrong():
    many = [verdict(metric(f"m.{i}")) for i in range(17)]
    assert printed(gate(*many[:16])).count("4.00 TB/s") == 16
    assert "TB/s" not in printed(gate(*many))


def test_a_simulated_gate_says_so_first():
    assert printed(simulated()).startswith("SIMULATED")
    assert "SIMULATED" not in printed(fine())
    assert "SIMULATED" in nagios(simulated(), 0)


def test_a_note_that_every_gpu_shares_is_read_once():
    made = gate(
        verdict(metric()), devices=3, notes=("a", *(f"cuda:{i}: b" for i in range(3)), "cuda:1: c", "cuda:2: c")
    )
    assert words.notes(made) == ("a", "every device: b", "GPU 1, GPU 2: c")
    assert printed(made).count("note: ") == 3


def test_brackets_in_a_name_are_no_markup():
    assert "[red]x[/red]" in printed(gate(verdict(metric("[red]x[/red]"))))


@given(ANY_TEXT)
@SOME
def test_no_control_reaches_the_terminal(text):
    said = printed(gate(verdict(metric(text), "regressed", 0.9, why=text, cause=text), notes=(text,)))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)
    said.encode()


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
        (gate(verdict(metric(), "suspicious", 0.97), unfounded=True), 3, 3),
    ],
)
def test_nagios_codes(made, code, expected):
    assert nagios_code(made, code) == expected
    assert nagios(made, code).startswith(f"GATE {('OK', 'WARNING', 'CRITICAL', 'UNKNOWN')[expected]} - ")


def test_nagios_gets_the_gated_metrics_with_their_limits():
    found = data(nagios(every_word(), 1))
    assert found["memory.regressed"] == ("3800000000000", "", "3920000000000:")
    assert found["memory.missing"] == ("U", "", None)
    assert "vector.int8.loop" not in found
    assert data(nagios(slow_launch(), 1)) == {"launch.async": ("0.00000625", "s", "0.000006")}
    assert len(data(nagios(node(), 1))) == 96


@given(ANY_TEXT, ANY_TEXT)
@SOME
def test_nagios_is_one_parsable_line_whatever_things_are_called(name, device):
    line = nagios(gate(verdict(metric(name), "regressed", 0.9, device, why=name), defects=((device, name),)), 1)
    assert len(line.splitlines()) == 1
    line.encode()
    assert len(data(line)) == 1


def test_nagios_keeps_what_nagios_would_keep():
    many = [verdict(metric(f"{'m' * 100}.{i}")) for i in range(300)]
    line = nagios(gate(verdict(metric("worst"), "regressed", 0.9), *many), 1)
    assert len(line.encode()) <= 8192
    found = data(line)
    assert next(iter(found)) == "worst"
    assert 20 < len(found) < 300
