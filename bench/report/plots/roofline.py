"""The roofline: what this machine allows at every intensity, in a burst and under lasting load, what it did, and what
its datasheet claims.

A reader chooses what is drawn. Every trace has a name of its own in `meta`; layout.meta says of each which precision,
method, level, regime and probe it shows (`traces`), what can be chosen and what is at first (`selectors`), and what
lines, labels and ridges follow from (`roofs`, `ridges`, `frame`). roofline.js reads all of it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis import names
from bench.analysis.fit import Fit
from bench.analysis.user_kernels import RooflinePoint
from bench.analysis.viewport import RidgePoint, Viewport, brief, met, ridges, spans, viewport
from bench.report.phrases import spread
from bench.report.plots import theme
from bench.report.plots.points import FEW, YOURS, kernels, outside, points
from bench.report.plots.roofs import BASELINE, SIBLINGS, Drawn, ghosts, kinds, labels, level, roofs, stretched
from bench.roofline import Roofline
from bench.schema import SUSTAINED

_TITLES = {"dtype": "Precision", "method": "Compute roofs by", "level": "Memory level", "regime": "Regime"}
_TITLES |= {"probe": "Points"}
# Ridges by what their lines are -> legend entry, marker, its size for the headline and for others.
_RIDGES = {
    "roof": ("ridge, measured", "diamond", 11, 6),
    SUSTAINED: ("ridge, sustained", "diamond-tall-open", 14, 8),
    "datasheet": ("ridge, datasheet", "diamond-open", 15, 8),
}
_LEVELS = {"host": "host link", "link": "NVLink"}


def roofline(
    fit: Fit, theory: Roofline | None, rows: pd.DataFrame, siblings: Sequence[Fit] = (),
    placed: Sequence[RooflinePoint] = (), baseline: Fit | None = None,
) -> go.Figure | None:  # fmt: skip
    """None without a memory roof and a compute roof, measured or claimed."""
    frame = viewport(fit, theory)
    if frame is None:
        return None
    frame = frame.widened((each.intensity, each.flop_rate) for each in placed if each.kernel.work.flops)
    lines = list(roofs(fit, theory, frame))
    drawn = [
        *ghosts(siblings, frame, SIBLINGS, "sibling GPUs"),
        *ghosts([baseline] if baseline else [], frame, BASELINE, "baseline Run"),
        *(each for each, _ in lines),
        *points(fit, rows, frame),
        *kernels(placed, frame),
    ]
    selectors = _selectors(fit, theory, drawn, placed)
    # side -> the values that are shown at first
    chosen = {
        each["side"]: [value for choice in each["choices"] if choice["on"] for value in choice["value"].split(" & ")]
        for each in selectors
    }
    bound = [line for each, line in lines if each.within(chosen)]
    reach = spans(bound, frame)
    for each, line in lines:
        if line.trace in reach:
            each.trace.update(stretched(line, reach[line.trace], frame))
    known = list(ridges(fit, theory, frame))
    first = [_told(ridge) for ridge in met(known, {line.trace for line in bound})]
    drawn += _markers([ridge.what for ridge in known], first)
    shown = {each.name for each in drawn if each.within(chosen) and each.trace["x"]}
    meta = {
        "device": names.device(fit.info.id),
        "traces": {each.name: {"kind": each.kind, "group": each.group} | each.sides for each in drawn},
        "selectors": selectors,
        "isolates": sorted({name for each in drawn for name in (each.kind, each.group)} - {"above its roof"}),
        "roofs": [{key: value for key, value in vars(line).items() if value} for _, line in lines],
        "ridges": list(map(_told, known)),
        "frame": vars(frame),
    }
    fig = theme.figure(600, *theme.plane(**vars(frame)), margin={"r": 220, "t": 44}, meta=meta)
    # of a kind the first speaks for all
    legend = {each.kind: each.name for each in reversed(drawn) if each.name in shown}
    for each in drawn:
        entry = each.name == legend.get(each.kind)
        fig.add_trace(each.trace | {"visible": each.name in shown, "showlegend": entry})
    _zones(fig, first[0] if first else {}, frame)
    seen = [each.trace for each in drawn if each.name.startswith("points ") and each.name in shown]
    for note in (*labels(bound, reach, frame), outside(seen, frame)):
        fig.add_annotation(note)
    return fig.made()


def _selectors(
    fit: Fit, theory: Roofline | None, drawn: Sequence[Drawn], placed: Sequence[RooflinePoint]
) -> list[dict]:
    """What a reader may choose, and what is chosen at first: the headline's precision, float32 and what the reader's
    own kernels use; few points; every level but the links; both regimes.
    """
    have = {side: dict.fromkeys(each.sides[side] for each in drawn if side in each.sides) for side in _TITLES}
    mine = {each.kernel.work.dtype for each in placed} | {fit.info.headline.dtype, "float32"}
    dtypes = dict.fromkeys((*names.DTYPES, *sorted(have["dtype"])))
    linked = {level(each.kernel.work.channel) for each in placed}
    methods = names.METHODS | {"datasheet": kinds(theory)["datasheet"]}
    # from the fastest on, links last
    rates = {level(roof.key): roof.rate for roof in fit.roofline.roofs if not roof.is_compute}
    levels = sorted(have["level"], key=lambda key: (key in _LEVELS, -rates.get(key, 0.0)))
    few = {*FEW, YOURS, SIBLINGS, BASELINE}
    regimes = [(f"burst & {SUSTAINED}", "both", True), ("burst", "burst", False), (SUSTAINED, SUSTAINED, False)]
    choices = {
        "dtype": [(key, names.dtype(key), key in mine) for key in dtypes],
        "method": [(method, text, True) for method, text in sorted(methods.items())],
        "level": [(key, _LEVELS.get(key, names.channel(key)), key not in _LEVELS or key in linked) for key in levels],
        "regime": regimes if fit.sustained else [],
        "probe": [(probe, probe, probe in few) for probe in have["probe"]],
    }
    found = []
    for side, given in choices.items():
        kept = [each for each in given if side == "regime" or each[0] in have[side]]
        if kept:
            told = [{"value": value, "text": text, "on": on} for value, text, on in kept]
            found.append({"side": side, "title": _TITLES[side], "one": side == "regime", "choices": told})
    return found


def _told(ridge: RidgePoint) -> dict[str, Any]:
    """A ridge as it is drawn: its place, its hover (`text`), its label (`title`)."""
    value = ridge.intensity
    said = f"{units.intensity(value.value)}, {spread(value, units.digits) if value.n else 'by the datasheet'}"
    pair = theme.safe(f"{names.roof(ridge.compute)} / {names.channel(ridge.memory)}")
    place = {"x": brief(value.value), "low": brief(value.low), "high": brief(value.high), "y": brief(ridge.rate)}
    about = {"what": ridge.what, "compute": ridge.compute, "memory": ridge.memory, "text": f"{pair}<br>{said}"}
    title = f"<b>ridge{', sustained' * (ridge.what == SUSTAINED)}</b> {said}"
    return place | about | {"title": title, "size": _RIDGES[ridge.what][2 if ridge.lead else 3]}


def _markers(known: Iterable[str], shown: Sequence[dict]) -> Iterator[Drawn]:
    """A trace per kind of ridge, with those that are shown; roofline.js fills in what a reader chooses."""
    for what in dict.fromkeys(known):
        name, symbol, *_ = _RIDGES[what]
        sides = ("x", "y", "low", "high", "text", "size")
        xs, ys, lows, highs, texts, sizes = ([each[s] for each in shown if each["what"] == what] for s in sides)
        look = {"marker": {"symbol": symbol, "color": theme.INK, "size": sizes, "line": {"width": 1.6}}}
        look |= {"error_x": theme.error(xs, lows, highs, theme.INK), "name": name, "meta": f"ridge {what}"}
        look |= {"hovertemplate": f"<b>{name}</b> %{{text}}<extra></extra>", "mode": "markers"}
        yield Drawn(theme.scatter(x=xs, y=ys, text=texts, **look), name, {})


def _zones(fig: theme.Drawing, ridge: dict, frame: Viewport) -> None:
    """Left of the ridge a kernel waits for memory, right of it for arithmetic. They are named above the highest roof,
    the ridge above the plot, where nothing else is.
    """
    middle, there = ridge.get("x") or math.sqrt(frame.left * frame.right), bool(ridge)
    look = {"yref": "paper", "xanchor": "center", "visible": there}
    zone = look | {"yanchor": "top", "name": "zone", "colour": theme.MUTED}
    sides = (frame.left, middle, theme.MEMORY, "memory-bound"), (middle, frame.right, theme.COMPUTE, "compute-bound")
    for x0, x1, colour, text in sides:
        fig.add_vrect(x0, x1, fillcolor=colour, opacity=0.055, layer="below", line={"width": 0}, visible=there)
        fig.add_note(text, theme.log(math.sqrt(x0 * x1)), 1, **zone)
    fig.add_vline(middle, line={"color": theme.MUTED, "width": 1, "dash": "dot"}, visible=there)
    fig.add_note(ridge.get("title", ""), theme.log(middle), 1, yshift=16, name="ridge name", **look)


def common(figure: go.Figure, others: Iterable[go.Figure]) -> None:
    """One set of controls for figures of several devices: whatever one of them has can be chosen."""
    metas = [each.layout.meta for each in (figure, *others)]
    sides: dict[str, dict] = {}
    for each in (each for meta in metas for each in meta["selectors"]):
        choices = sides.setdefault(each["side"], each)["choices"]
        known = {choice["value"] for choice in choices}
        choices += [choice for choice in each["choices"] if choice["value"] not in known]
    isolates = sorted({name for meta in metas for name in meta["isolates"]})
    figure.layout.meta |= {"selectors": list(sides.values()), "isolates": isolates}
