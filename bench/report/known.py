"""The probes that the page has a section for: title, question, figures and paragraph of each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import plotly.graph_objects as go

from bench.report import interpretation
from bench.report.figures import allreduce, attention, compute, host, memory, sweeps
from bench.report.knee import gemm_knees
from bench.report.levels import levels
from bench.report.served import capacity, decode, fusion, layer, mixed, moe, quantised


@dataclass(frozen=True)
class Known:
    """What the page has for a probe that it knows."""

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


KNOWN = {
    "bandwidth": Known(
        "Memory bandwidth", "How fast do bytes move, in every cache and beyond?", _bandwidth, interpretation.bandwidth
    ),
    "onchip": Known(
        "Inside a multiprocessor",
        "How fast are shared memory and L1, which no other multiprocessor can reach?",
        _onchip,
        interpretation.onchip,
    ),
    "latency": Known(
        "Latency", "How long does one load take that waits for the one before?", _latency, interpretation.latency
    ),
    "peak": Known(
        "Compute peaks",
        "How fast does arithmetic go, in registers and in a library's GEMM?",
        _peak,
        interpretation.peak,
    ),
    "intensity": Known(
        "The ladder", "Where does memory stop binding and arithmetic start?", _intensity, interpretation.intensity
    ),
    "launch": Known("Launches", "What does a launch cost before it does anything?", _launch, interpretation.launch),
    "gemm": Known(
        "From GEMV to GEMM",
        "From which batch on does a weight matrix pay for its own reading?",
        _gemm,
        lambda rows, fit, theory: interpretation.gemm(rows, fit, gemm_knees(rows, fit)),
    ),
    "attention": Known(
        "Attention",
        "How near do decode and prefill come to their roofs?",
        _attention,
        lambda rows, fit, theory: interpretation.attention(rows, fit),
    ),
    "hostcopy": Known(
        "The host link", "How fast do bytes cross to the device and back?", _hostcopy, interpretation.hostcopy
    ),
    "allreduce": Known("All-reduce", "How fast do ranks sum an array together?", _allreduce, interpretation.allreduce),
} | {
    name: Known(found.TITLE, found.QUESTION, found.figures, found.words)
    for name, found in {
        "layer": layer, "decode": decode, "mixed": mixed, "quantised": quantised, "moe": moe, "fusion": fusion,
        "capacity": capacity,
    }.items()
}  # fmt: skip
