"""A Document's data: what a table shows, and what it leaves out."""

from dataclasses import replace

from bench import units
from bench.report.document import NONE, Column, Finding, Section, groups, table


def test_a_value_is_read_by_its_columns_formatter_and_kept_in_base_units():
    rows = [{"key": "dram", "rate": 4.8e12}, {"key": "tensor.int8.library", "rate": 2e15}]
    made = table("t", "T", rows, Column("rate", "rate", units.rate_text, by="key", unit="B/s"))
    assert [(cell.text, cell.value) for (cell,) in made.cells] == [("4.80 TB/s", 4.8e12), ("2.00 POP/s", 2e15)]


def test_what_is_missing_is_a_dash_and_never_formatted():
    columns = [Column("time", "seconds", units.seconds, unit="s"), Column("name", "name")]
    rows = [{"name": "a", "seconds": float("nan")}, {"name": "b"}, {"name": "c", "seconds": float("inf")}]
    made = table("t", "T", [*rows, {"name": "d", "seconds": 1.0}], *columns)
    assert [row[0].text for row in made.cells] == [NONE, NONE, NONE, "1.00 s"]


def test_a_column_that_nobody_fills_is_left_out():
    columns = [Column("a", "a"), Column("b", "b"), Column("zero")]
    made = table("t", "T", [{"a": "x", "b": "", "zero": 0}], *columns)
    assert [column.name for column in made.shown] == ["a", "zero"]
    assert [cell.text for cell in made.cells[0]] == ["x", "0"]
    assert [column.name for column in table("t", "T", [], *columns).shown] == ["a", "b", "zero"]


def test_a_mark_stands_on_the_cell_that_names_it():
    made = table("t", "T", [{"a": 1, "m": "fail", "b": 2}], Column("a", "a", mark="m"), Column("b", "b"))
    assert [cell.mark for cell in made.cells[0]] == ["fail", ""]


def test_neighbours_of_one_group_are_one_fold():
    sections = [Section("1", "1"), Section("2", "2", group="M"), Section("3", "3", group="M"), Section("4", "4")]
    assert [(name, [s.id for s in mine]) for name, mine in groups(sections)] == [
        ("", ["1"]),
        ("M", ["2", "3"]),
        ("", ["4"]),
    ]


def test_a_column_of_numbers_says_so_and_one_of_words_and_numbers_does_not():
    rows = [{"n": 1, "mixed": 1, "yes": True}, {"n": float("nan"), "mixed": "many", "yes": False}, {"n": 2.5}]
    made = table("t", "T", rows, Column("n"), Column("mixed"), Column("yes"), Column("rate", "mixed", unit="B/s"))
    assert [column.is_number for column in made.shown] == [True, False, False, True]


def test_a_section_leads_with_three_findings_and_leaves_out_tables_without_rows():
    full, empty = (table("t", "T", rows, Column("a")) for rows in ([{"a": 1}], []))
    made = Section(
        "s", "S", findings=iter(["a", Finding("b", "warn"), "c", "d"]), tables=[full, empty, None], notes=["e"]
    )
    assert made.findings == (Finding("a"), Finding("b", "warn"), Finding("c"))
    assert (made.notes, made.tables) == (("d", "e"), (full,))
    assert replace(made, title="T").findings == made.findings
