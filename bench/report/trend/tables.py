"""The numbers behind the page: where each headline number stands, what moved, every Run, and the files left out."""

import csv
import io
from collections.abc import Mapping, Sequence

from bench import units
from bench.analysis.changes import ChangePoint
from bench.analysis.entries import DeviceEntry, RunEntry, Value
from bench.analysis.history import FEW, History, Move, Series, identity
from bench.report.tables import Cell, Column, Table
from bench.report.trend import marks, words

# Rows of a table in the page; the newest are kept.
MOST_ROWS = 400
_NONE = Cell("–")
# What stands in the table of Runs; the file has all.
_SHOWN = ("driver", "power limit", "torch")


def standing(history: History) -> Table:
    """A row per number, regime, device and budget: the newest value beside its segment."""
    several, budgets = len(history.devices) > 1, len({each.budget for each in history.series}) > 1
    columns = [Column("number"), Column("regime"), *[Column("device")] * several, *[Column("budget")] * budgets]
    columns += [Column("newest", True), Column("interval"), Column("n", True), Column("validity")]
    columns += [Column("segment median", True), Column("±", True), Column("valid Runs", True), Column("since")]
    columns += [Column("moved by", True), Column("with")]
    across = {id(move.series): move for move in history.moves if move.kind == "change"}
    body = []
    places = [key for key, _ in _numbers(history)]
    for each in sorted(history.series, key=lambda each: places.index(each.key)):
        value, segment, key = each.newest.value, each.segments[-1], each.key
        cells = [Cell(words.metric(key), key), Cell(each.regime)]
        cells += [Cell(each.device)] * several + [Cell(each.budget)] * budgets
        sound = value.validity != "invalid"
        cells += [Cell(words.text(key, value.value), value.value)]
        cells += [Cell(units.between(value.low, value.high, lambda v, key=key: words.text(key, v))) if sound else _NONE]
        cells += [
            Cell(str(value.n), value.n),
            Cell(value.validity, mark=value.validity if value.validity != "valid" else ""),
        ]
        cells += [Cell(words.text(key, segment.median), segment.median) if segment.median else _NONE]
        cells += [Cell(units.percent(segment.deviation, 2), segment.deviation) if segment.n >= FEW else _NONE]
        cells += [Cell(str(segment.n), segment.n), Cell(words.day(segment.points[0].at))]
        body.append((*cells, *_against(each, across)))
    return Table("standing", "Where each number stands", tuple(columns), tuple(body))


def _against(each: Series, across: Mapping[int, Move]) -> tuple[Cell, Cell]:
    """By how much the newest segment stands off the one before, and what changed between them."""
    if len(each.segments) < 2:
        return _NONE, Cell("nothing changed")
    what = words.changes(each.segments[-1].changes)
    move = across.get(id(each))
    if not each.segments[-1].joined or move is None:
        return _NONE, Cell(f"{what}; not compared", mark="skip")
    if move.verdict == "unknown":
        return _NONE, Cell(f"{what}; too few valid Runs", mark="skip")
    moved = move.verdict == "moved"
    return Cell(words.signed(move.ratio), move.ratio - 1, "suspect" * moved), Cell(
        what if moved else f"{what}; no more than the scatter"
    )


def moves(history: History, points: Sequence[ChangePoint] = ()) -> Table:
    """Every change that was judged, every step and drift that was found, and the change points; the newest first."""
    interval = "interval or p" if points else "interval"
    columns = (
        Column("until"), Column("number"), Column("regime"), Column("device"), Column("budget"), Column("what"),
        Column("moved by", True), Column(interval), Column("Runs before", True), Column("after", True),
        Column("verdict"), Column("changed"),
    )  # fmt: skip
    found = [*((move.until, _move, move) for move in history.moves), *((each.at, marks.row, each) for each in points)]
    found.sort(key=lambda each: -each[0])
    body = tuple(row(each) for _, row, each in found[:MOST_ROWS])
    return Table("moves", f"What was judged{_newest(len(found))}", columns, body)


