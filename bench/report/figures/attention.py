"""Attention as a share of the roof that each phase lives under."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from bench.analysis.fit import Fit
from bench.report import frame
from bench.report.figures import style
from bench.report.figures.sweeps import hovers, level
from bench.report.selections import default, rivals


def attention(rows: pd.DataFrame, fit: Fit, phase: str) -> go.Figure | None:
    """Percent of the roof that the phase lives under, over the length of what is attended to."""
    seen = _shares(frame.sound(default(rows), "attention", phase=phase), fit, phase)
    wanted = ("layout", "batch") if phase == "decode" else ("causal",)
    groups: dict[tuple, list] = {}
    for index, params in seen["params"].items():
        groups.setdefault(tuple(params.get(name) for name in wanted), []).append(index)
    curves = {}
    for label, members in groups.items():
        name = f"{str(label[0]).upper()}, batch {label[1]}" if phase == "decode" else ("causal" if label[0] else "full")
        curves[name] = seen.loc[members]
    return _curves(curves, phase)


def backends(rows: pd.DataFrame, fit: Fit, phase: str) -> go.Figure | None:
    """The same share at one layout, a line per backend and one for torch's own choice."""
    seen = _shares(rivals(rows, phase), fit, phase)
    order = sorted(dict.fromkeys(seen["backend"]), key=lambda name: name != "default")
    named = {name: seen[seen["backend"] == name] for name in order}
    return _curves({"torch's choice" if name == "default" else name: part for name, part in named.items()}, phase)


def _shares(seen: pd.DataFrame, fit: Fit, phase: str) -> pd.DataFrame:
    """With `part`, the share of the phase's roof, and `length`; only where both are known."""
    memory, rates = phase == "decode", []
    for row in frame.each(seen):
        roof = fit.roofline.find(row.work.channel if memory else row.work.compute)
        rates.append((row.byte_rate if memory else row.flop_rate) / roof.rate if roof else None)
    seen = seen.assign(part=rates, length=frame.param(seen, "keys"))
    return seen[seen["part"].notna() & seen["length"].notna()]


def _curves(curves: Mapping[str, pd.DataFrame], phase: str) -> go.Figure | None:
    memory, seen = phase == "decode", pd.concat(curves.values()) if curves else pd.DataFrame()
    if seen.empty:
        return None
    fig = style.figure(380)
    top = max(1.1, min(seen["part"].max() * 1.08, 2.0))
    what = "DRAM roof" if memory else "compute roof"
    fig.update_xaxes(
        style.log_axis(
            "Keys and values in the cache" if memory else "Prompt length",
            seen["length"].min() / 1.2,
            seen["length"].max() * 1.2,
            style.plain,
            2,
        )
    )
    fig.update_yaxes(style.axis(f"Percent of measured {what}", range=[0, 100 * top], ticksuffix=" %"))
    level(fig, 100, f"measured {what}", style.MEMORY if memory else style.COMPUTE)
    for index, (name, part) in enumerate(curves.items()):
        part = part.sort_values("length")
        colour, marker = style.SERIES[index % len(style.SERIES)], style.MARKERS[index % len(style.MARKERS)]
        fig.add_trace(
            style.line(
                style.safe(name),
                part["length"],
                100 * part["part"],
                colour,
                hovers(part),
                marker={
                    "symbol": [style.symbol(marker, validity) for validity in part["validity"]],
                    "size": 7,
                    "color": colour,
                },
                line={"color": colour, "width": 1.6, "dash": style.DASHES[index % len(style.DASHES)]},
            )
        )
    return fig.made()
