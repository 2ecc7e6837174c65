"""The history's page, in the skeleton of a Run's: escaped, hashed for the Content-Security-Policy, self-contained."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import bench
from bench import units
from bench.analysis.changes import LEAST, MOST_P, TRUSTED, ChangePoint, ChangePoints
from bench.analysis.history import SEARCHED, WORTH, History, Series
from bench.report.figures import style
from bench.report.sections import Plot
from bench.report.shell import Data, packed, rendered
from bench.report.trend import figures, marks, tables, words
from bench.report.words import many

# Rows of the file that the page carries, and its size as base64.
MOST_ROWS, MOST_PACKED = 20_000, 2_400_000


@dataclass(frozen=True)
class Tile:
    """A headline number as it stands now."""

    name: str
    value: str
    sustained: str
    moved: str
    spread: str


@dataclass(frozen=True)
class Part:
    """One number: its paragraph and a figure per regime."""

    id: str
    title: str
    paragraph: str
    plots: tuple[Plot, ...]


def page(history: History, changes: ChangePoints | None = None) -> str:
    """The history as one HTML document; changes: what a search for change points found, if one was made."""
    keys = dict.fromkeys(each.key for each in history.series)
    parts = [_part(history, number, key, changes) for number, key in enumerate(keys)]
    plots = [plot for part in parts for plot in part.plots]
    for plot in plots:
        style.mark(plot.figure, history.simulated)
    title = f"{'SIMULATED · ' * history.simulated}{history.name} · trend · {words.day(history.runs[-1][1].at)}"
    return rendered(
        "trend/page.html.j2",
        plots,
        history=history,
        suite=bench.__version__,
        title=title,
        lead=words.lead(history),
        look=[*words.look_first(history), *(marks.summary(changes, len(history.devices) > 1) if changes else [])],
        tiles=_tiles(history),
        parts=parts,
        standing=tables.standing(history),
        moves=tables.moves(history, changes.points if changes else ()),
        method=_method() if changes else "",
        runs=tables.runs(history),
        left_out=tables.left_out(history),
        download=_download(history),
        worth=units.percent(WORTH, 1),
    )


def _download(history: History) -> Data:
    """Every row as CSV, or as many of the newest as keep the page small."""
    rows = sum(len(run.devices) for _, run in history.runs)
    held = min(rows, MOST_ROWS)
    content = packed(tables.as_csv(history, held))
    while len(content) > MOST_PACKED:
        held = int(0.95 * held * MOST_PACKED / len(content))
        content = packed(tables.as_csv(history, held))
    note = f"The file holds the newest {held:,} of {rows:,} rows; --json prints all." if held < rows else ""
    return Data("csv", f"trend-{history.product}.csv", "text/csv", content, note)


def _method() -> str:
    return (
        "Steps marked by E-divisive (Matteson & James 2014, arXiv:1306.4933), as Apache Otava runs it in windows of"
        " 50 Runs with t-tests (Fleming et al. 2023, doi:10.1145/3578244.3583719), are"
        f" {marks.STANDING}: p at most {MOST_P:g}, levels {units.percent(LEAST, 1)} or more apart,"
        f" {SEARCHED} valid Runs or more; with fewer than {TRUSTED} on a side, wait for more. In simulations it marked"
        " 1 to 3 of 100 unchanged series whose noise was independent (below 1 with ten Runs on each side), 12 of 100"
        " whose neighbouring Runs were correlated by 0.3, and it cut drifts into stairs. Nothing corrects"
        " for the number of series."
    )


def _part(history: History, number: int, key: str, changes: ChangePoints | None) -> Part:
    mine = [each for each in history.series if each.key == key]
    plots = []
    for regime in dict.fromkeys(each.regime for each in mine):
        lines = [each for each in mine if each.regime == regime]
        name = f"fig-{number}-{regime if regime.isalpha() else 'regime'}"
        points = marks.of(changes, lines)
        text = words.label(lines) + marks.label(points)
        plots.append(Plot(name, figures.over_time(lines, points), text, regime.capitalize(), _caption(lines, points)))
    marked = marks.paragraph(marks.of(changes, mine), len(history.devices) > 1)
    prose = f"{words.paragraph(history, mine)} {marked}".rstrip()
    return Part(f"number-{number}", words.metric(key), prose, tuple(plots))


def _caption(lines: Sequence[Series], points: Sequence[ChangePoint]) -> str:
    each = figures.thinned(lines)
    if each > 1:
        text = f"Each point is the median of up to {each} neighbouring Runs"
        text += ", the coloured band their reach with intervals." * (len(lines) <= figures.FEW_LINES) or "."
    elif len(lines) > figures.FEW_LINES:
        text = "Each point is a Run; intervals are in the hover and in the tables."
    else:
        text = "Each point is a Run, the coloured band its interval."
    if len(lines) <= figures.FEW_LINES and any(s.deviation is not None for e in lines for s in e.segments):
        text += " Dashed, on grey: a segment's median and twice the typical deviation around it."
    if any(len(each.segments) > 1 for each in lines):
        text += " Vertical: the environment changed."
    if any(not segment.joined for each in lines for segment in each.segments[1:]):
        text += " Dotted: a probe measures otherwise from there on, so the sides are not compared."
    if points:
        text += f" Dash-dotted, with a diamond: a step by E-divisive; {marks.STANDING}."
    if any(p.value.validity == "suspect" for e in lines for p in e.points):
        text += " Open: suspect."
    if any(p.value.validity == "invalid" for e in lines for p in e.points):
        text += " Crosses: invalid, triangles: invalid and beyond the axis; neither counts."
    return text


def _tiles(history: History) -> list[Tile]:
    tiles = []
    for key in dict.fromkeys(each.key for each in history.series):
        mine = [each for each in history.series if each.key == key and each.segments[-1].n]
        regimes = list(dict.fromkeys(each.regime for each in mine))
        if not regimes:
            tiles.append(Tile(words.metric(key), "–", "", "no valid value in the newest segment", ""))
            continue
        now = [_now(mine, regime, key) for regime in regimes]
        lasting = f"{regimes[1]} {now[1]}" if len(now) > 1 else ""
        moved = [m for m in history.moves if m.series.key == key and m.series.regime == regimes[0]]
        large = max((m for m in moved if m.verdict == "moved"), key=lambda m: abs(m.ratio - 1), default=None)
        who = f", {large.series.device}" if large and len(history.devices) > 1 else ""
        what = (
            f"{words.signed(large.ratio)} on {words.day(large.until)} ({_cause(large)}{who})"
            if large
            else "did not move"
        )
        if not any(m.verdict != "unknown" for m in moved) and not any(s.n >= 10 for e in mine for s in e.segments):
            what = "too few Runs to say if it moved"
        first = [each for each in mine if each.regime == regimes[0]]
        count = sum(each.segments[-1].n for each in first)
        lines = f" of {many(len(first), 'line')}" if len(first) > 1 else ""
        spread = f"median of {many(count, 'valid Run')}{lines}, newest segment"
        tiles.append(Tile(words.metric(key), now[0], lasting, what, spread))
    return tiles


def _now(mine: Sequence[Series], regime: str, key: str) -> str:
    return words.text(key, median(each.segments[-1].median for each in mine if each.regime == regime), 3)


def _cause(move) -> str:
    return words.listed([change.factor for change in move.changes]) if move.changes else f"a {move.kind}"
