"""What a page, a terminal, a pull request and a JSON file show alike: findings, tables and plots as plain data.

A view (run.py, comparison.py, trend.py ...) returns a Document; a renderer (render/) writes it in one form and decides
nothing: what is said is said here once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

# How a finding, a cell or a verdict stands; "" is a plain statement. Each has a symbol, so that colour is never alone.
PASS, WARN, FAIL, NOT_JUDGED, SKIP = "pass", "warn", "fail", "not judged", "skip"
SYMBOLS = {PASS: "✓", WARN: "!", FAIL: "✕", NOT_JUDGED: "○", SKIP: "–", "": ""}
# What is to be doubted of a measurement, a Run or its quality -> how it stands.
DOUBTS = {"suspect": WARN, "incomplete": WARN, "invalid": FAIL, "not usable": FAIL, "empty": FAIL}
NONE = "–"
MOST_FINDINGS = 3


@dataclass(frozen=True)
class Finding:
    """A sentence with its numbers. next_step: what to do about it, a command where there is one."""

    text: str
    status: str = ""
    next_step: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is decided about one question ("GPU health", "Measurement", "Gate"), and why in a line."""

    question: str
    status: str
    word: str
    text: str = ""


@dataclass(frozen=True)
class Column:
    """A heading, and how a row's value under `key` (the heading, if left out) is read. Values stay in base units.

    text: the value for a reader; by: another of the row's keys that `text` takes as its second argument; unit: the base
    unit of a column of numbers; mark: the row's key of the cell's status; is_number: said by the table.
    """

    name: str
    key: str = ""
    text: Callable[..., str] = str
    by: str = ""
    unit: str = ""
    mark: str = ""
    is_number: bool = False

    def __post_init__(self):
        object.__setattr__(self, "key", self.key or self.name)


@dataclass(frozen=True)
class Cell:
    """What is read, and the value behind it."""

    text: str
    value: Any = ""
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of values with the columns that show them; a column that no row has a value for is left out. folded: a page
    opens it on demand only. detail: for a page and for CSV, too long for a comment or a terminal.
    """

    id: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    folded: bool = True
    detail: bool = False

    @cached_property
    def shown(self) -> tuple[Column, ...]:
        found = []
        for column in self.columns:
            values = list(filter(has, (row.get(column.key) for row in self.rows)))
            if values or not self.rows:
                found.append(replace(column, is_number=bool(column.unit) or all(map(is_number, values))))
        return tuple(found)

    @cached_property
    def cells(self) -> list[list[Cell]]:
        return [[_cell(column, row) for column in self.shown] for row in self.rows]


def table(id: str, caption: str, rows: Iterable[Mapping[str, Any]], *columns: Column | str, **more: bool) -> Table:
    """A Table from any rows, a DataFrame's records among them; a text is the column of that name."""
    found = tuple(Column(each) if isinstance(each, str) else each for each in columns)
    return Table(id, caption, found, tuple(rows), **more)


def has(value: Any) -> bool:
    """Whether a cell holds something: a frame turns a missing number into NaN."""
    return value is not None and value != "" and value == value


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _cell(column: Column, row: Mapping[str, Any]) -> Cell:
    value, mark = row.get(column.key), str(row.get(column.mark) or "") if column.mark else ""
    if not has(value) or (isinstance(value, float) and not math.isfinite(value)):
        return Cell(NONE, "", mark)
    return Cell(column.text(value, row.get(column.by)) if column.by else column.text(value), value, mark)


@dataclass(frozen=True)
class Plot:
    """A figure, and what it says to who cannot see it. variants: the same for other devices, by name."""

    id: str
    title: str
    figure: go.Figure
    caption: str = ""
    label: str = ""
    variants: tuple[tuple[str, go.Figure], ...] = ()


@dataclass(frozen=True)
class Section:
    """A question and its answer: findings, plots, tables, and notes in small print, each from anything that gives them.

    Sentences become findings, those beyond three notes; a table without rows is left out. group: the fold of the page
    that it stands in; without one it stands open.
    """

    id: str
    title: str
    question: str = ""
    formula: str = ""
    findings: Iterable[Finding | str] = ()
    plots: Iterable[Plot] = ()
    tables: Iterable[Table | None] = ()
    notes: Iterable[str] = ()
    group: str = ""

    def __post_init__(self):
        found = [Finding(each) if isinstance(each, str) else each for each in self.findings]
        further = (each.text for each in found[MOST_FINDINGS:])
        object.__setattr__(self, "findings", tuple(found[:MOST_FINDINGS]))
        object.__setattr__(self, "plots", tuple(self.plots))
        object.__setattr__(self, "tables", tuple(each for each in self.tables if each and each.rows))
        object.__setattr__(self, "notes", (*further, *self.notes))


@dataclass(frozen=True)
class Tile:
    """A headline number: what, how much, its share of a reference, and how sure."""

    name: str
    value: str
    notes: tuple[str, ...] = ()
    status: str = ""


@dataclass(frozen=True)
class Download:
    """A text file inside the page."""

    name: str
    kind: str
    content: str
    note: str = ""


@dataclass(frozen=True)
class Document:
    """One answer as every form shows it: the first screen (verdicts, findings, tiles, matrix, lead), then sections.

    about: who, when and how, in short. banners: what must be read before anything else. matrix: devices × quantities
    with a status per cell. absent: what was not measured, in a line. links: (text, file) of documents beside it.
    rows: the flat table behind it in base units. data: what JSON holds beside verdicts and findings. scripts: files of
    render/ that this page needs too, or package/file.
    """

    title: str
    heading: str
    about: tuple[str, ...] = ()
    simulated: bool = False
    banners: tuple[Finding, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    findings: tuple[Finding, ...] = ()
    tiles: tuple[Tile, ...] = ()
    matrix: Table | None = None
    lead: Section | None = None
    sections: tuple[Section, ...] = ()
    absent: str = ""
    links: tuple[tuple[str, str], ...] = ()
    downloads: tuple[Download, ...] = ()
    scripts: tuple[str, ...] = ()
    rows: pd.DataFrame | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def every_section(self) -> tuple[Section, ...]:
        return (*((self.lead,) if self.lead else ()), *self.sections)

    @property
    def every_plot(self) -> tuple[Plot, ...]:
        return tuple(plot for section in self.every_section for plot in section.plots)


def groups(sections: Iterable[Section]) -> list[tuple[str, list[Section]]]:
    """Neighbours of one group together; a section without a group is alone."""
    found = [list(members) for _, members in groupby(sections, key=lambda section: section.group or id(section))]
    return [(members[0].group, members) for members in found]
