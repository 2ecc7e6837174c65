"""A judged Run as a Document: did this hardware become slower, where, and what to do about it.

One fault is one finding: the metrics of a family fall together ("GPU 3 memory: 6 of 6 metrics −9.6 to −10 %,
confirmed"). Every metric with its value, limit and evidence stands in a table; `to_json` is what `gate --json` prints.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import report, units
from bench.analysis import names
from bench.analysis.gate.facts import facts, marker, repetitions
from bench.analysis.gate.verdict import OK, SLOW, STATUSES, Gate, GateGroup, MetricVerdict, doubtful, groups, worst_of
from bench.report import document as doc
from bench.report.document import FAIL, NOT_JUDGED, PASS, WARN, Column, Document, Finding, Section, Verdict
from bench.report.phrases import listed, many, plain, sentence, signed, texts
from bench.store import RunError, whole_file

# What `--export FORM=FILE` takes; each is a form of render/.
FORMS = ("junit", "md", "prometheus", "github-benchmark", "pytest-benchmark", "json")
# Form -> a second file beside the first, by what is added to its name; not written where there is nothing for it.
_BESIDE = {"github-benchmark": "-smaller"}
_MARKS = dict(zip(STATUSES, (FAIL, FAIL, FAIL, WARN, WARN, PASS, PASS), strict=True))
_VALUES = {"B/s": units.bandwidth, "FLOP/s": units.flops, "s": units.seconds}
_AMOUNTS = ("value", "expected", "limit")
_MOST_FINDINGS, _MOST_NOTES = 8, 12
# With more rows only what is not ok is worth the screen, and of that so many.
_FEW_ROWS, _MOST_ROWS = 16, 40


def document(gate: Gate) -> Document:
    """What a gate says on every surface."""
    about, product = gate.run.environment, _text(gate.run.environment.product, 80)
    who = (_text(about.host, 80), f"{_text(about.started, 16).replace('T', ' ')} UTC", f"Run {_text(about.run_id, 8)}")
    few = sum(gate.counts.values()) <= _FEW_ROWS and len(gate.devices) <= 2
    shown = [each for each in gate.worst if (each.gates and (few or each.status != OK)) or each.below]
    caption = f"Metrics, the worst {_MOST_ROWS} of {len(shown)}" if len(shown) > _MOST_ROWS else "Metrics, worst first"
    table = _metrics(gate, caption, shown[:_MOST_ROWS])
    return Document(
        title=f"{'SIMULATED · ' * about.simulated}Gate: {_word(gate).upper()} · {product}",
        heading=product,
        about=tuple(filter(None, (*who, f"ridgepoint {_text(about.suite, 40)}", _text(" ".join(about.command), 200)))),
        simulated=about.simulated,
        verdicts=(verdict(gate),),
        findings=findings(gate),
        matrix=_matrix(gate),
        sections=(Section("metrics", "Metrics", tables=[table], notes=_notes(gate)),),
        rows=repetitions(gate),
        data=to_json(gate),
    )


def section(gate: Gate) -> Section:
    """The gate on the page of the Run that it judged."""
    told = (Column(*each, _text) for each in (("compared with", "source"), ("why", "why"), ("likely cause", "cause")))
    tables = _matrix(gate), _metrics(gate, "Every followed metric and its verdict", gate.worst, *told)
    return Section("gate", "Gate", "Did this hardware become slower?", "", findings(gate), (), tables, _notes(gate))


def verdict(gate: Gate) -> Verdict:
    """The outcome in a line: the status, and what it rests on."""
    word = _word(gate)
    return Verdict("Gate", NOT_JUDGED if word == NOT_JUDGED else _MARKS[gate.status], word, f"{_summary(gate)}.")


def _word(gate: Gate) -> str:
    """With nothing to compare with it is not ok."""
    return NOT_JUDGED if gate.status == OK and gate.no_reference and not gate.compared else gate.status


def _summary(gate: Gate) -> str:
    total = sum(gate.counts.values())
    said = ["no baseline, and one is required"] if gate.required and gate.no_reference else []
    if not total:
        said.append("no gated metric was judged")
    elif set(gate.counts) != {OK}:
        said.append(f"{_tally(gate.counts)} of {many(total, 'gated metric')}")
    else:
        alone = "measured, but neither a baseline nor a history to compare with"
        said.append(f"{many(total, 'gated metric')}{f' {alone}' if gate.no_reference else ', all as expected'}")
    if (bad := doubtful(gate)) and len(gate.devices) > 1:
        said.append(f"look at {listed(list(map(_device, bad)), 8)}")
    return "; ".join(said)


def _tally(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def findings(gate: Gate) -> tuple[Finding, ...]:
    """What is not ok, gravest first, each with what to do next."""
    every = groups(gate)
    found = [Finding(sentence(f"{_device(who)}: {_text(what)}"), FAIL, "drain it") for who, what in gate.defects]
    found += [Finding(sentence(_text(text)), FAIL) for text in gate.baseline_elsewhere]
    found += [finding(group, gate) for group in every if group.gates]
    if gate.no_reference:
        step = f"to compare the next one with it: `python -m bench baseline set {_file(gate)}`"
        found.append(Finding("No baseline yet: nothing says what is usual here.", WARN * gate.required, step))
    if len(found) > _MOST_FINDINGS:
        more = many(len(found) - _MOST_FINDINGS, "more finding")
        found[_MOST_FINDINGS:] = [Finding(f"{more}, in the table of metrics.")]
    if warned := [each for group in every if not group.gates for each in group.verdicts]:
        which = [f"{_where(each, gate)} {'' if each.change is None else signed(1 + each.change)}" for each in warned]
        found.append(Finding(f"Warn only: {listed([each.strip() for each in which], 2)}."))
    return tuple(found)


def finding(group: GateGroup, gate: Gate) -> Finding:
    """A group of metrics in a sentence: how many, how far, confirmed or not, and the worst with its numbers; and what
    to do about it, after the cause that is likely.
    """
    worst, several = group.verdicts[0], len(gate.devices) > 1
    who = f"all {len(gate.devices)} devices" if group.together and several else _device(group.device)
    how = f"{group.kind}: {_text(worst.why, 120)}"
    if group.kind in (SLOW, "improved"):
        values = units.between(worst.value, worst.expected, _VALUES[worst.metric.unit]).replace("–", " against ")
        low, high = (signed(1 + change) for change in group.range)
        span = units.between(*group.range, lambda change: signed(1 + change)).replace("–", " to ")
        look = _confirmed(group) if group.kind == SLOW else group.kind
        how = f"{low if low == high else span}, {look} ({_text(worst.metric.name, 120)} {values})"
    what = f"{who} {group.family}".strip()
    text = sentence(f"{what}: {len(group.verdicts)} of {many(group.of, 'metric')} {how}")
    alone = f"python -m bench run --device {names.selector(group.device)} --probes {','.join(group.probes)}"
    steps, cause = texts("gate"), _text(group.cause)
    step = steps.get(group.remedy, steps[""]).format(alone=alone, run=_file(gate))
    step = f"Likely cause: {cause}. {sentence(step)}" if cause.rstrip("s") not in group.family else step
    return Finding(text, _MARKS[group.status], step)


def _confirmed(group: GateGroup) -> str:
    if group.status == "inconclusive":
        return group.status
    if not group.confirmed:
        return "not confirmed" if group.looked else "not repeated"
    return "confirmed" if group.confirmed == len(group.gated) else f"{group.confirmed} confirmed"


def _file(gate: Gate) -> str:
    """The Run's file, for a command: what is copied into a shell is never a foreign text."""
    return gate.run.source if re.fullmatch(r"[\w./:+-]+", gate.run.source, re.ASCII) else "RUN"


