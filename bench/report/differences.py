"""Differences of two Runs in words and rows, as tables, figures and findings read them; and those from a baseline."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bench import units
from bench.analysis import names, run_comparison
from bench.analysis.fit import Fit
from bench.analysis.quality import kind as kind_of
from bench.analysis.quantities import EQUIVALENT, Difference
from bench.analysis.run_comparison import SAME_RUN, Pair, RunComparison
from bench.analysis.several_runs import LOST, grouped
from bench.report.document import FAIL, NOT_JUDGED, PASS, WARN, Column, Finding, Table, table
from bench.report.phrases import listed, many, plain, signed
from bench.report.plots import theme
from bench.report.plots.runs import RunLabel
from bench.schema import SUSTAINED

MARKS = {"slower": FAIL, "faster": PASS, "perhaps slower": WARN, "perhaps faster": WARN}
_GROUP = ("number", "why", "which")


def what(found: Difference) -> str:
    """ "DRAM", "BF16 GEMM sustained", "ridge BF16 GEMM / DRAM", "knee of the FP32 FMA sweep"."""
    if found.kind == "knee":
        return f"knee of the {names.dtype(found.key)} FMA sweep"
    text = f"{found.key}: {names.case(found.params or {})}"
    if found.kind != "case":
        text = "ridge " * (found.kind == "ridge") + " / ".join(map(names.roof, found.key.split("/")))
    return f"{text} sustained" if found.regime == SUSTAINED else text


def change(ratio: float) -> str:
    """ "−10.1 %", "+0.32 %", and "× 3.40" for what is another class of machine."""
    return signed(ratio, 3 if abs(ratio - 1) >= 0.0995 else 2)


def span(found: Difference) -> str:
    """The interval in the same terms: "−10.9 to −9.3 %"."""
    if found.interval is None or found.interval[1] > LOST * found.interval[0]:
        return f"wider than a factor of {LOST:.0f}" * found.judged
    # both ends as factors, or both as percent
    factors = not all(0.5 < end < 2 for end in found.interval)
    low, high = (f"× {units.digits(end)}" if factors else change(end) for end in found.interval)
    return f"{low.removesuffix(' %') if high.endswith(' %') else low} to {high}"


def visible(share: float) -> str:
    """The smallest difference that could have been seen: "1.3 %", "× 4.2"."""
    return units.percent(share, 2) if share < 1 else f"× {units.digits(min(1 + share, LOST), 2)}"


def row(label: RunLabel, pair: Pair, found: Difference, crowded: bool) -> dict[str, Any]:
    """For tables and the forest plot. crowded: there are several devices."""
    two = [names.device(fit.info.id) for fit in (pair.other, pair.reference)]
    near = f" (by less than {units.percent(EQUIVALENT, 1)})" * (found.differs and found.equivalent)
    made = {"label": label, "run": label.name, "what": what(found), "judged": found.judged, "differs": found.differs}
    made |= {"crowded": crowded, "devices": " / ".join(two) * crowded, "span": span(found), "size": found.size}
    made |= {"quantity": found.key if found.kind == "roof" else found.unit, "says": f"{found.verdict}{near}"}
    made |= {"mark": MARKS.get(found.verdict, ""), "doubt": "; ".join(found.doubts)}
    lines = [f"{label.name}: {' over '.join(two)}"]
    if found.judged:
        lines += [f"{change(found.ratio)} ({found.basis}: {made['span']})", made["says"], *found.doubts]
    hover = theme.text([f"<b>{theme.safe(made['what'])}</b>", *map(theme.safe, lines)])
    return vars(found) | made | {"doubtful": WARN if found.doubts else "", "hover": hover}


def _amount(number: float, quantity: str) -> str:
    """quantity: the key of a roof, or the unit of what is none."""
    text = {"s": units.seconds, "FLOP/B": units.intensity}.get(quantity)
    return text(number) if text else units.rate_text(number, quantity)


def as_table(id: str, caption: str, rows: Sequence[Mapping[str, Any]], labels: Sequence[RunLabel]) -> Table:
    """Every judged quantity with its interval and verdict."""
    alone = len(labels) == 2
    columns = ["what", *[Column("Run", "run")] * (not alone), "devices"]
    columns += [Column(labels[0].name, "reference", _amount, by="quantity")]
    columns += [Column(labels[1].name if alone else "other", "other", _amount, by="quantity")]
    columns += [Column("difference", "ratio", change, unit="other / reference"), Column("interval", "span")]
    columns += [Column("verdict", "says", mark="mark"), Column("visible from", "visible", visible)]
    columns += [Column("rests on", "basis"), Column("doubts", "doubt", mark="doubtful")]
    return table(id, caption, rows, *columns)


def refused(rows: Iterable[Mapping[str, Any]]) -> Table:
    """What two Runs share and cannot be compared, like with like."""
    found = []
    for each in (row for row in rows if not row["judged"]):
        lasting = ", sustained" * (each["regime"] == SUSTAINED)
        kinds = f"cases of {each['key']}" if each["kind"] == "case" else f"{each['kind']}s{lasting}"
        found.append({"run": each["run"], "kind": kinds, "why": each["reason"], "which": each["what"]})
    columns = Column("Run", "run"), Column("what", "kind")
    return table("refused", "Not comparable", grouped(found, "run", "kind", "why"), *columns, *_GROUP)


def one_sided(reference: RunLabel, others: Iterable[tuple[RunLabel, RunComparison]]) -> Table:
    """What only one of two Runs measured, with the other's reason."""
    found = []
    for label, each in others:
        for mine, case, why in (found for pair in each.pairs for found in run_comparison.one_sided(pair)):
            there, lacking = (reference.name, label.name)[:: 1 if mine else -1]
            about = {"in": there, "not in": lacking, "probe": case.probe, "why": why, "kind": kind_of(why)}
            found.append(about | {"which": names.case(case.params)})
    rows = grouped(found, "in", "not in", "probe", "kind")
    columns = Column("measured in", "in"), "not in", "probe", *_GROUP
    return table("one-sided", "Measured in one of two Runs only", rows, *columns)


