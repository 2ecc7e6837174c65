"""Methods and environment: how the numbers were made, what has none and why, and on which machine."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator

from bench import units
from bench.analysis import names
from bench.analysis.fit import Fit
from bench.analysis.quality import lacking, unreached
from bench.report.document import FAIL, SKIP, Column, Section, Table, table
from bench.report.phrases import many, texts
from bench.report.sections import METHODS, RunView
from bench.schema import Run
from bench.work import MIXES


def sections(view: RunView) -> Iterator[Section]:
    """Everything that stands in the last fold of the page."""
    run, notes = view.run, list(texts("methods")["run"])
    if stops := Counter(m.stop_reason for m in run.measurements if m.stop_reason).most_common(6):
        notes.append(f"Why sampling stopped: {'; '.join(f'{count:,} × {reason}' for reason, count in stops)}.")
    if versions := dict.fromkeys((m.probe, m.version) for m in run.measurements):
        notes.append(f"Probe versions: {', '.join(f'{probe} {version}' for probe, version in versions)}.")
    yield Section("methods", "Methods", "How were these numbers made?", notes=notes, group=METHODS)
    words = ", ".join(f"{mix} {words}" for mix, (words, _) in MIXES.items())
    terms = ((term, meaning.format(mixes=words)) for term, meaning in texts("glossary").items())
    glossary = _pairs("glossary-table", "Terms", terms, "term", "what it means")
    yield Section("glossary", "Glossary", tables=[glossary], group=METHODS)
    made = {"tables": [_skips(run)], "notes": run.end.failures if run.end else ()}
    if made["tables"][0].rows or made["notes"]:
        yield Section("skipped", "Skips and failures", "What has no number here, and why?", group=METHODS, **made)
    made = {"tables": _environment(view), "notes": (f"Made by `{shlex.join(run.environment.command)}`",)}
    question = "Where, when and with what was this measured?"
    yield Section("environment", "Environment", question, group=METHODS, **made)


def _environment(view: RunView) -> Iterator[Table]:
    run, about, end = view.run, view.run.environment, view.run.end
    ended = f"{end.finished}, {end.status}, exit code {end.exit_code}, {units.seconds(end.elapsed)}" if end else ""
    found = {"Run": about.run_id, "started": about.started, "ended": ended}
    found |= {"commit": about.commit or "not from a checkout", "seed, budget": f"{about.seed}, {about.budget}"}
    found |= {"host": about.host, "file": run.source.rpartition("/")[2], **about.system, **about.libraries}
    yield _pairs("run-facts", "The Run", filter(all, found.items()), "what", "value")
    facts = {fit.info.id: _facts(fit) for fit in view.fits}
    keys = dict.fromkeys(key for given in facts.values() for key in given)
    rows = [{"what": key} | {id: given.get(key, "") for id, given in facts.items()} for key in keys]
    yield table("device-facts", "The devices", rows, "what", *(Column(names.device(id), id) for id in facts))


def _pairs(id: str, caption: str, pairs: Iterable[tuple[str, str]], *headings: str) -> Table:
    return table(id, caption, [dict(zip(headings, pair, strict=True)) for pair in pairs], *headings)


def _facts(fit: Fit) -> dict[str, str]:
    info = fit.info
    assumed = "assumed peaks only: width and clock of its cores" if info.facts.get("family") else "none known"
    return {
        "name": info.name,
        "memory": units.size(info.memory_bytes),
        **{f"cache {names.channel(c.name)}": f"{units.size(c.bytes)} over the whole device" for c in info.caches},
        "UUID": info.uuid,
        "datasheet": info.sku or assumed,
        "launch overhead": units.seconds(fit.roofline.overhead) if fit.roofline.overhead else "none seen",
        **{key: names.fact(key, value) for key, value in info.facts.items()},
    }


def _skips(run: Run) -> Table:
    """What was not measured or does not count, and why; like with like over devices."""
    rows = []
    for each in lacking(run):
        what, mark = ("skipped", SKIP) if each.skipped else ("invalid", FAIL)
        # others that differ only in their numbers stand in the tables of their probes
        why = each.reason + f" (and {each.others} like it with other numbers)" * (each.others > 0)
        about = {"what": what, "mark": mark, "why": why, "example": names.case(each.params)}
        rows.append(about | {name: getattr(each, name) for name in ("probe", "cases", "devices")})
    columns = "probe", Column("what", mark="mark"), "why", "cases", "devices", Column("for example", "example")
    return table("skips", "Skips and failures, with reasons", rows, *columns)


def absent(run: Run) -> str:
    """What was not measured, in a line: probes without a single time, and what the budget had no time for."""
    measured = {m.probe for m in run.measurements if m.seconds}
    skipped = {m.probe: m.skip for m in run.measurements if m.skip and m.probe not in measured}
    said, beyond = [f"{probe} ({reason})" for probe, reason in skipped.items()], []
    for each in unreached(run):
        lasting = each.probe == "sustained"
        what = f"{each.of} roofs under lasting load" if lasting else f"{many(each.of, 'case')} of {each.probe}"
        beyond.append(f"{each.cases} of {what}")
    return "; ".join([*said, *[f"beyond the budget ({run.environment.budget}): {', '.join(beyond)}"] * bool(beyond)])
