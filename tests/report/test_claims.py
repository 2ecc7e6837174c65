"""How the claims stand, whose verdict a machine changes, and what it could not be asked about."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.analysis.fit import fit
from bench.analysis.serving.claims import checked, contradictions, tally
from bench.analysis.serving.machine_io import of_run
from bench.report.document import FAIL, PASS, SKIP, Document, Finding, Section, table
from bench.report.render import markdown
from bench.report.serving_tables import claim
from bench.report.serving_tables import claims as section
from tests.report.runs import by_hand
from tests.report.serving_machines import CLAIMS, measured_fit


def texts(table, column: str) -> list[str]:
    at = [each.name for each in table.shown].index(column)
    return [row[at].text for row in table.cells]


def test_what_the_machine_changes_comes_first_and_everything_is_folded_below():
    changed, every, clashes = section(CLAIMS, contradictions()).tables
    assert (changed.folded, every.folded, clashes.folded) == (False, True, True)
    assert texts(changed, "no.") == ["A-2"]
    assert texts(every, "no.") == ["A-1", "A-2", "B-1"]
    assert texts(every, "text") == ["part one", "part one", "part two"]


def test_claims_say_their_verdict_and_what_was_not_measured():
    every = section(CLAIMS, ()).tables[1]
    assert texts(every, "verdict") == ["right", "wrong (by the reference: right)", "depends"]
    assert [row["mark"] for row in every.rows][:2] == [PASS, FAIL]
    assert texts(every, "this machine") == ["50", "3 %", "not measured: run the moe probe"]
    assert [row["lack"] for row in every.rows] == ["", "", SKIP]
    assert texts(every, "claim") == ["Metrics: TPS is 1/TBT", "<b>x</b></script>", "Cost: half"]


def test_the_sentences_count():
    assert [each.text for each in section(CLAIMS, ()).findings] == [
        "3 claims of 2 texts: 1 right, 1 depends, 1 wrong.",
        "This machine decides 1 otherwise than datasheets do: A-2.",
        "1 not measured in this Run; its verdict is that of the reference.",
    ]


def test_without_a_change_there_is_no_table_of_changes():
    made = section(CLAIMS[:1], ())
    assert [table.id for table in made.tables] == ["claims"]
    assert len(made.findings) == 1


@pytest.fixture(scope="module")
def whole():
    fit = measured_fit()
    return section(checked(fit, of_run(fit)), contradictions())


def test_every_claim_of_the_documents_is_in_the_table(whole):
    every, clashes = whole.tables[-2:]
    listed = texts(every, "no.")
    assert len(listed) == len(set(listed)) > 100
    cited = {name for row in texts(clashes, "claims") for name in row.split(", ")}
    assert cited <= set(listed)


def test_what_a_verdict_depends_on_is_said(whole):
    assert any("depends on " in text for text in texts(whole.tables[-2], "correction"))


def test_sentences_are_short(whole):
    assert all(len(each.text.split()) <= 20 for each in whole.findings)


# --- docs/claims.md: every claim by the reference alone, as this file writes it (python -m tests.report.test_claims)

DOC = Path(__file__).parents[2] / "docs" / "claims.md"


def by_reference() -> str:
    """Every claim, a section per chapter of its text; no machine is asked."""
    rows = checked(fit(by_hand())[0], None)
    columns = [each for each in section(rows, ()).tables[0].columns if each.key not in ("document", "shown")]
    chapters: dict[str, list] = {}
    for each in rows:
        chapter = f"{each.document}: {each.group}" if each.group not in (each.document, "") else each.document
        chapters.setdefault(chapter, []).append(claim(replace(each, group="", missing="")))
    sections = [Section(name, name, tables=(table(name, name, made, *columns),)) for name, made in chapters.items()]
    clashes = section(rows, contradictions()).tables[-1]
    counts = ", ".join(f"{count} {verdict}" for verdict, count in tally(rows).reference.items() if count)
    said = Finding(f"{len(rows)} claims on serving LLMs, by datasheets and architectures alone: {counts}.")
    last = Section(clashes.caption, clashes.caption, tables=(clashes,))
    return markdown.render(
        Document("Claims on serving", "Claims", findings=(said,), sections=(*sections, last))
    ).decode()


def test_the_documented_claims_are_these():
    assert DOC.read_text(encoding="utf-8") == by_reference(), "run python -m tests.report.test_claims"


def test_every_claim_is_documented():
    written = DOC.read_text(encoding="utf-8")
    assert all(f"| {each.id} |" in written for each in checked(fit(by_hand())[0], None))


if __name__ == "__main__":
    DOC.write_text(by_reference(), encoding="utf-8")
