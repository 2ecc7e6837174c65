"""Attention as a share of the roof that each phase lives under."""

import pandas as pd
import plotly.graph_objects as go

from bench.analysis.fit import Fit
from bench.report import frame
from bench.report.figures import style
from bench.report.figures.sweeps import hovers, level


def attention(rows: pd.DataFrame, fit: Fit, phase: str) -> go.Figure | None:
    """Percent of the roof that the phase lives under, over the length of what is attended to."""
    seen = frame.sound(rows, "attention", phase=phase)
    memory = phase == "decode"
    if seen.empty:
        return None
    rates = []
    for row in seen.itertuples():
        roof = fit.roofline.find(row.work.channel if memory else row.work.compute)
        rates.append((row.byte_rate if memory else row.flop_rate) / roof.rate if roof else None)
    seen = seen.assign(part=rates, length=frame.param(seen, "keys"))
    seen = seen[seen["part"].notna() & seen["length"].notna()]
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
    wanted = ("layout", "batch") if memory else ("causal",)
    groups = {}
    for row in seen.itertuples():
        groups.setdefault(tuple(row.params.get(name) for name in wanted), []).append(row.Index)
    for index, (label, members) in enumerate(groups.items()):
        part = seen.loc[members].sort_values("length")
        name = f"{str(label[0]).upper()}, batch {label[1]}" if memory else ("causal" if label[0] else "full")
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
    return fig
