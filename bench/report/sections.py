"""A section of the page per probe: question, paragraph, figures, table. A probe unknown here gets a generic one.

Two sections ask of the whole Run: whether the devices were well, and what work cost.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from bench.analysis.fit import Fit
from bench.report import energy, frame, interpretation, tables
from bench.report.figures import sweeps
from bench.report.figures.energy import energy as energy_figure
from bench.report.figures.health import health as health_figure
from bench.report.health import Health
from bench.report.known import KNOWN
from bench.report.tables import Table
from bench.report.vitals import vitals
from bench.roofline import Roofline


@dataclass(frozen=True)
class Plot:
    """A figure with what it says to who cannot see it."""

    id: str
    figure: go.Figure
    label: str
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A question, and what this machine answers."""

    id: str
    title: str
    question: str
    paragraph: str
    plots: tuple[Plot, ...]
    table: Table | None

    @property
    def short(self) -> str:
        """Its title where there is room for a word or two."""
        return _SHORT.get(self.title, self.title)


_SHORT = {
    "Was the GPU well?": "Health",
    "Was the machine left alone?": "Health",
    "Memory bandwidth": "Memory",
    "Inside a multiprocessor": "On chip",
    "Compute peaks": "Peaks",
    "The ladder": "Ladder",
    "From GEMV to GEMM": "GEMM",
    "The host link": "Host link",
    "A transformer layer": "Layer",
    "Attention variants of serving": "Variants",
    "Chunked prefill": "Chunks",
    "Narrow weights": "Narrow",
    "A mixture of experts": "Experts",
    "What fusion, caching and packing save": "Fusion",
    "What fits": "Fits",
    "What work costs": "Energy",
    "How far to trust these numbers": "Trust",
}


def sections(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> list[Section]:
    """One per probe of the Run, in the order of the page and then of the Run, and what work cost."""
    present = list(dict.fromkeys(rows["probe"]))
    order = [name for name in KNOWN if name in present] + [name for name in present if name not in KNOWN]
    found = [_section(name, rows, fit, theory) for name in order]
    # who measured a probe or two did not ask for energy
    return [*found, cost(fit)] if fit.sustained or {"peak", "bandwidth"} <= set(present) else found


def _section(name: str, rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Section:
    known, drawn = KNOWN.get(name), frame.burst(rows)
    if known:
        figures, sentences = list(known.figures(drawn, fit, theory)), list(known.words(drawn, fit, theory))
    else:
        figures, sentences = [("", "", sweeps.generic(drawn, name))], list(interpretation.generic(drawn, name))
    part = rows[rows["probe"] == name]
    if part["seconds"].isna().all():
        sentences = [interpretation.nothing(rows, name)]
    title = known.title if known else name
    question = known.question if known else "A probe that this report has no page for; shown as it is."
    # one skip is all said by its sentence
    whole = len(part) > 1 or not part["skip"].iloc[0]
    table = tables.cases(part, f"cases-{slug(name)}", title) if whole else None
    return _made(f"probe-{slug(name)}", slug(name), title, question, sentences, figures, table)


def _made(
    name: str,
    figure: str,
    title: str,
    question: str,
    sentences: Iterable[str],
    figures: Iterable[tuple[str, str, go.Figure | None]],
    table: Table | None,
) -> Section:
    """Every figure says to who cannot see it what the paragraph says."""
    text = " ".join(sentences)
    plots = [
        Plot(f"fig-{figure}-{number}", drawn, " ".join(filter(None, (f"{title}.", heading, text))), heading, caption)
        for number, (heading, caption, drawn) in enumerate(figures)
        if drawn is not None
    ]
    return Section(name, title, question, text, tuple(plots), table)


def health(all_of_them: Sequence[Health], shown: Health) -> Section:
    """How the devices fared: the validity of everything else."""
    gpu = shown.is_gpu or bool(shown.info.sms)
    caption = (
        "One mark per measurement: mean and range of what was polled while it ran. Open or crossed: suspect, invalid."
        " Dashed: the highest clock, the power limit."
    )
    return _made(
        "health",
        "health",
        "Was the GPU well?" if gpu else "Was the machine left alone?",
        "What slowed or disturbed it while it was measured?",
        interpretation.health(all_of_them, shown),
        [("", caption, health_figure(shown))],
        vitals(all_of_them),
    )


def cost(fit: Fit) -> Section:
    """What work costs: energy per flop and per byte."""
    caption = (
        "E(I) = e_flop + e_byte / I (Choi, Bedard, Fowler, Vuduc: A Roofline Model of Energy, IPDPS 2013), e_byte from"
        " DRAM. Idle power is inside both terms, so the sum is an upper bound. Marks: the balance e_byte / e_flop."
    )
    known = energy.of(fit)
    return _made(
        "energy",
        "energy",
        "What work costs",
        "How much energy do a flop and a byte take, and where does arithmetic begin to outweigh moving?",
        energy.words(fit),
        [("", caption, energy_figure(energy.costs(fit)))],
        tables.energy(fit) if known else None,
    )


def slug(name: str) -> str:
    """A name as an id: letters, digits and dashes."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name) or "unnamed"
