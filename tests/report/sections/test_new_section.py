"""A section for a new probe is one new file, and a probe has the section of no question that has its name."""

import sys
from pkgutil import iter_modules

import pytest

from bench.report import sections
from bench.report.phrases import slug
from bench.work import Work
from tests.report.runs import by_hand, measured
from tests.report.sections.conftest import section, view

NEW = '''
"""How far a thrown ball flies."""

import plotly.graph_objects as go

from bench.report.sections import ProbeSection, lines, plot
from bench.report.plots import sweep


class Thrown(ProbeSection):
    probe, group = "throw", "{group}"

    def findings(self):
        yield from (f"Throw {{number}}." for number in range({count}))

    def notes(self):
        yield "No wind."

    def plots(self):
        ball = go.Scatter(x=[1, 2], y=[3, 4], name="ball")
        yield from plot("throw-0", "Height", go.Figure(ball), "Thrown by hand.")
        yield from plot("throw-1", "Nothing to draw", None)
        yield from lines("throw-2", "No line", "", {{}}, "size", "seconds", sweep.SECONDS)
'''


def thrown(size=2, **more):
    return measured("throw", {"size": size}, Work(bytes=8.0), **more)


@pytest.fixture
def new_file(tmp_path, monkeypatch):
    """Puts a file beside those of the package, as long as the test runs."""
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path)])

    def add(name="throw", text=NEW, **facts):
        (tmp_path / f"{name}.py").write_text(text.format(**{"group": "Memory", "count": 2} | facts))
        monkeypatch.delitem(sys.modules, f"bench.report.sections.{name}", raising=False)

    yield add
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"bench.report.sections.{path.stem}", None)
        vars(sections).pop(path.stem, None)


def test_without_a_file_a_probe_has_the_generic_section():
    made = section(by_hand([thrown()]), "throw")
    assert made.group == sections.OTHER
    assert made.findings[0].text.startswith("1 case measured")
    assert [plot.id for plot in made.plots] == ["fig-throw-0"]


def test_a_section_for_a_new_probe_is_one_new_file(new_file):
    new_file()
    made = section(by_hand([thrown()]), "throw")
    assert [finding.text for finding in made.findings] == ["Throw 0.", "Throw 1."]
    assert made.notes == ("No wind.",)
    assert made.group == "Memory"
    (plot,) = made.plots
    assert (plot.id, plot.title, plot.caption) == ("fig-throw-0", "Height", "Thrown by hand.")
    assert plot.label == "Height. ball: 3.00 to 4.00, 2 points."
    (cases,) = made.tables
    assert cases.cells[0][0].text == "2 B"


def test_more_than_three_findings_are_small_print(new_file):
    new_file(count=5)
    made = section(by_hand([thrown()]), "throw")
    assert [finding.text for finding in made.findings] == ["Throw 0.", "Throw 1.", "Throw 2."]
    assert made.notes == ("Throw 3.", "Throw 4.", "No wind.")


@pytest.mark.parametrize(("group", "place"), [("Memory", 0), ("Sports", 1)])
def test_it_stands_in_its_fold_and_a_new_fold_comes_last(new_file, group, place):
    new_file(group=group)
    run = by_hand([thrown(), measured("launch", {"way": "graph"}, Work())])
    made = [each.id for each in sections.probe_sections(view(run))]
    assert made.index("probe-throw") == place


def test_a_new_file_says_nothing_of_a_probe_that_was_skipped(new_file):
    new_file()
    made = section(by_hand([thrown(seconds=(), skip="no ball")]), "throw")
    assert [finding.text for finding in made.findings] == ["Not measured: no ball."]
    assert not made.plots
    assert not made.notes


def test_of_several_reasons_the_first_is_said_and_the_others_are_in_the_table():
    lost = [thrown(size, seconds=(), skip=why) for size, why in ((2, "no ball"), (4, "no wind"))]
    made = section(by_hand(lost), "throw")
    assert [finding.text for finding in made.findings] == ["Not measured: no ball (and 1 other reason)."]
    assert [cell.text for cells in made.tables[0].cells for cell in cells if "no wind" in cell.text]


QUESTIONS = [file.name for file in iter_modules(sections.__path__) if file.name not in sections.own_sections()]


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_probe_named_like_a_question_has_a_generic_section(name):
    """Its file may hold functions that are called as a probe's are."""
    made = section(by_hand([measured(name, {"size": 2}, Work(bytes=8.0))]), slug(name))
    assert made.group == sections.OTHER
    assert made.findings[0].text.startswith("1 case measured")
    assert [plot.id for plot in made.plots] == [f"fig-{slug(name)}-0"]
    assert made.tables


def test_questions_and_probes_are_told_apart():
    assert {"health", "roofline", "energy", "methods"} <= set(QUESTIONS)
    assert not {"gemm", "launch", "layer"} & set(QUESTIONS)
