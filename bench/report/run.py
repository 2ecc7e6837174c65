"""A Run as a Document: what this machine really does, whether it is healthy, and how far the numbers may be believed.

>>> from bench import report, store
>>> report.write(store.read("results/h200-sxm/RUN.jsonl"), "reports/RUN.html")  # doctest: +SKIP
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from bench import store, units
from bench.analysis import quality as trust
from bench.analysis import tidy
from bench.analysis.datasheet import compare, datasheet
from bench.analysis.facts import facts, placed
from bench.analysis.fit import Fit, fit
from bench.analysis.gate.verdict import Gate
from bench.analysis.health import NodeHealth, health, shown
from bench.analysis.quality import quality
from bench.analysis.reasons import LOST
from bench.analysis.ridges import claimed_ridge
from bench.analysis.run_comparison import comparisons
from bench.analysis.user_kernels import UserKernel, place
from bench.report import differences, names
from bench.report import gate as gates
from bench.report.document import FAIL, PASS, WARN, Document, Download, Finding, Section, Tile, Verdict
from bench.report.phrases import listed, many, plain, rate_spread, sentence, spread
from bench.report.sections import (
    RunView,
    checks,
    devices,
    energy,
    methods,
    probe_sections,
    roofline,
    user_kernels,
    verdict,
)
from bench.report.sections import datasheet as roofs
from bench.report.sections.health import section as health_section
from bench.schema import Run

_STATUS = {trust.VALID: PASS, trust.SUSPECT: WARN, trust.INVALID: FAIL, trust.NOT_USABLE: FAIL, trust.EMPTY: FAIL}
# Samples beyond which a page holds medians only, so that it stays small.
_MOST_SAMPLES = 200_000
_REPEAT = "repeat on an idle machine before believing small differences"


def document(
    run: Run, points: Sequence[UserKernel] = (), baseline: Run | None = None, gate: Gate | None = None
) -> Document:
    """points: kernels of the reader, drawn under the roofs; baseline: an older Run to state changes from; gate: the
    verdicts on this Run.
    """
    against = comparisons((baseline, run))[0] if baseline else None
    fits = tuple(against.theirs if against else fit(run))
    node, state = health(run, fits, against), quality(run, fits)
    chosen = shown(fits, node)
    about = run.environment
    common = {
        "title": title(run, fits),
        "heading": machine(run, fits),
        "about": tuple(_about(run)),
        "simulated": about.simulated,
        "banners": tuple(_banners(run)),
    }
    if chosen is None:
        return Document(**common, verdicts=(_measurement(run, state),), absent=methods.absent(run))
    theory = datasheet(chosen.info)
    gaps = compare(chosen.roofline, theory) if theory else ()
    kernels = tuple(place(chosen, kernel) for kernel in points)
    earlier = against.earlier(chosen) if against else None
    ghost = earlier.reference if earlier else None
    view = RunView(run, fits, chosen, theory, gaps, node, state, kernels, ghost)
    return Document(
        **common,
        verdicts=(verdict.verdict(view), _measurement(run, state, node), *((gates.verdict(gate),) if gate else ())),
        findings=tuple(_findings(view, against, gate)),
        tiles=tuple(_tiles(view, against)),
        matrix=verdict.matrix(view) if view.several else None,
        lead=roofline.section(view),
        sections=tuple(section for section in _sections(view, gate) if section),
        absent=methods.absent(run),
        downloads=(_raw(run),),
        rows=_rows(view),
        data=_values(view),
    )


def _rows(view: RunView) -> pd.DataFrame:
    """Every case of every device and regime."""
    return tidy.flat(pd.concat(view.cases.values(), ignore_index=True), names.case)


def _values(view: RunView) -> dict[str, Any]:
    """Every fit in base units, and the reader's kernels beside them."""
    about = view.run.environment
    found = {"run": view.run.source, "run_id": about.run_id, "complete": view.run.complete}
    found |= {"health": view.health, "quality": view.quality, "devices": [facts(each) for each in view.fits]}
    if view.kernels:
        found |= {"points_device": view.fit.info.id, "points": placed(view.kernels)}
    return found


def _raw(run: Run) -> Download:
    """The Run itself; a large one with the median of each repetition for its samples."""
    name = Path(run.source).stem or f"{run.environment.started[:10]}-{run.environment.run_id[:8]}"
    if sum(len(m.seconds) for m in run.measurements) <= _MOST_SAMPLES:
        return Download(f"{name}.jsonl", "application/jsonl", _lines(run))
    small = (replace(m, seconds=(m.median,), clock_hz=()) if m.seconds else m for m in run.measurements)
    note = f"Here each repetition is its median; every sample is in {Path(run.source).name or 'the Run file'}."
    lines = _lines(replace(run, measurements=tuple(small)))
    return Download(f"{name}-medians.jsonl", "application/jsonl", lines, note)


