"""Answers on serving as tables: lists, answers by what they hold for, operators, what fits, self-check and claims."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pandas as pd

from bench import units
from bench.analysis import names
from bench.analysis.serving import latency, records
from bench.analysis.serving.answers import Answers
from bench.analysis.serving.claims import CheckedClaim, Contradiction, tally
from bench.analysis.serving.claims.evidence import CONDITION, DEPENDS, OPEN, RIGHT, WRONG
from bench.analysis.serving.planner import Answer
from bench.analysis.serving.records import Deployment
from bench.analysis.serving.selfcheck import SelfCheck
from bench.report.document import FAIL, PASS, SKIP, WARN, Column, Section, Table, table
from bench.report.phrases import listed, many, signed, slug
from bench.report.plots import serving as figures
from bench.transformer import FORMATS

# An error of the self-check that a reader is warned of.
_BAD = 0.2
# Tables of more rows are opened on demand.
_LONG = 16
share = partial(units.percent, significant=2)
_length = "{:,}".format


@dataclass(frozen=True)
class Shown:
    """How a question's answers are shown: as a list, or with a row for each of `over` and a column for each of `by`.

    names: only the answers of these names. caption: what else the table is called.
    """

    question: str
    over: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    caption: str = ""

    def table(self, found: Answers) -> Table | None:
        answers = [each for each in found[self.question] if not self.names or each.name in self.names]
        id = slug("-".join([self.question, *self.over, self.caption]))
        caption = self.caption or (self.names[0] if len(self.names) == 1 else self.question).capitalize()
        if self.over:
            return _pivot(id, caption, answers, self) if answers else None
        return _table(id, caption, map(_row, answers), *_LIST) if answers else None


def error(value: float) -> str:
    """Predicted over measured less 1: "+9.1 %"."""
    return signed(1 + value)


def _about(key: str, value: Any) -> str:
    """What an answer holds for, in words: "batch 64", "TPOT limit 33.3 ms", "weights FP8"."""
    word = names.terms(key.removesuffix("_per_s").removesuffix("_s").replace("_", " "))
    if key.endswith("_per_s"):
        return f"{units.digits(value)} {word}/s"
    return f"{word} {units.seconds(value) if key.endswith('_s') else _plain(value)}"


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else figures.label(value) if value in FORMATS else str(value)


def _texts(**heads: str) -> tuple[Column, ...]:
    return tuple(Column(head, key) for key, head in heads.items())


_SELF_CHECK = Column("by the self-check", "bar")
_ENDS = (*_texts(bound="binds", origin="origin"), Column("note", text=names.terms))
_AMOUNT = Column("value", text=records.spelt, by="unit")
_LIST = (Column("answer", "name", names.terms), Column("holds for", "holds"), _AMOUNT, _SELF_CHECK, *_ENDS)
_CURVE = (
    Column("batch"),
    Column("per token", "tpot_s", units.seconds, unit="s"),
    Column("per user", "tokens_per_user", units.digits, unit="tokens/s"),
    Column("in all", "value", units.number, unit="tokens/s"),
    _SELF_CHECK,
    Column("fixed", text=share),
    *_ENDS,
)
_OPERATORS = (
    *map(Column, ("step", "operator", "count")),
    Column("FLOP", "flops", units.number),
    Column("bytes", text=units.number, unit="B"),
    Column("intensity", text=units.digits, unit="FLOP/B"),
    Column("one launch", "seconds", units.seconds, unit="s"),
    Column("% of the step", "part", share),
    Column("fixed", text=share),
    Column("waits for", "bound", figures.bound),
    Column("origin"),
)
_CHECKS = (
    *map(Column, ("model", "phase", "batch")),
    Column("context", text=_length),
    Column("chunk", "beside", _length),
    Column("measured", text=units.seconds, unit="s", mark="doubt"),
    Column("predicted", text=units.seconds, unit="s"),
    Column("error", text=error, mark="far"),
    Column("sum of its parts", "parts", units.seconds, unit="s"),
    Column("layer over parts", "composition", units.digits),
    Column("largest operator", "largest"),
    Column("whole model by layers", "layers", units.seconds, unit="s"),
    Column("by the planner", "planned", units.seconds, unit="s"),
)


def curves(deployment: Deployment) -> Iterator[Table]:
    """Throughput and latency over batch, a table per pair of formats."""
    for number, each in enumerate(deployment.beside()):
        rows = map(_row, latency.pareto(each.planner))
        yield table(f"serving-pareto-{number}", f"{figures.formats(each)}, by batch", rows, *_CURVE)


def operators(deployment: Deployment) -> Table:
    """Every operator of the steps that are drawn."""
    return _table("operators", "Every operator", records.operators(deployment), *_OPERATORS)


def fits(deployment: Deployment) -> Table:
    """The largest batch: a row per context, a column per pair of formats."""
    beside = {figures.formats(each): rows["batch"] for each, rows in records.fits(deployment)}
    rows = pd.DataFrame({"context": deployment.lengths} | beside).to_dict("records")
    most = (Column(name, text=lambda most: _length(most) if most else "does not fit") for name in beside)
    return _table("fits", "Largest batch", rows, Column("context", text=_length, unit="tokens"), *most)


def checks(found: SelfCheck) -> Table:
    """Every measured layer beside its prediction, the bad ones marked."""
    marks = {"suspect": WARN, "invalid": FAIL}
    rows = [
        row | {"far": WARN if abs(row["error"]) > _BAD else "", "doubt": marks.get(row["validity"], "")}
        for row in records.checks(found)
    ]
    return _table("selfcheck", "One transformer layer, predicted and measured", rows, *_CHECKS)


def _table(id: str, caption: str, rows: Iterable[dict[str, Any]], *columns: Column) -> Table:
    rows = tuple(rows)
    return table(f"serving-{id}", caption, rows, *columns, folded=len(rows) > _LONG)


def _row(each: Answer) -> dict[str, Any]:
    about = ", ".join(_about(key, value) for key, value in each.about.items())
    return asdict(each) | each.about | {"holds": about, "bar": records.bar(each), "bound": figures.bound(each.bound)}


def _pivot(id: str, caption: str, answers: Iterable[Answer], shown: Shown) -> Table:
    """A row is as sure as the least sure of its numbers, and names what binds each of them."""
    rows: list[dict[str, Any]] = []
    columns: dict[str, Column] = {}
    for place, mine in records.grouped(answers, shown.over).items():
        row = dict(zip(shown.over, place, strict=True)) | records.together(mine)
        row["bound"] = ", ".join(dict.fromkeys(map(figures.bound, row["bound"])))
        for each in mine:
            head = _heading(each, shown)
            columns[head] = Column(head, text=_said, by=f"{head} answer")
            row |= {head: each.value, f"{head} answer": each}
        rows.append(row)
    heads = [Column(key, text=_plain) for key in shown.over]
    return _table(id, caption, rows, *heads, *columns.values(), Column("stopped by", "stops", names.terms), *_ENDS[:2])


def _heading(each: Answer, shown: Shown) -> str:
    """What a number of a row is, and for which of the values that the columns are for."""
    values = ((key, each.about[key]) for key in shown.by if key in each.about)
    head = [value if isinstance(value, str) else _about(key, value) for key, value in values]
    name = [re.sub("^(closed loop|quantised|sla) ", "", each.name)] * (len(shown.names) != 1 or not head)
    return names.terms(", ".join([*name, *head, *([each.unit] * (each.unit == "tokens/s"))]))


def _said(_: float, each: Answer) -> str:
    """Value and bar; what the heading says, or counts sequences, needs no unit."""
    bar = records.bar(each)
    text = f"{records.spelt(each.value, each.unit)}{f' ({bar})' if bar else ''}"
    return re.sub(r" (tokens/s|sequences)", "", text)


# --- claims of public texts, and which of them this machine decides otherwise than datasheets do

_MARKS = {RIGHT: PASS, CONDITION: PASS, DEPENDS: WARN, WRONG: FAIL, OPEN: SKIP}
CLAIMS = (
    *_texts(id="no.", document="text", said="claim"),
    Column("this machine", "shown", mark="lack"),
    Column("verdict", "decided", mark="mark"),
    *_texts(corrected="correction", reference="reference", shown_by="shown by"),
)
_CLASHES = (Column("claims", "claims", ", ".join), *_texts(clash="what clashes", decided_by="what decides"))


def claims(checked: Sequence[CheckedClaim], clashes: Iterable[Contradiction]) -> Section:
    """How what public texts claim of serving LLMs stands here; first those whose verdict this machine changes."""
    changed = [claim(each) for each in checked if each.changed]
    tables = (
        table("claims-changed", "Claims that this machine decides otherwise", changed, *CLAIMS, folded=False),
        table("claims", "Every claim beside what this machine shows", map(claim, checked), *CLAIMS),
        table("claims-clashes", "Claims that cannot all hold", map(asdict, clashes), *_CLASHES),
    )
    return Section(
        "claims",
        "Claims, checked",
        "What do public texts say of serving LLMs, and does it hold here?",
        findings=_counts(checked),
        tables=tables,
        group="Claims",
    )


def _counts(checked: Sequence[CheckedClaim]) -> Iterator[str]:
    """How many claims stand, which of them this machine decides otherwise, and how many it could not be asked about."""
    found = tally(checked)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found.here.items() if count)
    texts = many(len({each.document for each in checked}), "text")
    yield f"{many(len(checked), 'claim')} of {texts}: {counts}."
    if found.changed:
        changed = listed([each.id for each in found.changed], 6)
        yield f"This machine decides {len(found.changed)} otherwise than datasheets do: {changed}."
    if found.unmeasured:
        whose = "their verdicts are those" if found.unmeasured > 1 else "its verdict is that"
        yield f"{found.unmeasured} not measured in this Run; {whose} of the reference."


def claim(each: CheckedClaim) -> dict[str, Any]:
    """A claim as a row."""
    lacking = f"too few points of the {each.missing} probe" if each.partly else f"run the {each.missing} probe"
    depends = f"depends on {each.depends_on}" if each.depends_on else ""
    return records.claim(each) | {
        "shown": f"not measured: {lacking}" if each.here is None else each.here,
        "lack": SKIP if each.here is None else "",
        "decided": f"{each.verdict} (by the reference: {each.by_reference})" if each.changed else each.verdict,
        "mark": _MARKS.get(each.verdict, ""),
        "corrected": "; ".join(filter(None, (each.correction, depends))),
    }
