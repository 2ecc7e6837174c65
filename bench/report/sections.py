"""A section of the page per probe: question, paragraph, figures, table. A probe unknown here gets a generic one.

Two sections ask of the whole Run: whether the devices were well, and what work cost.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from bench.analysis.fit import Fit
from bench.report import energy, frame, interpretation, tables
from bench.report.figures import allreduce, attention, compute, host, memory, sweeps
from bench.report.figures.energy import energy as energy_figure
from bench.report.figures.health import health as health_figure
from bench.report.health import Health
from bench.report.knee import gemm_knees
from bench.report.levels import levels
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
    "What work costs": "Energy",
}


@dataclass(frozen=True)
class _Known:
    title: str
    question: str
    figures: Callable[..., Iterable[tuple[str, str, go.Figure | None]]]
    words: Callable[..., Iterable[str]]


def _bandwidth(rows, fit, theory):
    caption = (
        "Filled: valid. Open: suspect. Of several settings of a kernel the fastest is drawn. Cold cases touch more than"
        " the last cache holds; hot ones re-read a set in place."
    )
    yield "", caption, sweeps.bandwidth(rows, fit, theory)


def _peak(rows, fit, theory):
    drawn = compute.peak(rows, fit, theory)
    present = " ".join(str(trace.name) for trace in drawn.data) if drawn else ""
    said = {
        "sustained": "Tall diamonds: after the clock has settled.",
        "GEMM 4096³": "Triangles, stars and pentagons: the cubes that everyone quotes, beside the winning shape.",
        "lesser": "Crosses: instructions that are not the chip's full-rate path and claim no roof.",
    }
    caption = ["Circles and squares: the roofs, open where suspect.", *(said[word] for word in said if word in present)]
    yield "", " ".join(caption), drawn


def _onchip(rows, fit, theory):
    yield "", "Every block re-reads a tile of its own; the rate is the sum.", memory.onchip(fit, theory)


def _latency(rows, fit, theory):
    caption = "One thread follows a random cycle over lines of 128 bytes. Dashed: the median well inside each level."
    if any(level.at_least for level in levels(fit.info)):
        caption += " How much L1 a multiprocessor has is known here as a lower bound."
    yield "", caption, memory.latency(rows, fit)


def _launch(rows, fit, theory):
    yield "", "Bars: median; whiskers: interval over the repetitions.", host.launch(rows)


def _hostcopy(rows, fit, theory):
    caption = "Payload, each direction counted once. Solid: pinned host memory. Dotted: pageable. Dashed: the link."
    yield "", caption, host.hostcopy(rows, theory)


def _intensity(rows, fit, theory):
    yield (
        "",
        "Thin lines: the two asymptotes fitted to the rungs of a dtype. Bar: interval of the knee.",
        compute.ladder(rows, fit),
    )


def _gemm(rows, fit, theory):
    yield (
        "",
        "Dotted: the batch where the fitted roofs of the headline dtype meet.",
        compute.gemm(rows, gemm_knees(rows, fit)),
    )


def _attention(rows, fit, theory):
    yield "Decode", "", attention.attention(rows, fit, "decode")
    yield "Prefill", "", attention.attention(rows, fit, "prefill")
    for title, phase, shape in (("Decode", "decode", "GQA, batch 8"), ("Prefill", "prefill", "causal, batch 1")):
        caption = f"{shape}; the same demand for every backend, so that a share compares."
        yield f"{title} by backend", caption, attention.backends(rows, fit, phase)


def _allreduce(rows, fit, theory):
    yield "Bus bandwidth", "2 (n−1)/n · size / time, for every algorithm alike.", allreduce.allreduce(rows, fit, theory)
    yield "Latency of small arrays", "Over all samples of the last repetition.", allreduce.latency(rows)


_KNOWN = {
    "bandwidth": _Known(
        "Memory bandwidth", "How fast do bytes move, in every cache and beyond?", _bandwidth, interpretation.bandwidth
    ),
    "onchip": _Known(
        "Inside a multiprocessor",
        "How fast are shared memory and L1, which no other multiprocessor can reach?",
        _onchip,
        interpretation.onchip,
    ),
    "latency": _Known(
        "Latency", "How long does one load take that waits for the one before?", _latency, interpretation.latency
    ),
    "peak": _Known(
        "Compute peaks",
        "How fast does arithmetic go, in registers and in a library's GEMM?",
        _peak,
        interpretation.peak,
    ),
    "intensity": _Known(
        "The ladder", "Where does memory stop binding and arithmetic start?", _intensity, interpretation.intensity
    ),
    "launch": _Known("Launches", "What does a launch cost before it does anything?", _launch, interpretation.launch),
    "gemm": _Known(
        "From GEMV to GEMM",
        "From which batch on does a weight matrix pay for its own reading?",
        _gemm,
        lambda rows, fit, theory: interpretation.gemm(rows, fit, gemm_knees(rows, fit)),
    ),
    "attention": _Known(
        "Attention",
        "How near do decode and prefill come to their roofs?",
        _attention,
        lambda rows, fit, theory: interpretation.attention(rows, fit),
    ),
    "hostcopy": _Known(
        "The host link", "How fast do bytes cross to the device and back?", _hostcopy, interpretation.hostcopy
    ),
    "allreduce": _Known("All-reduce", "How fast do ranks sum an array together?", _allreduce, interpretation.allreduce),
}


def sections(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> list[Section]:
    """One per probe of the Run, in the order of the page and then of the Run, and what work cost."""
    present = list(dict.fromkeys(rows["probe"]))
    order = [name for name in _KNOWN if name in present] + [name for name in present if name not in _KNOWN]
    found = [_section(name, rows, fit, theory) for name in order]
    # who measured a probe or two did not ask for energy
    return [*found, cost(fit)] if fit.sustained or {"peak", "bandwidth"} <= set(present) else found


def _section(name: str, rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Section:
    known, drawn = _KNOWN.get(name), frame.burst(rows)
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
