"""Methods and environment: how the numbers were made, what has none and why, and on which machine."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator

from bench import units
from bench.analysis import names
from bench.analysis.fit import Fit
from bench.analysis.lacking import lacking, unreached
from bench.report.document import FAIL, SKIP, Column, Section, Table, table
from bench.report.phrases import many
from bench.report.sections import METHODS, RunView
from bench.schema import Run
from bench.work import MIXES

_METHODS = (
    "Every case declares its work: flops of one kind and bytes over one channel. Time is measured, rates are derived,"
    " and leave out the fixed cost of a launch. A roof is the best of the cases that claim it, chosen in a first pass"
    " and stated by later repetitions with fresh buffers, because the best of many reads too high.",
    "The unit of statistics is the repetition, not the sample. Five repetitions or more give a 95 % interval, Student's"
    " t over the logarithms of their medians; fewer give a range, and say so. A ridge is the ratio of two roofs"
    " measured in the same rounds.",
    "“% of measured” compares with this machine's own roofs, “% of datasheet” with the claimed ones; both follow max("
    "flops / compute roof, bytes / bandwidth roof). A point above its roof by more than the interval is flagged, never"
    " hidden. A suspect measurement counts but is drawn open; an invalid one does not count.",
)
_GLOSSARY = (
    ("roof", "The most FLOP/s of one kind, or B/s of one channel, that the machine reaches."),
    ("arithmetic intensity", "Flops per byte moved. Below the ridge point memory limits, above it arithmetic."),
    ("ridge point", "The intensity where a compute roof meets a memory roof: their ratio."),
    ("burst, sustained", "Short samples on a GPU not yet hot; and after clock and power are level under lasting load."),
    ("GPU health", "PASS, WARN, FAIL or NOT JUDGED: against siblings, baseline, datasheet and the driver's counters."),
    ("measurement", "Valid, suspect or invalid: whether the numbers may be believed, whatever the GPU is like."),
    ("outlier", "A device off its siblings' median by over 3 %, four deviations and what repetitions scatter by."),
    ("GEMM, GEMV", "Matrix times matrix, and matrix times vector (batch 1), as a library computes them."),
    ("loop", "Instructions that never leave registers or shared memory: what the pipes can do."),
    ("bytes", f"Streams count words per element: {', '.join(f'{mix} {words}' for mix, (words, _) in MIXES.items())}."),
    ("regimes", "A CPU has one regime, steady. Each regime is compared with its own roofs."),
    ("time", "The budget is the wall time of the command: roofs first, then ever finer passes, then lasting load."),
    ("clock", "Read on the GPU around each sample; the datasheet at it scales compute roofs only, no DRAM, no links."),
    ("energy", "The driver's counter over at least 3 s of lasting load, idle power inside, per flop or per byte."),
)


def sections(view: RunView) -> Iterator[Section]:
    """Everything that stands in the last fold of the page."""
    run, notes = view.run, list(_METHODS)
    if stops := Counter(m.stop_reason for m in run.measurements if m.stop_reason).most_common(6):
        notes.append(f"Why sampling stopped: {'; '.join(f'{count:,} × {reason}' for reason, count in stops)}.")
    if versions := dict.fromkeys((m.probe, m.version) for m in run.measurements):
        notes.append(f"Probe versions: {', '.join(f'{probe} {version}' for probe, version in versions)}.")
    yield Section("methods", "Methods", "How were these numbers made?", notes=notes, group=METHODS)
    glossary = _pairs("glossary-table", "Terms", _GLOSSARY, "term", "what it means")
    yield Section("glossary", "Glossary", tables=[glossary], group=METHODS)
    skips, failures = _skips(run), run.end.failures if run.end else ()
    if skips.rows or failures:
        yield Section("skipped", "Skips and failures", "What has no number here, and why?", notes=failures,
                      tables=[skips], group=METHODS)  # fmt: skip
    yield Section("environment", "Environment", "Where, when and with what was this measured?",
                  notes=(f"Made by `{shlex.join(run.environment.command)}`",), tables=_environment(view),
                  group=METHODS)  # fmt: skip


def _environment(view: RunView) -> Iterator[Table]:
    run, about, end = view.run, view.run.environment, view.run.end
    ended = f"{end.finished}, {end.status}, exit code {end.exit_code}, {units.seconds(end.elapsed)}" if end else ""
    found = {
        "Run": about.run_id,
        "started": about.started,
        "ended": ended,
        "commit": about.commit or "not from a checkout",
        "seed, budget": f"{about.seed}, {about.budget}",
        "host": about.host,
        "file": run.source.rpartition("/")[2],
        **about.system,
        **about.libraries,
    }
    yield _pairs("run-facts", "The Run", filter(all, found.items()), "what", "value")
    facts = {fit.info.id: _facts(fit) for fit in view.fits}
    keys = dict.fromkeys(key for given in facts.values() for key in given)
    rows = [{"what": key} | {id: given.get(key, "") for id, given in facts.items()} for key in keys]
    columns = [Column(names.device(id), id) for id in facts]
    yield table("device-facts", "The devices", rows, Column("what"), *columns)


def _pairs(id: str, caption: str, pairs: Iterable[tuple[str, str]], *headings: str) -> Table:
    rows = [dict(zip(headings, pair, strict=True)) for pair in pairs]
    return table(id, caption, rows, *(Column(heading) for heading in headings))


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
    rows = [
        {
            "probe": each.probe,
            "what": "skipped" if each.skipped else "invalid",
            "mark": SKIP if each.skipped else FAIL,
            # others that differ only in their numbers stand in the tables of their probes
            "why": each.reason + f" (and {each.others} like it with other numbers)" * (each.others > 0),
            "cases": each.cases,
            "devices": each.devices,
            "example": names.case(each.params),
        }
        for each in lacking(run)
    ]
    columns = [Column("probe"), Column("what", mark="mark"), Column("why")]
    columns += [Column(name) for name in ("cases", "devices")]
    return table("skips", "Skips and failures, with reasons", rows, *columns, Column("for example", "example"))


def absent(run: Run) -> str:
    """What was not measured, in a line: probes without a single time, and what the budget had no time for."""
    measured = {m.probe for m in run.measurements if m.seconds}
    skipped = {m.probe: m.skip for m in run.measurements if m.skip and m.probe not in measured}
    said = [f"{probe} ({reason})" for probe, reason in skipped.items()]
    beyond = [
        f"{each.cases} of {each.of} roofs under lasting load"
        if each.probe == "sustained"
        else f"{each.cases} of {many(each.of, 'case')} of {each.probe}"
        for each in unreached(run)
    ]
    return "; ".join([*said, *[f"beyond the budget ({run.environment.budget}): {', '.join(beyond)}"] * bool(beyond)])