def _lines(run: Run) -> str:
    return "".join(f"{line}\n" for line in store.raw_lines(run))


def _sections(view: RunView, gate: Gate | None) -> Iterator[Section | None]:
    """In the order of the page; one that has nothing to say is None."""
    yield gates.section(gate) if gate else None
    yield user_kernels.section(view)
    yield roofs.section(view)
    yield health_section(view)
    yield devices.section(view)
    found = probe_sections(view)
    if costs := energy.section(view):
        found.append(costs)
    yield from found
    yield checks.section(view)
    yield from methods.sections(view)


def serving_page(run: Run) -> Document | None:
    """The page about serving an LLM on the device of which most was measured; None without a roof to answer from."""
    from bench.report import serving

    fits = fit(run)
    chosen = max(fits, key=lambda each: (len(each.roofs), len(each.cases)), default=None)
    return serving.page(chosen) if chosen and chosen.roofs else None


def machine(run: Run, fits: Sequence[Fit]) -> str:
    kinds = Counter(fit.info.name for fit in fits)
    named = [f"{count} × {name}" if count > 1 else name for name, count in kinds.items()]
    return ", ".join(named) or run.environment.product


def title(run: Run, fits: Sequence[Fit]) -> str:
    """What the page is called: the machine, the day, and first of all what the Run is not."""
    flags = "SIMULATED · " * run.environment.simulated + "INCOMPLETE · " * (not run.complete)
    return f"{flags}{machine(run, fits)} · roofline · {run.environment.started[:10]}"


def _about(run: Run) -> Iterator[str]:
    about = run.environment
    yield from filter(None, (about.host, f"{about.started[:16].replace('T', ' ')} UTC", f"budget {about.budget}"))
    drivers = dict.fromkeys(d.facts["driver"] for d in about.devices if "driver" in d.facts)
    yield from (f"driver {driver}" for driver in drivers)
    yield f"ridgepoint {about.suite}"


def _banners(run: Run) -> Iterator[Finding]:
    if not run.complete:
        how = f"ended as {run.end.status}" if run.end else "was cut short: its file has no end line"
        yield Finding(f"INCOMPLETE: the Run {how}. What is missing was not measured, it is not slow.", WARN)
    if run.environment.redacted:
        yield Finding("Redacted: host name and serial numbers are hashed, paths are left out.")
    yield from (Finding(plain(warning), WARN) for warning in run.warnings)


def _measurement(run: Run, state: trust.Quality, node: NodeHealth | None = None) -> Verdict:
    """Whether the numbers may be believed, whatever they say of the machine."""
    total = sum(state.counts.values())
    text = f"{state.counts['valid']:,} of {many(total, 'measurement')} valid"
    if bad := [f"{state.counts[word]:,} {word}" for word in ("suspect", "invalid") if state.counts[word]]:
        text += f", {listed(bad)}"
    if state.causes:
        text += f": {plain(state.causes[0][0])}"
    if state.status == trust.NOT_USABLE:
        text = f"{units.percent(state.suspect_share, 2)} of the time was disturbed; {text}"
        # no quiet machine cures what is broken or hot
        text += "" if node and any(map(verdict.broken, node.reasons)) else f"; {_REPEAT}"
    elif state.status == trust.EMPTY:
        text = "nothing was measured"
    return Verdict("Measurement", _STATUS[state.status], state.status, f"{text}.")


def _findings(view: RunView, against, gate: Gate | None) -> Iterator[Finding]:
    """What deserves attention, gravest first; without any, what the machine reaches."""
    found = [
        *(gates.findings(gate) if gate else ()),
        *verdict.reasons(view),
        *(Finding(f"{text[:1].upper()}{text[1:]}.", WARN) for text in _cautions(view)),
        *(Finding(f"Failed: {plain(text)}.", FAIL) for text in _failures(view)),
        *_above(view),
        *checks.failures(view.run.checks),
    ]
    yield from found
    if against:
        yield from differences.since(against, view.fit)
    yield from _reaches(view)


def _cautions(view: RunView) -> list[str]:
    """What kept a device from showing what it can do."""
    return [text for text in dict.fromkeys(plain(fit.info.facts.get("caution", "")) for fit in view.fits) if text]


def _failures(view: RunView) -> list[str]:
    """What failed, without the devices that health tells of."""
    told = {f"{each.device}: {each.detail}" for each in view.health.reasons if each.cause == LOST}
    return [text for text in (view.run.end.failures if view.run.end else ()) if text not in told]


def _peers(view: RunView) -> list[Fit]:
    """Every device of the shown one's product: medians over others would say nothing."""
    return [fit for fit in view.fits if fit.info.name == view.fit.info.name]


