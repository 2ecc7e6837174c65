"""Several Runs beside the first as a Document: what differs, by how much, and whether it can be believed.

>>> from bench import report, store
>>> report.save(document([store.read("A.jsonl"), store.read("B.jsonl")]), "reports/comparison.html")  # doctest: +SKIP
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

from bench import units
from bench.analysis import names, several_runs
from bench.analysis import quality as trust
from bench.analysis import run_comparison as compared
from bench.analysis.quantities import EQUIVALENT
from bench.analysis.run_comparison import RunComparison
from bench.analysis.several_runs import Condition, SeveralRuns
from bench.analysis.welch import LEVEL
from bench.report import differences
from bench.report import document as doc
from bench.report.differences import change, span, visible, what
from bench.report.document import DOUBTS, FAIL, PASS, WARN, Column, Document, Finding, Section, Verdict
from bench.report.phrases import listed, many, plain, texts
from bench.report.plots.runs import RunLabel, forest, rooflines
from bench.schema import Run

# More rows than this make a page slow, and nobody reads them: the largest differences come first, JSON has them all.
MOST_CASES = 600
# Words of a finding, and findings of a section.
_WORDS, _FINDINGS = 20, 3
_OVERLAID = "Rooflines over one another"
_OUTCOMES = {compared.DIFFERS: WARN, compared.SAME: PASS, compared.NOT_COMPARABLE: doc.NOT_JUDGED}


@dataclass(frozen=True)
class _View:
    """The Runs by their labels, and every difference as a row."""

    several: SeveralRuns
    labels: list[RunLabel]
    rows: list[dict[str, Any]]

    @property
    def others(self) -> list[tuple[RunLabel, RunComparison]]:
        return list(zip(self.labels[1:], self.several.found, strict=True))

    def judged(self, *kinds: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["kind"] in kinds and row["judged"]]


def document(runs: Sequence[Run]) -> Document:
    """The first Run is the reference. Raises RunError for too few or too many Runs."""
    view = _view(several_runs.several(runs))
    pretend = sum(label.simulated for label in view.labels)
    flag = "SIMULATED · " if pretend == len(runs) else "PARTLY SIMULATED · " if pretend else ""
    kinds = list(dict.fromkeys(plain(each["machine"]) for each in view.several.facts))
    heading = f"{len(runs)} Runs of {kinds[0]}" if len(kinds) == 1 else " · ".join(kinds)
    told = several_runs.facts(view.several)
    notes = [note.format(level=units.percent(1 - LEVEL, 2)) for note in texts("methods")["comparison"]]
    methods = Section("methods", "Methods", notes=notes, group="Methods")
    content = json.dumps(told, indent=1, allow_nan=False)
    return Document(
        f"{flag}{heading} · comparison",
        heading,
        (f"comparison of {len(runs)} Runs", f"ridgepoint {runs[0].environment.suite}"),
        simulated=pretend == len(runs),
        banners=tuple(_banners(view)),
        verdicts=(_verdict(view), _measurement(view)),
        findings=tuple(_findings(view)),
        lead=_overlaid(view),
        sections=(_roofs(view), _around(view), _cases(view), _uncompared(view), methods),
        downloads=(doc.Download("comparison.json", "application/json", content),),
        data=told,
    )


def _view(several: SeveralRuns) -> _View:
    named = [f"{plain(each['machine'])}, {each['started'][:16].replace('T', ' ')}" for each in several.facts]
    labels = [RunLabel(k, several.facts[k]["simulated"], name) for k, name in enumerate(named)]
    crowded, rows = any(len(each.pairs) > 1 for each in several.found), []
    for label, beside in zip(labels[1:], several.found, strict=True):
        for pair in beside.pairs:
            rows += [differences.row(label, pair, each, crowded) for each in pair.differences]
    return _View(several, labels, rows)


def _banners(view: _View) -> Iterator[Finding]:
    pretend = [label.letter for label in view.labels if label.simulated]
    if 0 < len(pretend) < len(view.labels):
        yield Finding(f"{listed(pretend)} SIMULATED from a datasheet; the other Runs were measured.", WARN)
    if cut := [label.name for label, each in zip(view.labels, view.several.facts, strict=True) if not each["complete"]]:
        yield Finding(f"INCOMPLETE: {listed(cut)}. What is missing was not measured.", WARN)
    for label, run, facts in zip(view.labels, view.several.runs, view.several.facts, strict=True):
        if DOUBTS.get(facts["validity"]) == FAIL:
            yield Finding(f"{label.name} is {facts['validity']}: differences from it say nothing of its machine.", WARN)
        yield from (Finding(f"{label.name}: {plain(warning)}", WARN) for warning in run.warnings)


def _verdict(view: _View) -> Verdict:
    letters = {word: [label.letter for label, each in view.others if each.outcome == word] for word in _OUTCOMES}
    said = {word: f"{word}: {listed(those)}" for word, those in letters.items() if those}
    text, word = "; ".join(said.values()), next(iter(said))
    if len(view.others) == 1:
        text = f"A and B: {view.several.found[0].relation}"
    return Verdict("Comparison", _OUTCOMES[word], word, f"{text}.")


def _measurement(view: _View) -> Verdict:
    """How far the Runs may be believed: the least usable one says it."""
    worst, parts = min((state.status for state in view.several.qualities), key=trust.WORST_FIRST.index), []
    for label, state in zip(view.labels, view.several.qualities, strict=True):
        cause = "".join(f" ({_brief(name, 8)})" for name, _ in state.causes[:1])
        parts.append(f"{label.letter}: {state.counts[trust.VALID]:,} of {state.counts.total():,} valid{cause}")
    return Verdict("Measurement", DOUBTS.get(worst, PASS), worst, f"{'; '.join(parts)}.")


def _findings(view: _View) -> Iterator[Finding]:
    for label, each in view.others:
        yield from _headlines(label, each, len(view.others) == 1)
    for label, each in view.others:
        two = f"A and {label.letter} are {each.relation}: a difference"
        if each.relation == compared.PERHAPS:
            yield Finding(f"{two} may be one between machines.")
        elif not each.regression and each.relation not in (compared.SAME_RUN, compared.SIMULATED_BESIDE_MEASURED):
            yield Finding(f"{two} is no regression.")
    if causes := [_stated(each) for each in view.several.around if each.may_explain]:
        head = "Differs around the Runs and may explain it:"
        told = takewhile(lambda text: len(f"{head} {text}".split()) <= _WORDS - 3, accumulate(causes, "{} {}".format))
        shown = len(list(told))
        left = [f"{len(causes) - shown} more"] * (shown < len(causes))
        yield Finding(f"{head} {listed([*causes[:shown], *left])}.")


def _headlines(label: RunLabel, each: RunComparison, alone: bool) -> Iterator[Finding]:
    """What the headline roofs say of one Run against the reference; with several others, a line of each."""
    if each.relation == compared.SAME_RUN:
        yield Finding(f"{label.letter} is the same Run as A: everything is equal.", PASS)
        return
    heads = each.heads
    if not heads:
        reason = next((d.reason for d in each.headlines if d.reason), "none in both")
        common = any(d.reference and d.other for d in each.of("roof"))
        text = f"no headline roof is comparable: {_brief(reason, 11)}" if common else "no roof in common with A"
        yield Finding(f"{label.name}: {text}.", doc.NOT_JUDGED)
        return
    differ, same = ([head for head in heads if head[1].differs is way] for way in (True, False))
    shown, of = differ[: _FINDINGS if alone else 1], many(len(heads), "headline roof")
    for pair, d in shown:
        who = label.name + f" {names.device(pair.other.info.id)}" * (len(each.pairs) > 1)
        basis = f"{d.basis}{':' * d.few} " * alone
        more = f"; {len(differ)} of {len(heads)} differ" * (not alone and len(differ) > 1)
        text = f"{what(d)}: {who} {d.verdict}, {change(d.ratio)} ({basis}{span(d)}){more}."
        yield Finding(text, WARN if d.verdict == "slower" else "")
    seen = f"; changes above {visible(max(d.visible for _, d in same))} would have shown" if same else ""
    if not differ:
        yield Finding(f"{label.name}: no difference seen in any of {of}{seen}.", PASS)
    elif alone and (same or len(differ) > len(shown)):
        seen += f" in the other {len(same)}" * bool(same)
        yield Finding(f"{label.name}: {len(differ)} of {of} differ{'s' * (len(differ) == 1)}{seen}.")


def _stated(row: Condition) -> str:
    """In a few words: "budget (quick and standard)"; many values or long ones are for the table."""
    brief = len(row.values) == 2 and all(len(value) <= 24 for value in row.values)
    return plain(f"{row.what} ({listed([value or 'not stated' for value in row.values])})" if brief else row.what)


def _brief(text: str, most: int) -> str:
    """The first words of what a Run says."""
    words = plain(text).split()
    return " ".join(words[:most]) + " …" * (len(words) > most)


def _roofs(view: _View) -> Section:
    about = "ratios", "Roof by roof", "By how much does each roof differ from the reference, and is it more than noise?"
    rows = sorted(view.judged("roof", "ridge", "knee"), key=lambda row: not row["headline"])
    if not rows:
        return Section(*about, notes=["No roof, ridge or knee of these Runs can be compared; the reasons are below."])
    heads = sum(row["headline"] for row in rows if row["kind"] == "roof")
    alarms = many(max(1, round(heads * LEVEL)), "false alarm")
    notes = [f"{heads} headline comparisons at 95 % each: expect about {alarms} where nothing differs."] * (heads > 10)
    if any(row["few"] for row in rows):
        notes.append("Below five repetitions ranges must not overlap either: small differences stay unseen.")
    caption = "Filled: differs. Open: no difference seen. Right of 1: faster, or a higher ridge or knee. Grey: within"
    caption += f" {units.percent(EQUIVALENT, 1)} of equal. ▸: the interval goes on. Headline roofs first."
    differ = [f"{row['run']} {row['what']} {change(row['ratio'])}" for row in rows if row["differs"]]
    label = f"Ratios of {len(rows)} roofs, ridges and knees to A. Differing: {listed(differ, 8) or 'none'}."
    figure = forest(rows, view.labels, EQUIVALENT)
    plot = doc.Plot("fig-ratios", "Ratio to the reference", figure, caption, label)
    table = differences.as_table("differences", "Roofs, ridges and knees", rows, view.labels)
    return Section(*about, plots=[plot], tables=[table], notes=notes)


def _overlaid(view: _View) -> Section:
    overlays = view.several.overlays
    if not overlays:
        note = "No roofline to draw: no Run has both a memory roof and a compute roof."
        return Section("roofline", _OVERLAID, notes=(note,))
    first, *rest = (rooflines(each, view.labels) for each in overlays)
    caption = "Burst: DRAM and the headline arithmetic. Solid: the reference; others have a dash and marker each."
    said = "; ".join(note.text.replace("<b>", "").replace("</b>", "") for note in first.layout.annotations)
    variants = tuple((each.layout.meta["device"], each) for each in rest)
    plot = doc.Plot("fig-roofline", _OVERLAID, first, caption, f"Rooflines: {said}.", variants)
    return Section("roofline", _OVERLAID, plots=(plot,))


def _around(view: _View) -> Section:
    """What the letters stand for, then what is not the same everywhere."""
    keys = ["what", *(label.letter for label in view.labels)]
    records = [dict(zip(keys, (each.what, *each.values), strict=True)) for each in view.several.conditions]
    columns = [Column(label.name, label.letter) for label in view.labels]
    made = doc.table("conditions", "The Runs, and what differs around them", records, "what", *columns, folded=False)
    said = "One of these may explain a difference before the machine does."
    if not view.several.around:
        said = "Nothing that a Run records differs: same devices, budget, versions, driver, libraries and system."
    notes = tuple(_paired(*each) for each in view.others)
    return Section("around", "What differs around them", findings=[said], tables=[made], notes=notes)


def _paired(label: RunLabel, each: RunComparison) -> str:
    """Which device was compared with which, and why."""
    parts = []
    for why, pairs in each.matched.items():
        two = [" with ".join(names.device(fit.info.id) for fit in (pair.other, pair.reference)) for pair in pairs]
        parts.append(f"{listed(two, 4)} ({why})")
    left = f" Without counterpart: {listed([names.device(name) for name in each.unmatched])}." * bool(each.unmatched)
    return f"{label.name}: {'; '.join(parts) or 'no device to compare'}.{left}"


def _cases(view: _View) -> Section:
    rows = sorted(view.judged("case"), key=lambda row: (not row["differs"], -row["size"]))
    caption = "Common cases, largest differences first"
    caption += f": {MOST_CASES} of {len(rows):,}, all are in the JSON" * (len(rows) > MOST_CASES)
    made = differences.as_table("cases", caption, rows[:MOST_CASES], view.labels)
    found = []
    for label, each in view.others:
        cases = each.cases
        words = [f"{cases.verdicts[word]:,} {word}" for word in differences.MARKS if cases.verdicts[word]]
        most = f"; most in {_brief(cases.probe, 1)}" * bool(cases.probe)
        text = f"{', '.join(words) or 'none differs'} of {many(cases.judged, 'common case')}{most}"
        found.append(f"{label.name}: {text if cases.judged else 'no common case is comparable'}.")
    return Section("cases", "Common cases", findings=found, tables=[made])


def _uncompared(view: _View) -> Section:
    made = {
        "Every roof and case that two Runs share could be compared.": differences.refused(view.rows),
        "No case was measured in one Run only.": differences.one_sided(view.labels[0], view.others),
    }
    notes = (text for text, table in made.items() if not table.rows)
    return Section("uncompared", "Not comparable, or measured in one only", tables=made.values(), notes=notes)
