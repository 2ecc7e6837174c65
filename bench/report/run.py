"""A Run as a Document: what this machine really does, whether it is healthy, and how far the numbers may be believed.

>>> from bench import report, store
>>> report.write(store.read("results/h200-sxm/RUN.jsonl"), "reports/RUN.html")  # doctest: +SKIP
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from bench import store, units
from bench.analysis import names, siblings, tidy
from bench.analysis import quality as trust
from bench.analysis.datasheet import compare, datasheet
from bench.analysis.facts import facts, placed
from bench.analysis.fit import Fit, fit
from bench.analysis.gate.verdict import Gate
from bench.analysis.health import NodeHealth, health, shown
from bench.analysis.health_reasons import LOST
from bench.analysis.quality import quality
from bench.analysis.run_comparison import RunComparison, comparisons
from bench.analysis.user_kernels import UserKernel, place
from bench.analysis.viewport import claimed_ridge
from bench.report import differences, sections
from bench.report import gate as gates
from bench.report.document import DOUBTS, FAIL, PASS, WARN, Document, Download, Finding, Section, Tile, Verdict
from bench.report.fit import about, banners, machine
from bench.report.phrases import listed, many, plain, sentence, spread
from bench.report.sections import RunView, checks, devices, energy, methods, roofline, user_kernels, verdict
from bench.report.sections import datasheet as roofs
from bench.report.sections.health import section as health_section
from bench.schema import Run

# Samples beyond which a page holds medians only, so that it stays small.
_MOST_SAMPLES = 200_000
_REPEAT = "repeat on an idle machine before believing small differences"


def document(
    run: Run, points: Sequence[UserKernel] = (), baseline: Run | None = None, gate: Gate | None = None
) -> Document:
    """As bench.report.html has them."""
    against = comparisons((baseline, run))[0] if baseline else None
    fits = tuple(against.theirs if against else fit(run))
    node, state = health(run, fits, against), quality(run, fits)
    chosen = shown(fits, node)
    common = {"title": title(run, fits), "heading": machine(run, fits), "about": tuple(about(run))}
    common |= {"simulated": run.environment.simulated, "banners": tuple(banners(run)), "absent": methods.absent(run)}
    if chosen is None:
        return Document(**common, verdicts=(_measurement(run, state),))
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
        downloads=(_raw(run),),
        rows=tidy.flat(pd.concat(view.cases.values(), ignore_index=True), names.case),
        data=_values(view),
    )


def _values(view: RunView) -> dict[str, Any]:
    """Every fit in base units, and the reader's kernels beside them."""
    found = {"run": view.run.source, "run_id": view.run.environment.run_id, "complete": view.run.complete}
    found |= {"health": view.health, "quality": view.quality, "devices": [facts(each) for each in view.fits]}
    if view.kernels:
        found |= {"points_device": view.fit.info.id, "points": placed(view.kernels)}
    return found


def _raw(run: Run) -> Download:
    """The Run itself; a large one with the median of each repetition for its samples."""
    name, note = Path(run.source).stem or f"{run.environment.started[:10]}-{run.environment.run_id[:8]}", ""
    if sum(len(m.seconds) for m in run.measurements) > _MOST_SAMPLES:
        note = f"Here each repetition is its median; every sample is in {Path(run.source).name or 'the Run file'}."
        small = (replace(m, seconds=(m.median,), clock_hz=()) if m.seconds else m for m in run.measurements)
        name, run = f"{name}-medians", replace(run, measurements=tuple(small))
    lines = "".join(f"{line}\n" for line in store.raw_lines(run))
    return Download(f"{name}.jsonl", "application/jsonl", lines, note)


def _sections(view: RunView, gate: Gate | None) -> Iterator[Section | None]:
    """In the order of the page; one that has nothing to say is None."""
    yield gates.section(gate) if gate else None
    yield user_kernels.section(view)
    yield roofs.section(view)
    yield health_section(view)
    yield devices.section(view)
    yield from sections.probe_sections(view)
    yield energy.section(view)
    yield checks.section(view)
    yield from methods.sections(view)


def serving_page(run: Run) -> Document | None:
    """The page about serving an LLM on the device of which most was measured; None without a roof to answer from."""
    from bench.report import serving

    fits = fit(run)
    chosen = max(fits, key=lambda each: (len(each.roofs), len(each.cases)), default=None)
    return serving.page(chosen) if chosen and chosen.roofs else None


def title(run: Run, fits: Sequence[Fit]) -> str:
    """What the page is called: the machine, the day, and first of all what the Run is not."""
    flags = "SIMULATED · " * run.environment.simulated + "INCOMPLETE · " * (not run.complete)
    return f"{flags}{machine(run, fits)} · roofline · {run.environment.started[:10]}"


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
        text += "" if node and any(reason.stays for reason in node.reasons) else f"; {_REPEAT}"
    elif state.status == trust.EMPTY:
        text = "nothing was measured"
    return Verdict("Measurement", DOUBTS.get(state.status, PASS), state.status, f"{text}.")


