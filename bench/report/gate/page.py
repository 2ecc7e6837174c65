"""The gate as a section of the HTML report: its word, a sentence, what is broken, and every metric in a table."""

from dataclasses import dataclass

from bench.analysis.gate.verdict import (
    IMPROVED,
    INCONCLUSIVE,
    INVALID,
    MISSING,
    OK,
    REGRESSED,
    SUSPICIOUS,
    Gate,
    Verdict,
)
from bench.report.gate import words
from bench.report.tables import Cell, Column, Table

# The page's classes, which carry its colours.
_MARKS = {
    OK: "valid",
    IMPROVED: "valid",
    SUSPICIOUS: "suspect",
    INCONCLUSIVE: "suspect",
    REGRESSED: "invalid",
    MISSING: "invalid",
    INVALID: "invalid",
}


@dataclass(frozen=True)
class Section:
    """What gate/section.html.j2 renders. mark: a class of report.css; look: what is not ok, worst first; more: how many
    lines of it the table alone has.
    """

    word: str
    icon: str
    mark: str
    simulated: bool
    sentence: str
    defects: tuple[str, ...]
    look: tuple[str, ...]
    more: int
    notes: tuple[str, ...]
    table: Table | None


_MOST = 12


def section(gate: Gate) -> Section:
    """Of a judged Run."""
    bad, said = words.doubtful(gate), words.headline(gate).partition(": ")[2]
    return Section(
        gate.word,
        words.ICONS[gate.word],
        _MARKS[gate.word],
        gate.run.environment.simulated,
        f"{said[:1].upper()}{said[1:]}.",
        tuple(f"{words.device(who)}: {words.line(what)}" for who, what in gate.defects),
        tuple(words.sentence(verdict, gate) for verdict in bad[:_MOST]),
        max(0, len(bad) - _MOST),
        (*words.held_against(gate), *words.notes(gate)),
        _table(gate) if gate.verdicts else None,
    )


def news(gate: Gate) -> list[str]:
    """What deserves attention before anything else on the page; nothing where all is as expected."""
    if gate.word == OK:
        return []
    return [f"The gate: {words.headline(gate)}."]


def _table(gate: Gate) -> Table:
    columns = [Column("metric"), *[Column("device")] * words.several(gate), Column("value", True)]
    columns += [Column("expected", True), Column("change", True), Column("limit", True), Column("n", True)]
    columns += [Column("verdict"), Column("gates"), Column("held against"), Column("why"), Column("likely cause")]
    rows = tuple(_row(verdict, words.several(gate)) for verdict in gate.worst)
    return Table("gate-metrics", "Every followed metric and its verdict", tuple(columns), rows)


def _row(verdict: Verdict, several: bool) -> tuple[Cell, ...]:
    def number(value: float | None) -> Cell:
        return Cell(words.value(verdict, value), value) if value is not None else Cell(words.NONE)

    change = words.share(verdict)
    cells = [Cell(words.name(verdict.metric.name))]
    cells += [Cell(words.device(verdict.device), verdict.device)] * several
    cells += [number(verdict.value), number(verdict.expected)]
    cells += [Cell(words.change(verdict), change) if change is not None else Cell(words.NONE)]
    mark = "" if verdict.word == OK else _MARKS[verdict.word]
    cells += [number(verdict.limit), Cell(str(verdict.n), verdict.n)]
    cells += [Cell(f"{words.ICONS[verdict.word]}\u00a0{verdict.word}", verdict.word, mark)]
    cells += [Cell("yes" if verdict.gates else "only warns")]
    cells += [Cell(words.line(verdict.reference.whence) if verdict.reference else words.NONE)]
    cells += [Cell(words.line(verdict.why)), Cell(words.line(verdict.cause) or words.NONE)]
    return tuple(cells)
