"""A Document in the terminal: verdicts, findings with what to do next, headline numbers; with `full` every table."""

from collections.abc import Iterator
from textwrap import wrap

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Column
from rich.table import Table as RichTable
from rich.text import Text

from bench.report.document import FAIL, NOT_JUDGED, PASS, SKIP, SYMBOLS, WARN, Document, Section, Table, Verdict

_DOUBTS = {WARN: SYMBOLS[WARN], FAIL: SYMBOLS[FAIL]}
# Cells of so many characters stand in one line.
_SHORT = 14
_STYLES = {PASS: "green", WARN: "yellow", FAIL: "bold red", NOT_JUDGED: "cyan", SKIP: "dim", "": ""}


def render(document: Document) -> str:
    """The whole as plain text, for a file."""
    console = Console(width=120, no_color=True, highlight=False)
    with console.capture() as captured:
        console.print(text(document, full=True))
    return captured.get()


def text(document: Document, full: bool = False) -> Group:
    """The first screen; full: every section's findings and tables too."""
    return Group(*_parts(document, full))


def _parts(document: Document, full: bool) -> Iterator[RenderableType]:
    if document.simulated:
        yield Text("SIMULATED: numbers from a datasheet, not from a machine", style="bold magenta")
    about = f"  {_bare(' · '.join(document.about))}"
    yield Text(_bare(document.heading), style="bold").append(about, style="not bold dim")
    yield from (Text(_bare(f"{each.text} {each.next_step}".strip()), _STYLES[each.status]) for each in document.banners)
    yield from map(_verdict, document.verdicts[:1])
    yield from _findings(document)
    yield from map(_verdict, document.verdicts[1:])
    if document.tiles:
        yield from _tiles(document)
    if document.matrix:
        yield _table(document.matrix)
    for section in document.every_section if full else ():
        yield from _section(section)
    if document.absent:
        yield Text(f"Not measured: {_bare(document.absent)}", style="dim")


def _verdict(verdict: Verdict) -> Text:
    head = Text(f"{SYMBOLS[verdict.status]} {_bare(verdict.word).upper()}", _STYLES[verdict.status])
    return head.append(f"  {_bare(verdict.question)}: {_bare(verdict.text)}", style="not bold default")


def _section(section: Section) -> Iterator[RenderableType]:
    yield Text(f"\n{_bare(section.title)}", style="bold")
    yield from _findings(section)
    yield from (_table(table) for table in section.tables if table.rows and not table.detail)
    yield from (Padding(Text(_bare(note), "dim"), (0, 0, 0, 2)) for note in section.notes)


def _findings(part: Document | Section) -> Iterator[RenderableType]:
    grid = RichTable.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 1, 0, 0))
    for each in part.findings:
        grid.add_row(Text(f"  {SYMBOLS[each.status] or '·'}", _STYLES[each.status]), Text(_bare(each.text)))
        if each.next_step:
            grid.add_row("", Text(f"Next: {_bare(each.next_step)}", "bold"))
    if part.findings:
        yield grid


def _tiles(document: Document) -> Iterator[RenderableType]:
    grid = RichTable.grid(Column(no_wrap=True), Column(no_wrap=True), padding=(0, 2, 0, 0))
    for tile in document.tiles:
        value = Text(f"{_bare(tile.value)} {SYMBOLS[tile.status]}".strip(), "bold")
        grid.add_row(Text(f"  {_bare(tile.name)}"), value, Text(_bare("; ".join(tile.notes))))
    yield grid


def _table(table: Table) -> RichTable:
    made = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=Text(_bare(table.caption)))
    made.title_justify = "left"
    columns = []
    for place, column in enumerate(table.shown):
        cells = [row[place] for row in table.cells]
        texts = [f"{_bare(cell.text)} {_DOUBTS.get(cell.mark, '')}".strip() for cell in cells]
        columns.append([Text(text, _STYLES.get(cell.mark, "")) for text, cell in zip(texts, cells, strict=True)])
        name, widest = _bare(column.name), max(map(len, texts), default=0)
        # short cells are not broken, and their heading is as narrow as they are
        least, short = max(map(len, name.split()), default=1), widest <= _SHORT
        head, side = wrap(name, max(widest, least)) if short else [name], "right" if column.is_number else "left"
        look = {"justify": side, "overflow": "fold", "no_wrap": short}
        made.add_column(Text("\n".join(head)), min_width=max(widest, least) if short else least, **look)
    for row in zip(*columns, strict=True):
        made.add_row(*row)
    return made


def _bare(text: str) -> str:
    """Without the marks around commands, and without what a terminal would obey."""
    return "".join(c for c in text.replace("`", "") if c.isprintable())


FORMS = {"txt": render}
