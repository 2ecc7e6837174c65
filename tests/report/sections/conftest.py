"""Runs as sections read them, and what a section says and draws of one."""

import plotly.graph_objects as go

from bench.analysis.datasheet import compare, datasheet
from bench.analysis.fit import fit
from bench.analysis.health import health
from bench.analysis.quality import quality
from bench.report import sections
from bench.report.document import Section
from bench.report.sections import ProbeSection, RunView
from bench.schema import Run


def view(run: Run, device: int = 0, **more) -> RunView:
    """A Run with one of its devices shown; more: whatever else of the view a test sets (kernels, health, theory)."""
    fits = tuple(fit(run))
    theory = datasheet(fits[device].info)
    gaps = compare(fits[device].roofline, theory) if theory else ()
    about = {"theory": theory, "gaps": gaps, "health": health(run, fits), "quality": quality(run, fits)}
    return RunView(run, fits, fits[device], **about | more)


def of_probe(probe: str, shown: RunView) -> ProbeSection:
    """What a page says of a probe, by its own section."""
    return sections.own_sections()[probe](shown)


def section(run: Run, probe: str, **more) -> Section:
    """The whole section of a probe, as the page has it."""
    return next(each for each in sections.probe_sections(view(run, **more)) if each.id == f"probe-{probe}")


def said(run: Run, probe: str, **more) -> str:
    """Every finding of a probe's section and its small print, in one text."""
    return " ".join([*findings(run, probe, **more), *notes(run, probe, **more)])


def findings(run: Run, probe: str, **more) -> list[str]:
    return list(map(str, of_probe(probe, view(run, **more)).findings()))


def notes(run: Run, probe: str, **more) -> list[str]:
    return list(of_probe(probe, view(run, **more)).notes())


def drawn(run: Run, probe: str, **more) -> dict[str, go.Figure]:
    """Figures of a probe's section by their titles."""
    return {plot.title: plot.figure for plot in of_probe(probe, view(run, **more)).plots()}


def points(figure: go.Figure, name: str) -> tuple[list, list]:
    """What the trace of that name holds."""
    trace = next(trace for trace in figure.data if trace.name == name)
    return list(trace.x), list(trace.y)
