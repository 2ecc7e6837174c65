"""The history of one product as a Document: every headline number over time, what changed around it, what moved.

>>> from bench import report
>>> from bench.analysis.history import history
>>> report.save(document(history("results/h200-sxm")), "reports/trend-h200-sxm.html")  # doctest: +SKIP
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, takewhile
from typing import Any

import pandas as pd

from bench import __version__, units
from bench.analysis import history_facts as news
from bench.analysis.change_points import LEAST, MOST_P, TRUSTED, ChangePoints
from bench.analysis.history import History
from bench.analysis.history_facts import Event
from bench.analysis.run_entry import Change
from bench.analysis.series import FEW, SEARCHED, WORTH, Move, Series, Shift
from bench.report import document as doc
from bench.report.document import DOUBTS, NOT_JUDGED, PASS, SKIP, WARN, Column, Document, Finding, Section
from bench.report.phrases import listed, many, plain, signed, slug, texts
from bench.report.plots import described
from bench.report.plots.over_time import INFORMATION, caption, chance, metric, moment, over_time, span, text
from bench.report.sections import METHODS

# Rows of a table in the page, and of the file in it; the newest are kept.
MOST_SHOWN, MOST_ROWS = 400, 10_000
# Findings of one kind, tiles, words of a finding, and rows of a table that still stands open.
_MOST, _TILES, _WORDS, _OPEN = 5, 5, 20, 24
_AGAINST = {"unknown": "not judged", "still": "within the scatter", news.NOT_COMPARED: news.NOT_COMPARED}


def document(found: History, changes: ChangePoints | None = None) -> Document:
    """changes: what a search for change points found, if one was made."""
    told = news.events(found.own_moves, found.shifts)
    lead = told[0].series[0].key if told else next(iter(found.keys), "")
    first, last = (moment(found.runs[place][1].at, 10) for place in (0, -1))
    when = f"on {first}" if first == last else f"from {first} to {last}"
    which = f"{many(len(found.runs), 'Run')} of {many(len(found.devices), 'device')} {when}"
    rows = news.flat(found, MOST_ROWS)
    numbers = [_number(found, key, changes, key == lead) for key in sorted(found.keys, key=lambda key: key != lead)]
    return Document(
        title=f"{'SIMULATED · ' * found.simulated}{found.name} · trend · {last}",
        heading=f"{found.name} over time",
        about=(which, found.product, f"ridgepoint {__version__}"),
        simulated=found.simulated,
        banners=tuple(_newest(found)),
        verdicts=(_verdict(found),),
        findings=tuple(_findings(found, changes)),
        tiles=tuple(_tile(found, key) for key in found.keys[:_TILES]),
        sections=(*numbers, _tables(found, changes, rows), _methods(changes)),
        rows=pd.DataFrame(rows, dtype=object),
        data=news.to_json(found, changes),
    )


def _verdict(found: History) -> doc.Verdict:
    still, total = sum(move.verdict == "still" for move in found.moves), len({each.number for each in found.series})
    if found.moved:
        said = f"{len(found.moved)} of {many(total, 'number')} moved beyond their scatter."
        return doc.Verdict("Trend", WARN, "moved", said)
    if still or found.searched:
        where = [f"{many(still, 'number')} across changes of the environment"] * bool(still)
        where += [f"{many(found.searched, 'stretch', 'stretches')} of Runs without any"] * bool(found.searched)
        said = f"nothing moved by {units.percent(WORTH, 1)} or more beyond its scatter: {listed(where)}."
        return doc.Verdict("Trend", PASS, "no move", said)
    most = max((segment.n for each in found.series for segment in each.segments), default=0)
    need = f"at most {most} valid in one environment; to tell a move from scatter takes {SEARCHED}"
    return doc.Verdict("Trend", NOT_JUDGED, "too few Runs", f"{need}, or {FEW} on each side of a change.")


def _newest(found: History) -> Iterator[Finding]:
    file, run = found.runs[-1]
    state = news.state(run)
    if state not in ("valid", "suspect"):
        usable, why = news.usable(run)
        word = f"{'partly ' * (usable and state == 'invalid')}{state}{f': {plain(why)}' * bool(why)}"
        then = "" if usable else " It says nothing of the machine."
        yield Finding(f"The newest Run ({plain(file)}) is {word}.{then}", WARN)


def _findings(found: History, changes: ChangePoints | None) -> Iterator[Finding]:
    """What moved and what to doubt, gravest first."""
    yield from _told(found, found.own_moves, found.series)
    if changes:
        said, more = f"had no series with the {SEARCHED} valid Runs that it needs", []
        if changes.judged:
            steps = many(len(changes.points), "step") if changes.points else "no step"
            said = f"marks {steps} in {many(changes.judged, 'series', 'series')}"
        if changes.points:
            large = news.largest(changes.points)
            more = [f", largest: {_name(found, large.series)} {signed(large.ratio)}", f", {moment(large.at)}"]
        yield _said(f"E-divisive ({INFORMATION}) {said}", *more)
    values = Counter(point.value.validity for each in found.series for point in each.points)
    signs = {"suspect": "open", "invalid": "crossed"}
    if bad := [f"{values[word]} {word} ({sign})" for word, sign in signs.items() if values[word]]:
        rest = f" of {many(values.total(), 'value')}: medians, bands and moves leave them out."
        yield Finding(f"{listed(bad)}{rest}", WARN)
    states = Counter(news.state(run) for _, run in found.runs)
    redacted, left_out = sum(run.redacted for _, run in found.runs), len(found.left_out)
    told = [(states["incomplete"], "Run is incomplete", "Runs are incomplete")]
    told += [(states["empty"], "Run has no headline number", "Runs have no headline number")]
    told += [(redacted, *[f"redacted {w}: of unknown devices, neither joined nor judged" for w in ("Run", "Runs")])]
    told += [(left_out, "file is left out, see the tables", "files are left out, see the tables")]
    yield from (Finding(f"{many(*each)}.", WARN) for each in told if each[0])
    if broken := dict.fromkeys(metric(e.key) for e in found.series if any(not s.joined for s in e.segments[1:])):
        yield _said("A probe measures otherwise than before, the sides are not compared: ", listed(list(broken), 2))


def _told(found: History, moves: Sequence[Move], lines: Sequence[Series]) -> list[Finding]:
    """What moved, what is visible though not judged, what lies outside its band, and which changes moved nothing."""
    said = {Move: _move, Shift: _shift}
    told = [said[type(each.largest)](found, each) for each in news.events(moves, news.of(lines, found.shifts))]
    for each in (each for each in found.outliers if each in lines):
        off = f"{units.percent(abs(each.outlier), 2)} {'below' if each.outlier < 0 else 'above'} its median"
        by, step = f": newest {text(each.newest.value.value, each.key)}, {off}", "measure again before believing it"
        told.append(_said(_name(found, each), by, ", outside the band", status=WARN, step=step))
    if len(told) > _MOST:
        told[_MOST:] = [Finding(f"{len(told) - _MOST} more: see what was judged.")]
    quiet, unsure = ([_brief(each) for each in changes] for changes in news.unmoved(moves))
    told += [_said("Moved nothing beyond the scatter: ", listed(quiet, 2), status=PASS)] * bool(quiet)
    few = _said(f"Not judged, under {FEW} valid Runs on a side: ", listed(unsure, 2), status=NOT_JUDGED)
    # where nothing is judged the verdict says so
    return told + [few] * bool(unsure and (found.searched or any(move.verdict != "unknown" for move in found.moves)))


def _move(found: History, event: Event) -> Finding:
    move = event.largest
    verb = {"change": "moved", "step": "stepped", "drift": "drifted"}[move.kind]
    by = f" {verb} by {signed(event.ratio)} ({signed(event.low)} to {signed(event.high)})"
    cause = f" with {_brief(move.changes)}" if move.changes else ", nothing recorded changed"
    when = f", over {move.before} Runs" if move.kind == "drift" else f", {moment(move.until)} UTC"
    step = f"{_changes(move.changes)}: which of them did it, these Runs cannot tell" if len(move.changes) > 1 else ""
    return _said(_name(found, *event.series), by, cause, when, status=WARN, step=step)


def _shift(found: History, event: Event) -> Finding:
    shift, key = event.largest, event.series[0].key
    newest = f"newest {f'{shift.newest} Runs ' * (shift.newest > 1)}{signed(shift.ratio)}"
    by = f": {newest} against the median of {many(shift.earlier, 'earlier Run')}"
    also = f" ({_changes(shift.changes)})" if shift.changes else ""
    step = f"measure again{also}; so few Runs may scatter as much"
    reach = f" ({span(shift.low, shift.high, key)})" * (len(event.series) == 1)
    return _said(_name(found, *event.series), by, ", outside their range", reach, status=NOT_JUDGED, step=step)


def _said(*parts: str, status: str = "", step: str = "") -> Finding:
    """Parts in the order of their importance, as many as a short sentence holds."""
    said = takewhile(lambda text: len(text.split()) <= _WORDS, accumulate(parts))
    return Finding(f"{[parts[0], *said][-1]}.", status, step)


def _name(found: History, *lines: Series) -> str:
    """ "DRAM (burst)", of several devices with the device or how many."""
    who = list(dict.fromkeys(plain(each.device) for each in lines))
    of = f" of {who[0] if len(who) == 1 else many(len(who), 'device')}" if len(found.devices) > 1 else ""
    return f"{metric(lines[0].key)} ({lines[0].regime}){of}"


def _changes(changes: Sequence[Change]) -> str:
    return plain(listed([f"{each.factor} {each.before} → {each.after}" for each in changes]))


def _brief(changes: Sequence[Change]) -> str:
    """What changed from what to what if that is short, else only what."""
    whole = _changes(changes)
    return whole if len(whole.split()) <= 6 else listed([each.factor for each in changes], 2)


def _tile(found: History, key: str) -> doc.Tile:
    levels = {regime: each for regime, each in news.levels(e for e in found.series if e.key == key).items() if each.n}
    if not levels:
        return doc.Tile(metric(key), doc.NONE, ("no valid value in the newest segment",))
    now, *rest = [(regime, text(level.median, key, 3)) for regime, level in levels.items()]
    mine = levels[now[0]]
    said, moved = ["did not move"] * news.stayed(found, mine.lines), news.moved(news.of(mine.lines, found.moves))
    for shift in news.of(mine.lines, found.shifts)[:1]:
        newest = f"newest {f'{shift.newest} ' * (shift.newest > 1)}{signed(shift.ratio)}"
        said = [f"{newest} against {shift.earlier} earlier"]
    for move in moved[:1]:
        cause = listed([change.factor for change in move.changes]) or f"a {move.kind}"
        who = f", {move.series.device}" * (len(found.devices) > 1)
        said = [f"{signed(move.ratio)}, {moment(move.until, 10)} ({cause}{who})"]
    lines = f" of {len(mine.lines)} lines" * (len(mine.lines) > 1)
    spread = f"median of {many(mine.n, 'valid Run')}{lines}, newest segment"
    notes = (*said, *(f"{regime} {level}" for regime, level in rest), spread)
    return doc.Tile(metric(key), now[1], notes, WARN if moved else "")


def _number(found: History, key: str, changes: ChangePoints | None, leads: bool) -> Section:
    """One number: where it stands, what moved it, a figure per regime."""
    place, mine, plots = found.keys.index(key), [each for each in found.series if each.key == key], []
    for regime, lines in news.regimes(mine).items():
        marks = news.of(lines, changes.points) if changes else []
        figure, title = over_time(lines, marks), f"{metric(key)}, {regime}"
        label = f"{title}, over time. {described(figure)}"
        plots.append(doc.Plot(f"fig-{place}-{slug(regime)}", title, figure, caption(lines, marks), label))
    told = [_stands(mine), *_told(found, news.of(mine, found.moves), mine)]
    return Section(f"number-{place}", metric(key), findings=told, plots=plots, group="" if leads else metric(key))


def _stands(lines: Sequence[Series]) -> Finding:
    """The newest segment of a number in each regime, of many devices their median."""
    key, parts = lines[0].key, []
    for regime, level in news.levels(lines).items():
        n, values = len(level.lines), level.values
        what = many(len(values), "valid Run") if n == 1 else f"median of {n} lines"
        ends = f" ({span(min(values), max(values), key)})" if len(values) > 1 else ""
        parts.append(f"{regime} {text(level.median, key)}, {what}{ends}" if values else f"{regime} no valid value")
    return _said("Newest segment: ", parts[0], *(f"; {part}" for part in parts[1:]))


def _tables(found: History, changes: ChangePoints | None, rows: Sequence[dict[str, Any]]) -> Section:
    total = sum(len(run.devices) for _, run in found.runs)
    note = f"The CSV file holds the newest {MOST_ROWS:,} of {total:,} rows; --json prints all."
    left_out = [{"file": file, "why": why} for file, why in found.left_out.items()]
    tables = [_standing(found), _judged(found, changes), _runs(found, rows, total)]
    tables.append(_cut("left-out", "Files left out", left_out, len(left_out), "file", "why"))
    return Section("tables", "Where each number stands", tables=tables, notes=(note,) * (total > MOST_ROWS))


def _cut(id: str, caption: str, rows: Sequence[Mapping[str, Any]], total: int, *columns: Column | str) -> doc.Table:
    more = f": the newest {MOST_SHOWN} of {total:,}" * (total > MOST_SHOWN)
    return doc.table(id, f"{caption}{more}", rows[:MOST_SHOWN], *columns)


def _which(found: History) -> list[Column | str]:
    """What tells a series from others: devices and budgets where there are several."""
    several = {"device": len(found.devices) > 1, "budget": len({each.budget for each in found.series}) > 1}
    return [Column("number", "key", metric), "regime", *filter(several.get, several)]


def _standing(found: History) -> doc.Table:
    rows = list(news.standing(found))
    for row in rows:
        changed = _changes(row["changes"]) or "nothing changed", _AGAINST.get(row["against"])
        row |= {"with": "; ".join(filter(None, changed)), "since": moment(row["since"], 10)}
        row["interval"] = span(row["low"], row["high"], row["key"]) if row["n"] else ""
        row["mark"] = DOUBTS.get(row["validity"])
    columns = [Column("newest", "value", text, "key"), "interval", "n", Column("validity", mark="mark")]
    columns += [Column("segment median", "median", text, "key")]
    columns += [Column("±", "deviation", partial(units.percent, significant=2)), Column("valid Runs", "runs")]
    columns += ["since", Column("moved by", "ratio", signed), "with"]
    return doc.table("standing", "Newest values", rows, *_which(found), *columns, folded=len(rows) > _OPEN)


def _judged(found: History, changes: ChangePoints | None) -> doc.Table:
    rows = news.judged(found, changes)
    for row in rows:
        few = f"; fewer than {TRUSTED} Runs on a side" * (not row.get("trusted", True))
        known = row["verdict"] != "unknown"
        row["interval"] = chance(row["p"]) if "p" in row else f"{signed(row['low'])} to {signed(row['high'])}" * known
        row["mark"] = {"moved": WARN, "unknown": SKIP}.get(row["verdict"])
        row["verdict"] = (row["verdict"] or f"{INFORMATION}{few}") if known else "not judged"
        row["changed"] = _changes(row["changes"]) or "nothing recorded"
        row |= {name: moment(row[name]) for name in ("since", "until")}
    columns = ["since", "until", *_which(found), Column("what", "kind"), Column("moved by", "ratio", signed)]
    columns += [Column("interval or p" if changes else "interval", "interval"), Column("Runs before", "before")]
    columns += ["after", Column("verdict", mark="mark"), "changed"]
    return _cut("moves", "What was judged", rows, len(rows), *columns)


def _runs(found: History, rows: Sequence[dict[str, Any]], total: int) -> doc.Table:
    """A row per Run and device, the newest first."""
    marked = []
    for row in reversed(rows[-MOST_SHOWN:]):
        marks = {name: DOUBTS.get(word) for name, word in row.items() if name.endswith(" validity")}
        marked.append(row | marks | {"mark": DOUBTS.get(row["state"])})
    columns = [Column("started", text=lambda at: at[:16].replace("T", " "))]
    columns += [Column("device", "name")] * (len(found.devices) > 1)
    columns += ["budget", Column("state", mark="mark"), "doubts"]
    for key, regime in dict.fromkeys((each.key, each.regime) for each in found.series):
        name, shown = f"{key} {regime}", partial(text, key=key)
        columns.append(Column(f"{metric(key)}, {regime}", name, shown, mark=f"{name} validity"))
    # of the environment a few; the file has all
    environment = "driver", "power limit", "torch", "host", "file"
    return _cut("runs", "Every Run", marked, total, *columns, *environment)


def _methods(changes: ChangePoints | None) -> Section:
    words, fill = texts("methods"), {"worth": units.percent(WORTH, 1), "least": units.percent(LEAST, 1)}
    fill |= {"information": INFORMATION, "most_p": MOST_P}
    notes = words["trend"] + [words["searched"]] * bool(changes)
    if changes and changes.left_out:
        left = [f"{metric(each.key)} ({each.regime}) of {plain(each.device)}: {why}" for each, why in changes.left_out]
        notes.append(f"Not searched for change points: {listed(left, 3)}.")
    return Section("methods", "Methods", notes=[note.format(**fill) for note in notes], group=METHODS)