def _text(text: str, most: int = 400) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in plain(text)).split())[:most]


def _device(device: str) -> str:
    return names.device(_text(device, 80))


def _where(each: MetricVerdict, gate: Gate) -> str:
    """The metric, and its device where there are several."""
    return _text(each.metric.name, 120) + f" on {_device(each.device)}" * (len(gate.devices) > 1)


def _status(each: MetricVerdict) -> str:
    return NOT_JUDGED if each.status == OK and each.reference is None else each.status


def _evidence(each: MetricVerdict, gate: Gate) -> str:
    """Why a metric has its status, and what probably caused it."""
    measured = "" if each.value is None else f", {_VALUES[each.metric.unit](each.value)}"
    cause = f". Likely cause: {_text(each.cause)}" if each.cause else ""
    return f"{each.status} {_where(each, gate)}{measured}: {_text(each.why) or 'no evidence was given'}{cause}."


def _notes(gate: Gate) -> Iterator[str]:
    """The evidence of every group, what each device was compared with, and what a reader should know besides."""
    sources = {_device(device): _text(text) for device, text in (gate.references or {}).items()}
    compared = [f"{device} compared with {text}" for device, text in sources.items()]
    if len(set(sources.values())) == 1:
        compared = [f"compared with {next(iter(sources.values()))}"]
    said = []
    for text, devices in gate.shared_notes.items():
        whose = "every device" if len(gate.devices) == len(devices) > 1 else listed(list(map(_device, devices)))
        said.append(f"{whose}: {_text(text)}" if whose else _text(text))
    for found in ([_evidence(group.verdicts[0], gate) for group in groups(gate)], compared, said):
        yield from map(sentence, found[:_MOST_NOTES])
        if len(found) > _MOST_NOTES:
            yield f"And {len(found) - _MOST_NOTES} more."


