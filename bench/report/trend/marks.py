"""What a search for change points adds to the page: sentences, hovers and rows that say it is not the gate."""

from collections import defaultdict
from collections.abc import Sequence

from bench.analysis.changes import TRUSTED, ChangePoint, ChangePoints
from bench.analysis.history import SEARCHED, Series
from bench.report.tables import Cell
from bench.report.trend import words
from bench.report.words import listed, many

METHOD = "E-divisive (Matteson & James 2014)"
STANDING = "information, not the gate"
_MOST = 4


def of(changes: ChangePoints | None, lines: Sequence[Series]) -> list[ChangePoint]:
    """Those of some series, in order of time."""
    mine = {id(each) for each in lines}
    return [point for point in changes.points if id(point.series) in mine] if changes else []


def summary(changes: ChangePoints, several: bool) -> list[str]:
    """What was found among what was searched, and what was not searched; several: whether devices must be named."""
    if not changes.judged:
        few = f"no series has the {SEARCHED} valid Runs that a search for change points needs"
        return [f"{METHOD} was asked for steps, but {few}."]
    searched = many(changes.judged, "series", "series")
    if changes.points:
        where = len({id(point.series) for point in changes.points})
        # a ridge says no more than its roofs
        large = max(changes.points, key=lambda point: (not point.series.key.startswith("ridge "), abs(point.ratio - 1)))
        found = (
            f"marks {many(len(changes.points), 'step')} in {where} of {searched}, the largest"
            f" {words.signed(large.ratio)} in {_name(large.series, several)} at {words.moment(large.at)} UTC"
            f"{f', with {words.changes(large.changes)}' if large.changes else ''}"
        )
    else:
        found = f"marks no step in {searched}"
    return [f"{METHOD} {found}: {STANDING}.", *_left_out(changes, several)]


def _left_out(changes: ChangePoints, several: bool) -> list[str]:
    if not changes.left_out:
        return []
    series, reason = changes.left_out[0]
    more = f", and {len(changes.left_out) - 1} more" if len(changes.left_out) > 1 else ""
    return [f"Not searched for change points: {_name(series, several)} ({reason}){more}."]


def _name(series: Series, several: bool) -> str:
    return f"{words.metric(series.key)} ({series.regime})" + f" of {series.device}" * several


def paragraph(points: Sequence[ChangePoint], several: bool) -> str:
    """The steps of one number, the newest last; "" without any. several: whether devices must be named."""
    if not points:
        return ""
    groups: dict[str, list[str]] = defaultdict(list)
    for each in points[-_MOST:]:
        where = f"{each.series.regime}{f' of {each.series.device}' * several}"
        groups[where].append(f"{words.signed(each.ratio)} at {words.moment(each.at)}")
    parts = [f"{listed(steps)} in {where}" for where, steps in groups.items()]
    parts += [f"{len(points) - _MOST} older"] if len(points) > _MOST else []
    return f"E-divisive marks {'; '.join(parts)}: {STANDING}."


def label(points: Sequence[ChangePoint]) -> str:
    """What a figure's text alternative adds."""
    parts = [f"{words.signed(each.ratio)} on {words.day(each.at)}" for each in points[-_MOST:]]
    return f" E-divisive marks {listed(parts)}." if parts else ""


def hover(point: ChangePoint) -> str:
    lines = [
        f"{point.series.device}: {words.signed(point.ratio)} by E-divisive, {chance(point.p)}",
        f"between {words.moment(point.since)} and {words.moment(point.at)} UTC",
        f"{point.before} valid Runs before, {point.after} after{'' if point.trusted else ': few'}",
        STANDING,
    ]
    return "\n".join(lines)


def row(point: ChangePoint) -> tuple[Cell, ...]:
    """Its row in the table of what was judged."""
    each = point.series
    return (
        Cell(words.moment(point.at)),
        Cell(words.metric(each.key), each.key),
        Cell(each.regime),
        Cell(each.device),
        Cell(each.budget),
        Cell("step by E-divisive"),
        Cell(words.signed(point.ratio), point.ratio - 1),
        Cell(chance(point.p), point.p),
        Cell(str(point.before), point.before),
        Cell(str(point.after), point.after),
        Cell(STANDING if point.trusted else f"{STANDING}; fewer than {TRUSTED} Runs on a side"),
        Cell(words.changes(point.changes) if point.changes else "nothing recorded"),
    )


def chance(p: float) -> str:
    """Otava rounds p to six digits."""
    return f"p {p:.6f}".rstrip("0") if p >= 5e-7 else "p < 0.000001"
