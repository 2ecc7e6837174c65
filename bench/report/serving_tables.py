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
from bench.report.document import DOUBTS, FAIL, PASS, SKIP, WARN, Column, Section, Table, table
from bench.report.phrases import listed, many, signed, slug
from bench.report.plots import serving as figures
from bench.transformer import FORMATS

# An error of the self-check that a reader is warned of.
_BAD = 0.2
# Tables of more rows are opened on demand.
_LONG = 16
_MARKS = {RIGHT: PASS, CONDITION: PASS, DEPENDS: WARN, WRONG: FAIL, OPEN: SKIP}
share = partial(units.percent, significant=2)
_length = "{:,}".format
_SECONDS = {"text": units.seconds, "unit": "s"}
_SELF_CHECK = Column("by the self-check", "bar")
_ENDS = (Column("binds", "bound"), "origin", Column("note", text=names.terms))


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
        if not answers:
            return None
        id = slug("-".join([self.question, *self.over, self.caption]))
        caption = self.caption or (self.names[0] if len(self.names) == 1 else self.question).capitalize()
        if self.over:
            return _pivot(id, caption, answers, self)
        columns = [Column("answer", "name", names.terms), Column("holds for", "holds")]
        columns += [Column("value", text=records.spelt, by="unit"), _SELF_CHECK, *_ENDS]
        return _table(id, caption, map(_row, answers), *columns)


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


def curves(deployment: Deployment) -> Iterator[Table]:
    """Throughput and latency over batch, a table per pair of formats."""
    columns = ["batch", Column("per token", "tpot_s", **_SECONDS)]
    columns += [Column("per user", "tokens_per_user", units.digits, unit="tokens/s")]
    columns += [Column("in all", "value", units.number, unit="tokens/s"), _SELF_CHECK, Column("fixed", text=share)]
    for number, each in enumerate(deployment.beside()):
        caption, rows = f"{figures.formats(each)}, by batch", map(_row, latency.pareto(each.planner))
        yield table(f"serving-pareto-{number}", caption, rows, *columns, *_ENDS)


def operators(deployment: Deployment) -> Table:
    """Every operator of the steps that are drawn."""
    columns = ["step", "operator", "count", Column("FLOP", "flops", units.number)]
    columns += [Column("bytes", text=units.number, unit="B"), Column("intensity", text=units.digits, unit="FLOP/B")]
    columns += [Column("one launch", "seconds", **_SECONDS), Column("% of the step", "part", share)]
    columns += [Column("fixed", text=share), Column("waits for", "bound", figures.bound), "origin"]
    return _table("operators", "Every operator", records.operators(deployment), *columns)


def fits(deployment: Deployment) -> Table:
    """The largest batch: a row per context, a column per pair of formats."""
    beside = {figures.formats(each): rows["batch"] for each, rows in records.fits(deployment)}
    rows = pd.DataFrame({"context": deployment.lengths} | beside).to_dict("records")
    most = (Column(name, text=lambda most: _length(most) if most else "does not fit") for name in beside)
    return _table("fits", "Largest batch", rows, Column("context", text=_length, unit="tokens"), *most)


def checks(found: SelfCheck) -> Table:
    """Every measured layer beside its prediction, the bad ones marked."""
    rows = []
    for row in records.checks(found):
        rows.append(row | {"far": WARN * (abs(row["error"]) > _BAD), "doubt": DOUBTS.get(row["validity"], "")})
    columns = ["model", "phase", "batch", Column("context", text=_length), Column("chunk", "beside", _length)]
    columns += [Column("measured", mark="doubt", **_SECONDS), Column("predicted", **_SECONDS)]
    columns += [Column("error", text=error, mark="far"), Column("sum of its parts", "parts", **_SECONDS)]
    columns += [Column("layer over parts", "composition", units.digits), Column("largest operator", "largest")]
    columns += [Column("whole model by layers", "layers", **_SECONDS), Column("by the planner", "planned", **_SECONDS)]
    return _table("selfcheck", "One transformer layer, predicted and measured", rows, *columns)


def _table(id: str, caption: str, rows: Iterable[dict[str, Any]], *columns: Column | str) -> Table:
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
    return re.sub(r" (tokens/s|sequences)", "", f"{records.spelt(each.value, each.unit)}{f' ({bar})' if bar else ''}")


# --- claims of public texts, and which of them this machine decides otherwise than datasheets do


def claims(checked: Sequence[CheckedClaim], clashes: Iterable[Contradiction]) -> Section:
    """How what public texts claim of serving LLMs stands here; first those whose verdict this machine changes."""
    columns = [Column("no.", "id"), Column("text", "document"), Column("claim", "said")]
    columns += [Column("this machine", "shown", mark="lack"), Column("verdict", "decided", mark="mark")]
    columns += [Column("correction", "corrected"), "reference", Column("shown by", "shown_by")]
    changed, caption = [claim(each) for each in checked if each.changed], "Claims that this machine decides otherwise"
    tables = [table("claims-changed", caption, changed, *columns, folded=False)]
    tables += [table("claims", "Every claim beside what this machine shows", map(claim, checked), *columns)]
    columns = [Column("claims", text=", ".join), Column("what clashes", "clash"), Column("what decides", "decided_by")]
    tables += [table("claims-clashes", "Claims that cannot all hold", map(asdict, clashes), *columns)]
    question = "What do public texts say of serving LLMs, and does it hold here?"
    return Section("claims", "Claims, checked", question, "", _counts(checked), (), tables, group="Claims")


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
    shown, lack = (f"not measured: {lacking}", SKIP) if each.here is None else (each.here, "")
    decided = f"{each.verdict} (by the reference: {each.by_reference})" if each.changed else each.verdict
    depends = f"depends on {each.depends_on}" if each.depends_on else ""
    corrected = "; ".join(filter(None, (each.correction, depends)))
    about = {"shown": shown, "lack": lack, "decided": decided, "mark": _MARKS.get(each.verdict, "")}
    return records.claim(each) | about | {"corrected": corrected}