def _matrix(gate: Gate) -> doc.Table | None:
    """A row per device: its worst change in each family of metrics. None of a single device."""
    rows = []
    for device in gate.devices:
        row = {"device": _device(device), "gated": _tally(gate.tally(device)) or "none"}
        row["broken"] = FAIL * (device in dict(gate.defects))
        for family, each in worst_of(gate, device).items():
            said = signed(1 + each.change) if each.below else _status(each)
            row |= {family: said, f"{family} mark": _MARKS[each.status]}
        rows.append(row)
    families = dict.fromkeys(each.metric.family for each in gate.verdicts)
    marked = (Column(family, mark=f"{family} mark") for family in families)
    columns = "device", *marked, Column("gated metrics", "gated", mark="broken")
    made = doc.table("gate-devices", "Every device by family of metrics", rows, *columns, folded=False)
    return made if len(rows) > 1 else None


def _metrics(gate: Gate, caption: str, shown: Sequence[MetricVerdict], *evidence: Column) -> doc.Table:
    """A row per verdict that is shown; with columns for its evidence a page opens the table on demand only."""
    amounts = {name: Column(name, text=lambda value, unit: _VALUES[unit](value), by="unit") for name in _AMOUNTS}
    columns = [Column("metric", text=_text)] + [Column("device", text=_device)] * (len(gate.devices) > 1)
    columns += [amounts["value"], amounts["expected"], Column("change", text=lambda change: signed(1 + change))]
    columns += [amounts["limit"], "n", Column("verdict", mark="mark"), *evidence]
    rows = []
    for each in shown:
        row = vars(each) | {name: getattr(each, name) for name in (*_AMOUNTS, "change")}
        row |= {"metric": each.metric.name, "unit": each.metric.unit}
        row["verdict"] = f"{_status(each)}{', only warns' * (not each.gates)}"
        row["mark"] = "" if each.status == OK else _MARKS[each.status] if each.gates else WARN
        rows.append(row | {"source": each.reference.source if each.reference else ""})
    return doc.table("gate-metrics", caption, rows, *columns, folded=bool(evidence))


def to_json(gate: Gate) -> dict[str, Any]:
    """What `gate --json` prints: every value, and the sentences that every other form says."""
    found = facts(gate) | {"summary": f"{_word(gate).upper()}: {_summary(gate)}"}
    for record, group in zip(found["groups"], groups(gate), strict=True):
        said = finding(group, gate)
        record |= {"text": said.text, "next_step": said.next_step}
    for record, each in zip(found["verdicts"], gate.worst, strict=True):
        record["text"] = _evidence(each, gate)
    return found


def exported(gate: Gate, form: str) -> bytes:
    """A gate in one of FORMS. Raises RunError where that needs a package that is not there."""
    if form == "json":
        return (json.dumps(to_json(gate), indent=2, allow_nan=False) + "\n").encode()
    try:
        made = report.made(document(gate), form)
    except ModuleNotFoundError as error:
        raise RunError(f"{form} needs {error.name}: pip install 'ridgepoint[ci]'") from None
    return f"{marker(gate)}\n".encode() + made if form == "md" else made


def write(gate: Gate, form: str, path: Path | str) -> tuple[Path, ...]:
    """Writes a gate in one of FORMS and returns the paths; no reader ever sees half of a file. Raises RunError."""
    path, what = Path(path), f"{form} export"
    if not path.name:
        raise RunError(f"{form} needs a file to write to: --export {form}=FILE")
    if form == "prometheus" and path.suffix != ".prom":
        raise RunError(f"{path} does not end in .prom, so that no textfile collector would read it")
    files = [(path, exported(gate, form))]
    if ending := _BESIDE.get(form):
        files.append((path.with_name(f"{path.stem}{ending}{path.suffix}"), exported(gate, f"{form}{ending}")))
    return tuple(whole_file(content, where, what) for where, content in files if content)