def _findings(view: RunView, against: RunComparison | None, gate: Gate | None) -> Iterator[Finding]:
    """What deserves attention, gravest first, and what the machine reaches."""
    yield from gates.findings(gate) if gate else ()
    yield from verdict.reasons(view)
    # what kept a device from showing what it can do
    cautions = dict.fromkeys(plain(fit.info.facts.get("caution", "")) for fit in view.fits)
    yield from (Finding(sentence(text), WARN) for text in filter(None, cautions))
    told = {f"{each.device}: {each.detail}" for each in view.health.reasons if each.cause == LOST}
    failures = view.run.end.failures if view.run.end else ()
    yield from (Finding(f"Failed: {plain(text)}.", FAIL) for text in failures if text not in told)
    yield from _above(view)
    yield from checks.failures(view.run.checks)
    yield from differences.since(against, view.fit) if against else ()
    yield _reaches(view)


def _above(view: RunView) -> Iterator[Finding]:
    above = view.every[view.every["above"].astype(bool)]
    if len(above):
        worst = above.loc[above["share"].idxmax()]
        what = f"{many(len(above), 'point lies', 'points lie')} above the measured roof"
        most = f"by {units.percent(worst['share'] - 1, 2)} at most ({plain(worst['probe'])})"
        yield Finding(f"{what}, {most}: an under-measured roof, a warm cache or a wrong formula.", WARN)


def _reaches(view: RunView) -> Finding:
    """One sentence: what this machine reaches, of several devices their median, and where it is compute-bound."""
    fit, peers = view.fit, [each for each in siblings.peers(view.fit, view.fits) if each.roofs]
    known = {key: siblings.typical_roof(peers, key) for each in peers for key in each.roofs}
    # without the roofs that a page leads with, whatever was measured
    keys = [key for key in ("dram", fit.info.headline) if key in known] or sorted(known)[:2]
    parts = [f"{names.roof(key)} {units.rate_text(known[key].median, key)}" for key in keys]
    if not known:
        reason = next(iter(fit.missing.values()), "these probes claim no roof")
        parts = [f"no roof was measured: {plain(reason)}"]
    if ridge := siblings.typical_ridge(peers):
        parts.append(f"compute-bound from {units.intensity(ridge.median)} on")
    who = f"{names.device(fit.info.id)}: " * view.several
    who = f"Median of {len(peers)} GPUs: " if len(peers) > 1 else who
    return Finding(f"{'Simulated. ' * view.simulated}{who}{sentence(', '.join(parts))}")


def _tiles(view: RunView, against: RunComparison | None) -> Iterator[Tile]:
    """The headline roofs and the ridge: value, share of the datasheet, interval, sustained and change."""
    fit, peers = view.fit, siblings.peers(view.fit, view.fits)
    who = f" ({names.device(fit.info.id)})" * view.several
    # memory, the headline, the plain loop, the link, as far as any device has it
    for key in dict.fromkeys(("dram", fit.info.headline, "vector.float32.loop", "link")):
        if not (rates := siblings.typical_roof(peers, key)):
            continue
        mine, lasting, claim = fit.roofs.get(key), fit.lasting(key), view.claim(key)
        share = f"{units.percent(rates.median / claim.rate)} of {names.claim(claim.evidence)}" if claim else ""
        text = partial(units.rate_text, key=key)
        notes = [share or "no datasheet", _among(rates, text)]
        if not (judged := mine or rates.together):
            notes.append(f"not measured on {names.device(fit.info.id)}")
        elif mine and lasting:
            share = units.percent(lasting.roof.rate / mine.roof.rate)
            notes.append(f"sustained {text(lasting.roof.rate)}, {share} of burst{who}")
        notes += differences.noted(against, fit, "roof", key)
        fine = judged and judged.winner.validity == "valid"
        yield Tile(names.roof(key), text(rates.median), tuple(notes), "" if fine else WARN)
    if ridges := siblings.typical_ridge(peers):
        claim, lasting, ridge = claimed_ridge(fit, view.theory), fit.lasting_headline, fit.headline
        notes = [f"{view.claimed} {units.intensity(claim)}"] if claim else []
        notes.append(_among(ridges, units.intensity))
        notes += [f"sustained {units.intensity(lasting.estimate.value)}{who}"] if lasting else []
        notes += differences.noted(against, fit, "ridge", f"{ridge.compute}/{ridge.memory}") if ridge else []
        yield Tile("Ridge point", units.intensity(ridges.median), tuple(notes))


def _among(devices: siblings.Typical, text: Callable[[float], str]) -> str:
    """ "median of 8 GPUs, 4.70–4.80 TB/s", or of a single device its interval."""
    if len(devices.found) > 1:
        return f"median of {len(devices.found)} GPUs, {units.between(*devices.ends, text)}"
    if devices.of > 1 and not devices.together:
        return f"of one of {devices.of} GPUs"
    return f"{devices.of} GPUs together, " * (devices.of > 1) + spread(devices.found[0], text)
