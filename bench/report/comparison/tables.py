"""The numbers behind the comparison as tables: every roof, every common case, and what could not be compared."""

from collections.abc import Sequence

from bench import units
from bench.analysis.difference import Against, Difference, Pair
from bench.analysis.fit import Fit
from bench.report import names
from bench.report.comparison import words
from bench.report.comparison.conditions import Condition
from bench.report.comparison.words import Label
from bench.report.tables import Cell, Column, Table
from bench.report.words import kind, validity
from bench.schema import SUSTAINED, Run

# More rows than this make a page slow, and nobody reads them: the largest differences come first, JSON has them all.
MOST_CASES = 600
_NONE = Cell("–")
_MARKS = {"slower": "invalid", "faster": "good", "perhaps slower": "suspect", "perhaps faster": "suspect"}


def runs(made: Sequence[Run], fits: Sequence[Sequence[Fit]], named: Sequence[Label]) -> Table:
    """What the letters stand for."""
    columns = [Column(name) for name in ("Run", "devices", "kind", "started", "budget", "validity", "complete", "host")]
    columns += [Column("measurements", True), Column("id")]
    body = []
    for run, these, label in zip(made, fits, named, strict=True):
        about, judged = run.environment, validity(run, these).word
        cells = [Cell(f"{label.letter}, reference" if label.letter == "A" else label.letter)]
        cells += [Cell(words.machine(run)), Cell("simulated" if about.simulated else "measured")]
        cells += [Cell(about.started[:16].replace("T", " "), about.started), Cell(about.budget)]
        cells += [Cell(judged, mark="" if judged == "valid" else judged)]
        cells += [
            Cell("yes" if run.complete else "no", mark="" if run.complete else "suspect"),
            Cell(about.host or "–"),
        ]
        cells += [Cell(str(len(run.measurements)), len(run.measurements)), Cell(about.run_id[:8])]
        body.append(tuple(cells))
    return Table("runs", "What the letters stand for", tuple(columns), tuple(body))


def conditions(found: Sequence[Condition], named: Sequence[Label]) -> Table:
    columns = (Column("what differs"), *(Column(label.name) for label in named))
    body = tuple((Cell(row.what), *(Cell(value) for value in row.values)) for row in found)
    return Table("conditions", "What differs around the Runs", columns, body)


def roofs(found: Sequence[Against], named: Sequence[Label]) -> Table:
    """Every roof, ridge and knee that both state, headline first."""
    rows = [row for row in _rows(found, named, "roof", "ridge", "knee") if row[2].judged]
    rows.sort(key=lambda row: not row[2].headline)
    return _differences("differences", "Roofs, ridges and knees", rows, found, named)


def cases(found: Sequence[Against], named: Sequence[Label]) -> Table:
    """The common cases, the largest differences first."""
    rows = [row for row in _rows(found, named, "case") if row[2].judged]
    rows.sort(key=lambda row: (not row[2].differs, -abs(row[2].contrast.centre if row[2].contrast else 0.0)))
    shown = rows[:MOST_CASES]
    title = "Common cases, largest differences first"
    if len(rows) > len(shown):
        title += f": {len(shown)} of {len(rows)}, all are in the JSON below"
    return _differences("cases", title, shown, found, named)


_Row = tuple[Label, Pair, Difference]


def _rows(found: Sequence[Against], named: Sequence[Label], *kinds: str) -> list[_Row]:
    return [
        (label, pair, each)
        for label, against in zip(named[1:], found, strict=True)
        for pair in against.pairs
        for each in pair.of(*kinds)
    ]


def _differences(
    name: str, title: str, rows: Sequence[_Row], found: Sequence[Against], named: Sequence[Label]
) -> Table:
    several = any(len(against.pairs) > 1 for against in found)
    doubtful = any(each.doubts for _, _, each in rows)
    alone = len(found) == 1
    columns = [Column("what")] + [Column("Run")] * (not alone) + [Column("devices")] * several
    columns += [Column(named[0].name, True), Column(named[1].name if alone else "other", True)]
    columns += [Column("difference", True, "other / reference"), Column("interval"), Column("verdict")]
    columns += [Column("seen from", True), Column("rests on")] + [Column("doubts")] * doubtful
    body = []
    for label, pair, each in rows:
        cells = [Cell(words.what(each))] + [Cell(label.name)] * (not alone)
        cells += [Cell(f"{names.device(pair.other.info.id)} / {names.device(pair.reference.info.id)}")] * several
        cells += [Cell(value(each, number), number) if number else _NONE for number in (each.reference, each.other)]
        cells += [Cell(words.change(each.ratio or 1.0), each.ratio), Cell(words.span(each))]
        near = " (hardly)" if each.differs and each.equivalent else ""
        cells += [Cell(f"{each.verdict}{near}", each.verdict, _MARKS.get(each.verdict, ""))]
        cells += [Cell(words.visible(each), each.visible), Cell(each.basis)]
        cells += [Cell("; ".join(each.doubts), mark="suspect" if each.doubts else "")] * doubtful
        body.append(tuple(cells))
    return Table(name, title, tuple(columns), tuple(body))


def value(each: Difference, number: float) -> str:
    """A quantity in its unit."""
    if each.kind == "case":
        return units.seconds(number)
    return units.rate_text(number, each.key) if each.kind == "roof" else units.intensity(number)


def apart(found: Sequence[Against], named: Sequence[Label]) -> Table:
    """What could not be compared, and why; like with like."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for label, _, each in _rows(found, named, "roof", "ridge", "knee", "case"):
        if not each.judged:
            what = {"case": "cases of " + each.key}.get(each.kind, f"{each.kind}s")
            lasting = ", sustained" if each.regime == SUSTAINED and each.kind != "case" else ""
            groups.setdefault((label.name, what + lasting, each.reason), []).append(words.what(each))
    columns = (Column("Run"), Column("what"), Column("number", True), Column("why"), Column("which"))
    body = []
    for (name, what, reason), which in groups.items():
        which = list(dict.fromkeys(which))
        more = f"; and {len(which) - 4} more" if len(which) > 4 else ""
        count = Cell(str(len(which)), len(which))
        body.append((Cell(name), Cell(what), count, Cell(reason), Cell("; ".join(which[:4]) + more)))
    return Table("apart", "Not comparable", columns, tuple(body))


def skips(found: Sequence[Against], named: Sequence[Label]) -> Table:
    """Cases that only one of two Runs measured, with the other's reason."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for label, against in zip(named[1:], found, strict=True):
        for pair in against.pairs:
            sides = ((named[0].name, pair.reference, label.name, pair.other),)
            for have, ours, lack, theirs in (*sides, *((c, d, a, b) for a, b, c, d in sides)):
                known = {_case(case): case for case in theirs.cases}
                for case in ours.cases:
                    twin = known.get(_case(case))
                    if case.seconds and (twin is None or twin.seconds is None):
                        why = "not in its plan" if twin is None else twin.skip or "; ".join(twin.causes) or "invalid"
                        text = names.case(case.params)
                        groups.setdefault((have, lack, case.probe, kind(why)), [why]).append(text)
    columns = (Column("measured in"), Column("not in"), Column("probe"), Column("cases", True), Column("why"))
    columns += (Column("for example"),)
    body = []
    for (have, lack, probe, _), (why, *which) in groups.items():
        body.append((Cell(have), Cell(lack), Cell(probe), Cell(str(len(which)), len(which)), Cell(why), Cell(which[0])))
    return Table("skips", "Measured in one of two Runs only", columns, tuple(body))


def _case(case) -> tuple:
    return case.probe, tuple(case.params.items()), case.regime == SUSTAINED
