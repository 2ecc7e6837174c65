"""The page of a comparison: put together, escaped, hashed and self-contained as a Run's page is."""

import json
from collections.abc import Sequence

from bench import units
from bench.analysis.difference import EQUIVALENT, LEVEL, Against, differences
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.comparison import figures, tables, words
from bench.report.comparison.conditions import conditions, stated
from bench.report.comparison.plain import plain
from bench.report.comparison.words import Label
from bench.report.sections import Plot
from bench.report.shell import Data, packed, rendered
from bench.schema import Run


def page(runs: Sequence[Run]) -> str:
    """The Runs as one HTML document, the first of them the reference."""
    found = differences(runs)
    named = words.labels(runs)
    fits = [found[0].ours, *(each.theirs for each in found)]
    around = conditions(runs, fits)
    plots = _plots(found, named)
    content = json.dumps(plain(runs, found), indent=1, allow_nan=False)
    return rendered(
        "comparison/template.html.j2",
        [plot for plot in plots.values() if plot],
        named=named,
        about=runs[0].environment,
        pretend=[label.letter for label in named if label.simulated],
        title=_title(runs),
        heading=_heading(runs),
        incomplete=[label.name for label, run in zip(named, runs, strict=True) if not run.complete],
        warnings=[f"{label.name}: {text}" for label, run in zip(named, runs, strict=True) for text in run.warnings],
        lead=words.lead(found, named),
        each=[words.headline(x, named[0], y) for x, y in zip(found, named[1:], strict=True)] if len(found) > 1 else [],
        look=words.look_first(found, named, stated(around)),
        runs=tables.runs(runs, fits, named),
        around=tables.conditions(around, named),
        paired=[words.paired(x, y) for x, y in zip(found, named[1:], strict=True)],
        plots=plots,
        roofs=tables.roofs(found, named),
        wide=any(d.doubts for each in found for d in each.of("roof", "case")),
        case_words=[words.cases(x, y) for x, y in zip(found, named[1:], strict=True)],
        cases=tables.cases(found, named),
        apart=tables.apart(found, named),
        skips=tables.skips(found, named),
        level=units.percent(1 - LEVEL, 2),
        equivalent=units.percent(EQUIVALENT, 1),
        downloads=[Data("json", "comparison.json", "application/json", packed(content))],
    )


def _title(runs: Sequence[Run]) -> str:
    pretend = sum(run.environment.simulated for run in runs)
    mark = "SIMULATED · " if pretend == len(runs) else "PARTLY SIMULATED · " if pretend else ""
    return f"{mark}{_heading(runs)} · comparison"


def _heading(runs: Sequence[Run]) -> str:
    kinds = list(dict.fromkeys(words.machine(run) for run in runs))
    return f"{len(runs)} Runs of {kinds[0]}" if len(kinds) == 1 else " · ".join(kinds)


def _plots(found: Sequence[Against], named: Sequence[Label]) -> dict[str, Plot | None]:
    leading = _leading(found)
    made = {
        "roofline": (figures.overlaid(leading, named), _roofline_label(leading, named)),
        "ratios": (figures.ratios(found, named), _ratios_label(found, named)),
    }
    return {
        name: Plot(f"fig-{name}", figure, label) if figure is not None else None
        for name, (figure, label) in made.items()
    }


def _leading(found: Sequence[Against]) -> list[Fit | None]:
    """The device of each Run that is drawn: the reference's fullest, and what is paired with it."""
    first = frame.shown(found[0].ours)
    return [first, *(_partner(each, first) for each in found)]


def _partner(each: Against, first: Fit | None) -> Fit | None:
    paired = [pair.other for pair in each.pairs if first and pair.reference.info.id == first.info.id]
    return frame.shown(paired or each.theirs)


def _roofline_label(fits: Sequence[Fit | None], named: Sequence[Label]) -> str:
    parts = []
    for label, fit in zip(named, fits, strict=True):
        keys = ["dram", fit.info.headline] if fit else []
        roofs = [fit.roofs[key].roof for key in keys if fit and key in fit.roofs]
        texts = [f"{names.roof(roof.key)} {units.rate_text(roof.rate, roof.key)}" for roof in roofs]
        parts.append(f"{label.full}: {', '.join(texts) or 'no headline roof'}")
    return f"Rooflines over one another. {'; '.join(parts)}."


def _ratios_label(found: Sequence[Against], named: Sequence[Label]) -> str:
    parts = []
    for each, label in zip(found, named[1:], strict=True):
        judged = [d for d in each.of("roof", "ridge", "knee") if d.judged]
        apart = [f"{words.what(d)} {words.change(d.ratio or 1.0)}" for d in judged if d.differs]
        more = f" and {len(apart) - 6} more" if len(apart) > 6 else ""
        said = f"differing: {', '.join(apart[:6])}{more}" if apart else "none differs"
        parts.append(f"{label.full}: of {len(judged)} roofs, ridges and knees {said}")
    return f"Ratios to the reference {named[0].full}. {'; '.join(parts)}."