def _above(view: RunView) -> Iterator[Finding]:
    above = view.every[view.every["above"].astype(bool)]
    if len(above):
        worst = above.loc[above["share"].idxmax()]
        what = f"{many(len(above), 'point lies', 'points lie')} above the measured roof"
        most = f"by {units.percent(worst['share'] - 1, 2)} at most ({plain(worst['probe'])})"
        yield Finding(f"{what}, {most}: an under-measured roof, a warm cache or a wrong formula.", WARN)


def _reaches(view: RunView) -> Iterator[Finding]:
    """One sentence: what this machine reaches, of several devices their median, and where it is compute-bound."""
    fit, parts, peers = view.fit, [], [each for each in _peers(view) if each.roofs]
    known = {key for each in peers for key in each.roofs}
    # without the roofs that a page leads with, whatever was measured
    for key in [key for key in ("dram", fit.info.headline) if key in known] or sorted(known)[:2]:
        rates = [each.roofs[key].roof.rate for each in peers if key in each.roofs]
        parts.append(f"{names.roof(key)} {units.rate_text(median(rates), key)}")
    if not known:
        reason = next(iter(fit.missing.values()), "these probes claim no roof")
        parts = [f"no roof was measured: {plain(reason)}"]
    if ridges := [each.headline.estimate.value for each in peers if each.headline]:
        parts.append(f"compute-bound from {units.intensity(median(ridges))} on")
    who = f"Median of {len(peers)} GPUs: " if len(peers) > 1 else ""
    who = who or (f"{names.device(fit.info.id)}: " if view.several else "")
    yield Finding(f"{'Simulated. ' * view.simulated}{who}{sentence(', '.join(parts))}")


def _tiles(view: RunView, against) -> Iterator[Tile]:
    """The headline roofs and the ridge: value, share of the datasheet, interval, sustained and change."""
    fit, theory, peers = view.fit, view.theory, _peers(view)
    for key in headlines(peers, fit.info.headline):
        roofs = [other.roofs[key].roof for other in peers if key in other.roofs]
        rates, mine = [roof.rate for roof in roofs], fit.roofs.get(key)
        value, notes = median(rates), [rate_spread(roofs[0])]
        if len(peers) > 1:
            ends = units.between(min(rates), max(rates), lambda v, key=key: units.rate_text(v, key))
            notes = [f"median of {len(rates)} GPUs, {ends}" if len(rates) > 1 else f"of one of {len(peers)} GPUs"]
        claim = theory.find(key) or theory.find(roofs[0].quantity) if theory else None
        share = f"{units.percent(value / claim.rate)} of {names.claim(claim.evidence)}" if claim else "no datasheet"
        notes = [share, *notes]
        if mine is None:
            notes.append(f"not measured on {names.device(fit.info.id)}")
        else:
            notes += [*_sustained(view, key), *differences.noted(against, fit, "roof", key)]
        fine = mine is not None and mine.winner.validity == "valid"
        yield Tile(names.roof(key), units.rate_text(value, key), tuple(notes), "" if fine else WARN)
    if ridges := [each.headline for each in peers if each.headline]:
        values, ridge = [each.estimate.value for each in ridges], fit.headline
        notes = [f"datasheet {units.intensity(claim)}"] if (claim := claimed_ridge(fit, theory)) else []
        ends = units.between(min(values), max(values), units.intensity)
        alone = spread(ridges[0].estimate, units.digits)
        notes.append(f"median of {len(values)} GPUs, {ends}" if len(values) > 1 else alone)
        if lasting := fit.sustained.headline if fit.sustained else None:
            who = f" ({names.device(fit.info.id)})" * view.several
            notes.append(f"sustained {units.intensity(lasting.estimate.value)}{who}")
        if ridge:
            notes += differences.noted(against, fit, "ridge", f"{ridge.compute}/{ridge.memory}")
        yield Tile("Ridge point", units.intensity(median(values)), tuple(notes))


def headlines(fits: Sequence[Fit], headline: str) -> list[str]:
    """The roofs that a page leads with: memory, the headline, the plain loop, the link, as far as any device has it."""
    wanted = dict.fromkeys(("dram", headline, "vector.float32.loop", "link"))
    return [key for key in wanted if any(key in fit.roofs for fit in fits)]


def _sustained(view: RunView, key: str) -> list[str]:
    """ "sustained 701 TFLOP/s, 88.9 % of burst"."""
    fit = view.fit
    lasting = fit.sustained.roofs.get(key) if fit.sustained else None
    if lasting is None:
        return []
    who = f" ({names.device(fit.info.id)})" if view.several else ""
    share = units.percent(lasting.roof.rate / fit.roofs[key].roof.rate)
    return [f"sustained {units.rate_text(lasting.roof.rate, key)}, {share} of burst{who}"]