def _move(move: Move) -> tuple[Cell, ...]:
    each, unknown = move.series, move.verdict == "unknown"
    return (
        Cell(words.moment(move.until)),
        Cell(words.metric(each.key), each.key),
        Cell(each.regime),
        Cell(each.device),
        Cell(each.budget),
        Cell("change of environment" if move.kind == "change" else move.kind),
        _NONE if unknown else Cell(words.signed(move.ratio), move.ratio - 1),
        _NONE if unknown else Cell(f"{words.signed(move.low)} to {words.signed(move.high)}"),
        Cell(str(move.before), move.before),
        Cell(str(move.after), move.after),
        Cell(move.verdict if not unknown else "too few valid Runs", mark="suspect" * (move.verdict == "moved")),
        Cell(words.changes(move.changes) if move.changes else "nothing recorded"),
    )


def _newest(count: int) -> str:
    return f": the newest {MOST_ROWS} of {count:,}" if count > MOST_ROWS else ""


def _numbers(history: History) -> list[tuple[str, str]]:
    return list(dict.fromkeys((each.key, each.regime) for each in history.series))


def runs(history: History) -> Table:
    """A row per Run and device, the newest first."""
    rows = [(file, run, device) for file, run in reversed(history.runs) for device in run.devices]
    numbers, several = _numbers(history), len(history.devices) > 1
    factors = [name for name in _SHOWN if any(name in device.factors for _, _, device in rows)]
    columns = [Column("started"), *[Column("device")] * several, Column("budget"), Column("state")]
    columns += [Column(f"{words.metric(key)}, {regime}", True) for key, regime in numbers]
    columns += [*(Column(name) for name in factors), Column("host"), Column("file")]
    body = []
    for file, run, device in rows[:MOST_ROWS]:
        values = {(value.key, value.regime): value for value in device.values}
        cells = [Cell(words.moment(run.at), run.started)]
        cells += [Cell(history.devices[identity(run, device)])] * several
        cells += [Cell(run.budget), _state(run), *(_value(values.get(number)) for number in numbers)]
        cells += [Cell(device.factors.get(name, "–")) for name in factors]
        body.append((*cells, Cell(run.host or "–"), Cell(file)))
    return Table("runs", f"Every Run{_newest(len(rows))}", tuple(columns), tuple(body))


def _state(run: RunEntry) -> Cell:
    word = words.state(run)
    more = [f"ended as {run.status}"] if run.status != "complete" else []
    more += [f"{run.counts[kind]} {kind}" for kind in ("suspect", "invalid") if run.counts.get(kind)]
    more += run.warnings
    text = f"{word} ({'; '.join(more)})" if more else word
    return Cell(text, word, {"valid": "", "incomplete": "suspect"}.get(word, word))


def _value(value: Value | None) -> Cell:
    if value is None:
        return _NONE
    marked = {"suspect": " (suspect)", "invalid": " (invalid)"}.get(value.validity, "")
    return Cell(words.text(value.key, value.value) + marked, value.value, value.validity if marked else "")


def left_out(history: History) -> Table:
    body = tuple((Cell(file), Cell(reason)) for file, reason in list(history.left_out.items())[:MOST_ROWS])
    title = f"Files left out{_newest(len(history.left_out))}"
    return Table("left-out", title, (Column("file"), Column("why")), body)


def as_csv(history: History, most: int) -> str:
    """A row per Run and device with every number, its interval and validity, in SI base units; the newest `most`."""
    rows = [(file, run, device) for file, run in history.runs for device in run.devices][-most:]
    numbers = _numbers(history)
    factors = list(dict.fromkeys(name for _, _, device in rows for name in device.factors))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["file", "run_id", "started", "host", "device", "uuid", "budget", "status", "state", *factors]
    for key, regime in numbers:
        head += [f"{key} {regime}{part}" for part in ("", " low", " high", " n", " validity")]
    writer.writerow(head)
    writer.writerows(_row(*row, factors, numbers) for row in rows)
    return out.getvalue()


def _row(file: str, run: RunEntry, device: DeviceEntry, factors: Sequence[str], numbers: Sequence) -> list[str]:
    cells = [file, run.run_id, run.started, run.host, device.id, device.uuid, run.budget, run.status, words.state(run)]
    cells += [device.factors.get(name, "") for name in factors]
    # a spreadsheet runs a text that begins like a formula
    cells = [f"'{text}" if text[:1] in ("=", "+", "-", "@") else text for text in cells]
    values = {(value.key, value.regime): value for value in device.values}
    for number in numbers:
        if value := values.get(number):
            cells += [f"{number:.7g}" for number in (value.value, value.low, value.high)]
            cells += [str(value.n), value.validity]
        else:
            cells += [""] * 5
    return cells
