"""The page of a Run: everything put together."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from bench import units
from bench.analysis.compare import at_clock, compare, datasheet
from bench.analysis.fit import Fit, fit
from bench.analysis.gate.verdict import Gate
from bench.analysis.placed import Kernel, Placed, place
from bench.report import baseline as baselines
from bench.report import frame, methods, names, tables, words, yours
from bench.report.downloads import downloads
from bench.report.figures import machines, style
from bench.report.figures.ridges import claimed_ridge
from bench.report.figures.roofline import roofline as roofline_figure
from bench.report.gate import page as judged
from bench.report.health import health as healths
from bench.report.sections import Plot, health, sections
from bench.report.serving import SCRIPTS, STYLE
from bench.report.serving import section as serving
from bench.report.shell import rendered
from bench.report.tiles import headlines, tiles
from bench.report.trust import trust
from bench.roofline import Roofline
from bench.schema import Run

_ICONS = {"valid": "✓", "suspect": "▲", "invalid": "✕", "empty": "∅"}


def page(run: Run, points: Sequence[Kernel] = (), baseline: Run | None = None, gate: Gate | None = None) -> str:
    """The Run as one HTML document, with a reader's own kernels under its roofs, headlines beside a baseline's, and the
    gate's verdicts.
    """
    beside_it = baselines.against(run, baseline)
    fits = beside_it.theirs if beside_it else fit(run)
    chosen = frame.shown(fits)
    theory = datasheet(chosen.info) if chosen else None
    placed = [place(chosen, kernel) for kernel in points] if chosen else []
    earlier = baselines.before(beside_it, chosen)
    gaps = compare(chosen.roofline, theory) if chosen and theory else ()
    every = [frame.cases(each, datasheet(each.info)) for each in fits]
    rows = every[fits.index(chosen)] if chosen else pd.DataFrame(columns=frame.CASES)
    parts = sections(rows, chosen, theory) if chosen else []
    fared = healths(run, [fit.info for fit in fits])
    well = health(fared, fared[fits.index(chosen)]) if chosen else None
    serves = serving(chosen) if chosen else None
    drawn = frame.burst(rows)
    leading, comparison, strip = _figures(fits, chosen, theory, drawn, gaps, placed, baselines.ghost(beside_it, chosen))
    plots = [plot for plot in (leading, comparison, strip) if plot]
    plots += [plot for part in (*([well] if well else []), *parts) for plot in part.plots]
    plots += serves.every_plot if serves else []
    for plot in plots:
        style.mark(plot.figure, run.environment.simulated)
    return rendered(
        "template.html.j2",
        plots,
        (*SCRIPTS, STYLE) if serves else (),
        run=run,
        about=run.environment,
        title=title(run, fits),
        machine=_machine(run, fits),
        fits=fits,
        chosen=chosen,
        shared=len(fits) > 1,
        validity=words.validity(run, fits),
        icons=_ICONS,
        verdict=words.verdict(run, fits, theory),
        judged=judged.section(gate) if gate else None,
        look=words.look_first(run, fits, rows, gaps, judged.news(gate) if gate else ()),
        tiles=tiles(fits, chosen, theory, earlier if baselines.comparable(beside_it) else None),
        beside=baselines.beside(beside_it, earlier) if beside_it else "",
        yours=yours.table(placed) if placed else None,
        yours_words=yours.paragraph(placed) if placed else "",
        leading=leading,
        outside=_not_drawn(drawn),
        comparison=comparison,
        theory_words=(
            words.against_theory(
                gaps, claimed_ridge(chosen, theory), chosen, run.environment.simulated, theory is not None
            )
            if chosen
            else ""
        ),
        roofs=tables.roofs(chosen, theory, gaps) if chosen else None,
        well=well,
        sections=parts,
        serving=serves,
        strip=strip,
        several=words.several(fits) if len(fits) > 1 else "",
        devices=tables.devices(fits) if len(fits) > 1 else None,
        skips=tables.skips(run),
        unreached=words.unreached(run),
        trust=trust(run),
        formulas=methods.FORMULAS,
        stops=Counter(m.stop_reason for m in run.measurements if m.stop_reason).most_common(6),
        versions=dict.fromkeys((m.probe, m.version) for m in run.measurements),
        downloads=[*downloads(run, every), *([serves.data] if serves and serves.data else [])],
        names=names,
        units=units,
    )


def _figures(
    fits: Sequence[Fit],
    chosen: Fit | None,
    theory: Roofline | None,
    rows: pd.DataFrame,
    gaps,
    placed: Sequence[Placed] = (),
    baseline: Fit | None = None,
) -> list[Plot | None]:
    if chosen is None:
        return [None, None, None]
    others = [other for other in fits if other is not chosen]
    doubtful = [key for key, fitted in chosen.roofs.items() if fitted.winner.validity != "valid"]
    clocked = {
        key: rate
        for key, fitted in chosen.roofs.items()
        if (rate := at_clock(chosen.info, key, fitted.winner.clock_hz))
    }
    table = frame.siblings(fits)
    few = [
        key
        for key in dict.fromkeys(table["key"])
        if key in headlines(chosen) or table.loc[table["key"] == key, "apart"].any()
    ]
    made = (
        (
            "fig-roofline",
            roofline_figure(chosen, theory, rows, others, placed, baseline),
            "Roofline",
            f"{_roofline_label(chosen, theory, rows)} {yours.paragraph(placed)}".strip(),
        ),
        (
            "fig-theory",
            machines.against(gaps, doubtful, clocked),
            "Measured against theory",
            words.against_theory(gaps, None, chosen, chosen.info.simulated),
        ),
        ("fig-devices", machines.strip(table, few), "Devices beside one another", words.several(fits)),
    )
    return [
        Plot(name, figure, f"{title}. {label}") if figure is not None else None for name, figure, title, label in made
    ]


def _roofline_label(fit: Fit, theory: Roofline | None, rows: pd.DataFrame) -> str:
    parts = [f"{names.roof(roof.key)} {units.rate_text(roof.rate, roof.key)}" for roof in fit.roofline.roofs]
    if fit.headline:
        value = fit.headline.estimate
        parts.append(f"measured ridge {units.intensity(value.value)}, {words.spread(value, units.digits)}")
    claimed = claimed_ridge(fit, theory)
    if claimed:
        parts.append(f"ridge by the datasheet {units.intensity(claimed)}")
    seen = rows[rows["seconds"].notna() & (rows["intensity"] > 0)]
    parts.append(f"{words.many(len(seen), 'measured point')}, {int(seen['above'].sum())} above their roof")
    return f"{fit.info.name}: {'; '.join(parts)}."


def _machine(run: Run, fits: Sequence[Fit]) -> str:
    kinds = Counter(fit.info.name for fit in fits)
    return (
        ", ".join(f"{count} × {name}" if count > 1 else name for name, count in kinds.items())
        or run.environment.product
    )


def title(run: Run, fits: Sequence[Fit]) -> str:
    """What the page is called: the machine, the day, and first of all what the Run is not."""
    flags = "SIMULATED · " * run.environment.simulated + "INCOMPLETE · " * (not run.complete)
    return f"{flags}{_machine(run, fits)} · roofline · {run.environment.started[:10]}"


def _not_drawn(rows: pd.DataFrame) -> int:
    """Measured cases without flops, which have no place on a logarithmic intensity axis."""
    return int((rows["seconds"].notna() & ~(rows["intensity"] > 0)).sum())