def since(against: RunComparison, chosen: Fit | None) -> Iterator[Finding]:
    """What the baseline is, what changed most since, and what may not be compared."""
    earlier = against.earlier(chosen)
    which = f"Baseline: the Run of {against.reference.environment.started[:16].replace('T', ' ')} UTC"
    if earlier is None:
        why = "it is this very Run" if against.relation == SAME_RUN else f"they are {against.relation}"
        why = "it has no such device" if against.comparable else why
        yield Finding(f"{which}; nothing is compared: {why}.", NOT_JUDGED)
        return
    heads = earlier.headlines
    if changed := earlier.changed:
        worst, more = changed[0], f"; {many(len(changed) - 1, 'other headline')} changed" * (len(changed) > 1)
        status = WARN if worst.verdict == "slower" else ""
        yield Finding(f"Since the baseline: {what(worst)} {change(worst.ratio)} ({span(worst)}){more}.", status)
    elif any(d.judged for d in heads):
        yield Finding("Since the baseline: no headline changed beyond its interval.", PASS)
    yield Finding(f"{which}, {earlier.matched}: {against.relation}.")
    if left := [d for d in heads if not d.judged]:
        reasons: dict[str, list[str]] = {}
        for each in left:
            reasons.setdefault(" ".join(plain(each.reason).split()[:10]), []).append(what(each))
        told = "; ".join(f"{listed(which, 2)} ({why})" for why, which in list(reasons.items())[:2])
        yield Finding(f"Not compared with the baseline: {told}{'; and more' * (len(reasons) > 2)}.", NOT_JUDGED)


def noted(against: RunComparison | None, chosen: Fit, kind: str, key: str) -> list[str]:
    """A tile's line about the baseline: "−10.1 % since the baseline (95 % interval −10.9 to −9.3 %)"."""
    earlier = against.earlier(chosen) if against else None
    found = next((d for d in earlier.of(kind) if d.key == key and d.regime != SUSTAINED), None) if earlier else None
    if found is None:
        return []
    text = f"no change beyond the interval ({change(found.ratio)})" if found.judged else ""
    if found.differs:
        text = f"{change(found.ratio)} since the baseline ({found.basis} {span(found)})"
    who = f" ({names.device(chosen.info.id)})" * (len(against.theirs) > 1)
    return [f"{text or f'baseline: not compared, {plain(found.reason)}'}{who}"]
