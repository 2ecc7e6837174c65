"""The gate's section of the HTML report."""

import re
from html.parser import HTMLParser

import pytest

from bench.report import shell
from bench.report.gate.page import section
from tests.report.gate.gates import GATES, every_word, gate, hostile, metric, node, slow_launch, unfounded, verdict


def rendered(made) -> str:
    return shell._environment().get_template("gate/section.html.j2").render(judged=section(made))


class _Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.opened: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.opened.append(tag)
        self.open.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", GATES)
def test_every_gate_renders_well_formed(name):
    tags = _Tags(rendered(GATES[name]()))
    assert not tags.open
    assert not {"script", "img", "a", "d"} & set(tags.opened)


def test_the_word_is_text_icon_and_colour():
    text = rendered(every_word())
    assert re.search(r'class="chip invalid"><span aria-hidden="true">✕</span> REGRESSED</span>', text)
    assert re.search(r'class="chip valid"><span aria-hidden="true">✓</span> OK</span>', rendered(unfounded()))


def test_one_sentence_then_what_is_not_ok_worst_first():
    made = section(every_word())
    assert made.sentence.startswith("1 regressed, 1 missing, ")
    assert [line.split()[0] for line in made.look] == [
        "regressed",
        "missing",
        "invalid",
        "inconclusive",
        "suspicious",
        "improved",
    ]


def test_every_followed_metric_has_a_sortable_row():
    table = section(every_word()).table
    assert len(table.rows) == 8
    assert {len(row) for row in table.rows} == {len(table.columns)}
    first = dict(zip([column.name for column in table.columns], table.rows[0], strict=True))
    assert (first["metric"].text, first["value"].text, first["value"].value) == (
        "memory.regressed",
        "3.80 TB/s",
        3.8e12,
    )
    assert first["change"].text == "−5.0 %"
    assert first["change"].value == pytest.approx(-0.05)
    assert (first["verdict"].text, first["verdict"].sort, first["verdict"].mark) == (
        "✕\u00a0regressed",
        "regressed",
        "invalid",
    )
    last = table.rows[-1]
    assert [cell.text for cell in last][:2] == ["memory.ok", "4.00 TB/s"]


def test_a_time_that_became_longer_sorts_above_0():
    table = section(slow_launch()).table
    assert next(cell for cell in table.rows[0] if cell.text == "+25 %").value == pytest.approx(0.25)


def test_of_several_gpus_rows_name_theirs_and_defects_stand_out():
    made = section(node())
    assert "device" in [column.name for column in made.table.columns]
    assert len(made.table.rows) == 96
    assert made.defects == ("GPU 5: uncorrectable memory errors while measuring",)
    assert "Hardware defect." in rendered(node())


def test_a_long_list_ends_in_a_count():
    made = gate(*(verdict(metric(f"m{i}"), "suspicious", 0.97) for i in range(20)))
    assert len(section(made).look) == 12
    assert "and 8 more, in the table" in rendered(made)


def test_foreign_text_is_escaped():
    assert "<d>" not in rendered(hostile())
    assert "&lt;d&gt;" in rendered(hostile())
