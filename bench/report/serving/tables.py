"""The numbers behind the figures of serving, the planner against a real layer, and what the documents claim."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from bench import units
from bench.analysis.serving import latency, limits
from bench.analysis.serving.claims import Checked, Contradiction
from bench.analysis.serving.claims.finding import CONDITION, DEPENDS, OPEN, RIGHT, WRONG
from bench.analysis.serving.planner import Answer
from bench.analysis.serving.selfcheck import SelfCheck
from bench.report import names
from bench.report.serving.deployment import Chosen, served
from bench.report.serving.figures import curve, lengths, steps
from bench.report.tables import Cell, Column, Table

_NONE = Cell("–")


def _share(value: float) -> str:
    return units.percent(value, 2)


def _number(value: float, text) -> Cell:
    return Cell(text(value), float(value))


def pareto(chosen: Chosen) -> Table:
    columns = (
        Column("formats"), Column("batch", True), Column("per token", True, "s"),
        Column("by the self-check", True), Column("per user", True, "tokens/s"),
        Column("system", True, "tokens/s"), Column("fixed", True), Column("binds"), Column("origin"),
    )  # fmt: skip
    rows = [
        (
            Cell(served(each.weights, each.kv)), Cell(str(batch), batch), _number(step.seconds, units.seconds),
            Cell(units.between(*step.bar, units.seconds) if step.bar else "–"),
            _number(1 / step.seconds, units.digits), _number(batch / step.seconds, units.number),
            _number(step.shares["fixed"], _share), Cell(names.limiter(step.limit)), Cell(step.origin),
        )
        for each in chosen.beside() for batch, step in curve(each)
    ]  # fmt: skip
    return Table("serving-pareto", f"Throughput and latency of {chosen.model.name} over batch", columns, tuple(rows))


def operators(chosen: Chosen) -> Table:
    columns = (
        Column("step"), Column("operator"), Column("count", True), Column("FLOP", True), Column("bytes", True, "B"),
        Column("intensity", True, "FLOP/B"), Column("one launch", True, "s"), Column("% of the step", True),
        Column("fixed", True), Column("waits for"), Column("origin"),
    )  # fmt: skip
    rows = []
    for phase, step in steps(chosen).items():
        for row in step.rows:
            work, timed = row.operation.work, row.timed
            rows.append(
                (
                    Cell(phase), Cell(row.operation.name), Cell(str(row.operation.count), row.operation.count),
                    _number(work.flops, units.number) if work.flops else _NONE, _number(work.bytes, units.number),
                    _number(work.flops / work.bytes, units.digits) if work.flops else _NONE,
                    _number(timed.seconds, units.seconds), _number(row.seconds / step.seconds, _share),
                    _number(timed.share, _share),
                    Cell(names.limiter("overhead" if timed.label == "fixed" else timed.limit)), Cell(timed.origin),
                )
            )  # fmt: skip
    return Table("serving-operators", f"Every operator of {chosen.name}", columns, tuple(rows))


def capacity(chosen: Chosen) -> Table:
    """A row per context, a column per pair of formats."""
    beside = chosen.beside()
    columns = (Column("context", True, "tokens"), *(Column(served(each.weights, each.kv), True) for each in beside))
    rows = [
        (Cell(f"{length:,}", length), *(_batch(each.planner.fits(length).batch) for each in beside))
        for length in lengths(chosen)
    ]
    return Table("serving-capacity", f"Largest batch of {chosen.model.name} on one device", columns, tuple(rows))


def _batch(most: int) -> Cell:
    return Cell(f"{most:,}" if most else "does not fit", most, "" if most else "skip")


def answers(chosen: Chosen) -> Table:
    """Floors, critical batches, capacity and crossovers, each with what binds it."""
    planner = chosen.planner
    found: list[Answer] = [*latency.floors(planner), *latency.first_token(planner), *limits.critical(planner)]
    found += [*limits.room(planner), *limits.crossovers(planner)] if chosen.fits.batch else []
    columns = (
        Column("answer"),
        Column("holds for"),
        Column("value", True),
        Column("by the self-check", True),
        Column("binds"),
        Column("origin"),
        Column("note"),
    )
    rows = [
        (
            Cell(each.name), Cell(", ".join(f"{_word(key)} {_value(value)}" for key, value in each.about.items())),
            Cell(spelt(each.value, each.unit), each.value), Cell(between(each)), Cell(binds(each.bound)),
            Cell(each.origin), Cell(each.note),
        )
        for each in found
    ]  # fmt: skip
    return Table(
        "serving-answers",
        f"Floors, first tokens, critical batches and crossovers of {chosen.name}",
        columns,
        tuple(rows),
    )


def _word(key: str) -> str:
    return key.removesuffix("_s").replace("_", " ")


def _value(value: Any) -> str:
    return units.digits(value) if isinstance(value, float) else names.dtype(str(value))


# What may bind and is no roof.
_LIMITS = ("memory", "user rate", "compute", "network", "ttft", "tpot", "latency")


def binds(bound: str) -> str:
    """The name of a roof, or the limit itself."""
    if bound == "link":
        return "communication (link)"
    return bound if bound in _LIMITS else names.limiter(bound)


def between(each: Answer) -> str:
    """The error bar of an answer, "" where it has none."""
    return units.between(each.low, each.high, partial(spelt, unit=each.unit)) if each.low == each.low else ""


def spelt(value: float, unit: str) -> str:
    """A value for people: what is counted stays whole."""
    made = {"s": units.seconds, "B": units.size, "FLOP/B": units.intensity, "1": units.digits}.get(unit)
    if made:
        return made(value)
    if unit == "J per 1e6 tokens":
        return f"{units.digits(value / 1e6)} J per token"
    return f"{value:,.0f} {unit}" if value >= 100 or float(value).is_integer() else f"{units.digits(value)} {unit}"


def self_check(found: SelfCheck) -> Table | None:
    """Every measured layer beside its prediction; the bad ones too."""
    if not found.checks:
        return None
    columns = (
        Column("model"), Column("phase"), Column("batch", True), Column("context", True), Column("chunk", True),
        Column("measured", True, "s"), Column("predicted", True, "s"), Column("error", True),
        Column("sum of its parts", True, "s"), Column("layer over parts", True), Column("largest operator"),
        Column("whole model by layers", True, "s"), Column("by the planner", True),
    )  # fmt: skip
    rows = [
        (
            Cell(each.model), Cell(each.phase), Cell(str(each.batch), each.batch),
            Cell(f"{each.context:,}", each.context), Cell(f"{each.chunk:,}", each.chunk) if each.chunk else _NONE,
            Cell(units.seconds(each.measured), each.measured, "" if each.validity == "valid" else each.validity),
            _number(each.predicted, units.seconds),
            Cell(signed(each.error), each.error, "suspect" if abs(each.error) > BAD else ""),
            _number(each.parts, units.seconds) if each.parts else _NONE,
            _number(each.composition, units.digits) if each.composition else _NONE, Cell(each.largest),
            _number(each.token.layers, units.seconds) if each.token else _NONE,
            Cell(signed(each.token.error), each.token.error) if each.token else _NONE,
        )
        for each in found.checks
    ]  # fmt: skip
    return Table("serving-selfcheck", "One transformer layer, predicted and measured", columns, tuple(rows))


# An error that a reader is warned of.
BAD = 0.2


def signed(error: float) -> str:
    return f"{'+' if error > 0 else ''}{100 * error:.1f} %"


# A verdict -> the class that colours it.
_MARKS = {RIGHT: "valid", CONDITION: "valid", DEPENDS: "suspect", WRONG: "invalid", OPEN: "skip"}


def claims(checked: Iterable[Checked]) -> list[tuple[str, Table]]:
    """(document, its claims), in the order in which they came; the same columns everywhere."""
    documents: dict[str, list[Checked]] = {}
    for each in checked:
        documents.setdefault(each.document, []).append(each)
    return [
        (document, _claims(f"serving-claims-{number}", document, rows))
        for number, (document, rows) in enumerate(documents.items(), 1)
    ]


def _claims(name: str, document: str, rows: Sequence[Checked]) -> Table:
    columns = (
        Column("no."), Column("claim"), Column("this machine"), Column("verdict"), Column("correction"),
        Column("reference"), Column("shown by"),
    )  # fmt: skip
    body = tuple(
        (
            Cell(each.id), Cell(_claim(each)), _here(each),
            Cell(_verdict(each), each.verdict, _MARKS.get(each.verdict, "")),
            Cell("; ".join(filter(None, (each.correction, each.turns and f"turns on {each.turns}"))) or "–"),
            Cell(each.reference or "–"), Cell(each.shown_by or "–"),
        )
        for each in rows
    )  # fmt: skip
    return Table(name, f"Claims of “{document}”", columns, body)


def _claim(claim: Checked) -> str:
    # a text without chapters is its own group
    return claim.claim if not claim.group or claim.document in claim.group else f"{claim.group}: {claim.claim}"


def _verdict(claim: Checked) -> str:
    return f"{claim.verdict} (by the reference: {claim.by_reference})" if claim.changed else claim.verdict


def _here(claim: Checked) -> Cell:
    if claim.here is None:
        why = f"too few points of the {claim.missing} probe" if claim.partly else f"run the {claim.missing} probe"
        return Cell(f"not measured: {why}", "not measured", "skip")
    return Cell(claim.here)


def contradictions(found: Sequence[Contradiction]) -> Table:
    columns = (Column("claims"), Column("what clashes"), Column("what decides"))
    rows = tuple((Cell(", ".join(each.claims)), Cell(each.clash), Cell(each.decided_by)) for each in found)
    return Table("serving-contradictions", "Claims that cannot all hold", columns, rows)
