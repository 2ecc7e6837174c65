"""A section of the page per probe: question, paragraph, figures, table. A probe unknown here gets a generic one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from bench.analysis.fit import Fit
from bench.report import interpretation, tables
from bench.report.figures import allreduce, attention, sweeps
from bench.report.knee import gemm_knees
from bench.report.tables import Table
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
    table: Table


@dataclass(frozen=True)
class _Known:
    title: str
    question: str
    figures: Callable[..., Iterable[tuple[str, str, go.Figure | None]]]
    words: Callable[..., Iterable[str]]


def _bandwidth(rows, fit, theory):
    caption = (
        "Filled: valid. Open: suspect. Cold cases touch more than the last cache holds; hot ones re-read a set in"
        " place."
    )
    yield "", caption, sweeps.bandwidth(rows, fit, theory)


def _peak(rows, fit, theory):
    yield "", "", sweeps.peak(fit, theory)


def _intensity(rows, fit, theory):
    yield (
        "",
        "Thin line: the two asymptotes fitted to the rungs. Grey bar: interval of the knee.",
        sweeps.ladder(rows, fit),
    )


def _gemm(rows, fit, theory):
    yield (
        "",
        "Dotted: the batch where the fitted roofs of the headline dtype meet.",
        sweeps.gemm(rows, gemm_knees(rows, fit)),
    )


def _attention(rows, fit, theory):
    yield "Decode", "", attention.attention(rows, fit, "decode")
    yield "Prefill", "", attention.attention(rows, fit, "prefill")


def _allreduce(rows, fit, theory):
    yield "Bus bandwidth", "2 (n−1)/n · size / time, for every algorithm alike.", allreduce.allreduce(rows, fit, theory)
    yield "Latency of small arrays", "Over all samples of the last repetition.", allreduce.latency(rows)


_KNOWN = {
    "bandwidth": _Known(
        "Memory bandwidth", "How fast do bytes move, in every cache and beyond?", _bandwidth, interpretation.bandwidth
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
    "allreduce": _Known("All-reduce", "How fast do ranks sum an array together?", _allreduce, interpretation.allreduce),
}


def sections(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> list[Section]:
    """One per probe of the Run, in the order of the page and then of the Run."""
    present = list(dict.fromkeys(rows["probe"]))
    order = [name for name in _KNOWN if name in present] + [name for name in present if name not in _KNOWN]
    return [_section(name, rows, fit, theory) for name in order]


def _section(name: str, rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Section:
    known = _KNOWN.get(name)
    if known:
        figures, sentences = list(known.figures(rows, fit, theory)), list(known.words(rows, fit, theory))
    else:
        figures, sentences = [("", "", sweeps.generic(rows, name))], list(interpretation.generic(rows, name))
    part = rows[rows["probe"] == name]
    if part["seconds"].isna().all():
        sentences = [interpretation.nothing(rows, name)]
    text = " ".join(sentences)
    title = known.title if known else name
    plots = [
        Plot(
            f"fig-{slug(name)}-{number}", figure, " ".join(filter(None, (f"{title}.", heading, text))), heading, caption
        )
        for number, (heading, caption, figure) in enumerate(figures)
        if figure is not None
    ]
    question = known.question if known else "A probe that this report has no page for; shown as it is."
    return Section(
        f"probe-{slug(name)}", title, question, text, tuple(plots), tables.cases(part, f"cases-{slug(name)}", title)
    )


def slug(name: str) -> str:
    """A name as an id: letters, digits and dashes."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name) or "unnamed"
