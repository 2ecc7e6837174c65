"""The roofline: what this machine allows at every intensity, in a burst and under lasting load, what it did, and what
its datasheet claims.

A reader chooses what is drawn. Every trace has a name of its own in `meta`; layout.meta says of each which precision,
method, level, regime and probe it shows (`traces`), what can be chosen and what is at first (`selectors`), and how
labels and the ridge follow (`labels`, `ridges`, in order of preference). report.js reads all of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pandas as pd
import plotly.graph_objects as go

from bench.analysis.fit import Fit
from bench.analysis.placed import Placed
from bench.report import names
from bench.report.figures import lines, style
from bench.report.figures.labels import labels, notes
from bench.report.figures.points import Drawn, outside, placed, points
from bench.report.figures.ridges import Ridge, zones
from bench.report.figures.ridges import ridges as meetings
from bench.report.figures.window import (
    Facets,
    level,
    window,
)
from bench.roofline import Roofline
from bench.schema import SUSTAINED

_TITLES = {
    "dtype": "Precision",
    "method": "Compute roofs by",
    "level": "Memory level",
    "regime": "Regime",
    "probe": "Points",
}
_LEVELS = {"host": "host link", "link": "NVLink"}


def roofline(
    fit: Fit,
    theory: Roofline | None,
    rows: pd.DataFrame,
    siblings: Sequence[Fit] = (),
    kernels: Sequence[Placed] = (),
    baseline: Fit | None = None,
) -> go.Figure | None:
    """None without a memory roof and a compute roof, measured or claimed."""
    frame = window(fit, theory)
    if frame is None:
        return None
    first = {kernel.kernel.work.dtype for kernel in kernels} | {fit.info.headline.split(".")[1], "float32"}
    ridges = list(meetings(fit, theory, frame))
    drawn = [
        *(lines.ghost(other, frame, lines.SIBLINGS, "sibling GPUs", other is siblings[0]) for other in siblings),
        *([lines.ghost(baseline, frame, lines.BASELINE, "baseline Run", True)] if baseline else []),
        *lines.sustained(fit, frame, first),
        *lines.measured(fit, theory, frame, first),
        *lines.claimed(fit, theory, frame, first),
        *points(fit, rows, frame),
        *placed(kernels, frame),
        *(trace for trace, _ in ridges),
    ]
    selectors = _selectors(fit, theory, drawn, kernels, first)
    chosen = {each["side"]: [c["value"] for c in each["choices"] if c["on"]] for each in selectors}
    if "regime" in chosen:
        chosen["regime"] = [word for value in chosen["regime"] for word in value.split(" & ")]
    shown = {each.trace["meta"] for each in drawn if each.facets.within(chosen)}
    shown = _anchored(shown, [ridge for _, ridge in ridges])
    fig = style.figure(620, margin={"l": 56, "r": 208, "t": 20, "b": 48})
    fig.update_xaxes(style.log_axis("Arithmetic intensity (FLOP/B)", frame.left, frame.right, style.plain))
    fig.update_yaxes(style.log_axis("Performance (FLOP/s; OP/s for integers)", frame.bottom, frame.top))
    for key in _keys(fit, theory):
        fig.add_trace(key.trace)
    legends: set[str] = set()
    for each in drawn:
        kind, seen = each.facets.kind, each.trace["meta"] in shown
        # what is not drawn needs no entry, and of its kind the first speaks for all
        each.trace.update(visible=seen, showlegend=seen and kind not in legends and kind in _entries(each))
        legends |= {kind} if seen else set()
        fig.add_trace(each.trace)
    found = labels(fit, theory, frame)
    ridge = next((ridge for _, ridge in ridges if ridge.trace in shown), None)
    zones(fig, ridge, frame)
    for note in (
        *notes(found, shown.__contains__, frame),
        *outside([each.trace for each in drawn if each.facets.probe and each.trace["meta"] in shown], frame),
    ):
        fig.add_annotation(note)
    fig.update_layout(
        meta={
            "traces": {each.trace["meta"]: asdict(each.facets) for each in (*drawn, *_keys(fit, theory))},
            "selectors": selectors,
            "isolates": _isolates(drawn),
            "labels": [asdict(label) for label in found],
            "ridges": [asdict(ridge) for _, ridge in ridges],
            "frame": asdict(frame),
        }
    )
    return fig.made()


def _selectors(
    fit: Fit, theory: Roofline | None, drawn: Sequence[Drawn], kernels: Sequence[Placed], first: set[str]
) -> list[dict]:
    """What a reader may choose, and what is chosen at first: the headline's precision, float32 and what the reader's
    own kernels use; every level but the links; both regimes; every probe.
    """
    have = {side: list(dict.fromkeys(getattr(each.facets, side) for each in drawn)) for side in _TITLES}
    linked = {level(kernel.kernel.work.channel) for kernel in kernels}
    order = [*names.DTYPES, *sorted(have["dtype"])]
    choices = {
        "dtype": [
            _choice(dtype, names.dtype(dtype), dtype in first)
            for dtype in dict.fromkeys(order)
            if dtype in have["dtype"] and dtype
        ],
        "method": [
            _choice(method, names.claim(theory.roofs[0].evidence) if method == "datasheet" and theory else text)
            for method, text in sorted(names.METHODS.items())
            if method in have["method"]
        ],
        "level": [
            _choice(key, _LEVELS.get(key, names.channel(key)), key not in _LEVELS or key in linked)
            for key in _ordered(fit, have["level"])
        ],
        "regime": [
            _choice(f"burst & {SUSTAINED}", "both"),
            _choice("burst", "burst", False),
            _choice(SUSTAINED, SUSTAINED, False),
        ]
        if fit.sustained
        else [],
        "probe": [_choice(probe, probe) for probe in have["probe"] if probe],
    }
    return [
        {"side": side, "title": _TITLES[side], "one": side == "regime", "choices": given}
        for side, given in choices.items()
        if given
    ]


def _choice(value: str, text: str, on: bool = True) -> dict:
    return {"value": value, "text": text, "on": on}


def _ordered(fit: Fit, levels: Sequence[str]) -> list[str]:
    """Levels from the fastest on, links last."""
    rates = {level(roof.key): roof.rate for roof in fit.roofline.roofs if not roof.is_compute}
    return sorted(filter(None, levels), key=lambda key: (key in _LEVELS, -rates.get(key, 0.0)))


def _isolates(drawn: Sequence[Drawn]) -> list[str]:
    """What can be isolated: every kind of line, every roof, every question."""
    return sorted({name for each in drawn for name in (each.facets.kind, each.facets.group)} - {"above its roof"})


def _entries(each: Drawn) -> set[str]:
    """Kinds with a legend entry made by their own traces; kinds of roof have a key."""
    return {each.facets.kind} if each.facets.probe or each.trace["meta"].startswith("ridge") else set()


def _anchored(shown: set[str], ridges: Sequence[Ridge]) -> set[str]:
    """Without the ridges over other memories than that of the first one: a machine has many, a reader asks for one."""
    first = next((ridge for ridge in ridges if ridge.trace in shown), None)
    return shown - {ridge.trace for ridge in ridges if first and ridge.memory != first.memory}


def _keys(fit: Fit, theory: Roofline | None) -> Iterator[Drawn]:
    """Legend entries for kinds of line."""
    doubts = {lines.kind(fit, key) for key in fit.roofs}
    if "measured roof" in doubts:
        yield _key("measured roof", {"color": style.COMPUTE, "width": 3, "dash": "solid"})
    if "measured, doubtful" in doubts:
        yield _key("measured, doubtful", {"color": style.COMPUTE, "width": 2, "dash": "dashdot"})
    if fit.sustained:
        yield _key("sustained roof", {"color": style.COMPUTE, "width": 2.5, "dash": "dot"}, SUSTAINED)
    if theory and theory.roofs:
        name = names.claim(theory.roofs[0].evidence)
        yield _key(name, {"color": style.THEORY, "width": 1.2, "dash": "dash"}, method="datasheet")


def _key(name: str, look: dict, regime: str = "", method: str = "") -> Drawn:
    trace = style.scatter(x=[None], y=[None], mode="lines", name=name, line=look, meta=f"key {name}", legendgroup=name)
    return Drawn(trace, Facets(name, name, regime=regime, method=method))
