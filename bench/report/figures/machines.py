"""One machine beside another: measured over claimed, and every GPU beside its siblings."""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.compare import Gap
from bench.report import frame, names
from bench.report.figures import style


def against(
    gaps: Sequence[Gap], doubtful: Sequence[str] = (), clocked: Mapping[str, float] | None = None
) -> go.Figure | None:
    """A dot per roof: its share of the claim, with the interval; 100 % is the datasheet.

    clocked: roof -> rate of the datasheet's machine at the clock that was seen, a grey tick.
    """
    if not gaps:
        return None
    rows = [names.short(gap.ours.key) for gap in gaps][::-1]
    values = [100 * gap.ratio for gap in gaps]
    fig = style.figure(90 + 26 * len(gaps), margin={"l": 60, "r": 16, "t": 20, "b": 48}, showlegend=False)
    low, high = min(0.98 * min(100 * gap.low for gap in gaps), 90), max(1.02 * max(100 * gap.high for gap in gaps), 105)
    fig.update_xaxes(
        style.axis(
            f"Measured, percent of {names.claim(gaps[0].theirs.evidence)}", range=[max(0, low), high], ticksuffix=" %"
        )
    )
    fig.update_yaxes(style.axis("", type="category", categoryorder="array", categoryarray=rows, automargin=True))
    fig.add_vline(x=100, line={"color": style.THEORY, "width": 1.2, "dash": "dash"})
    ticks = [gap for gap in gaps if gap.ours.key in (clocked or {})]
    if ticks and clocked:
        shares = [100 * clocked[gap.ours.key] / gap.theirs.rate for gap in ticks]
        low, high = min(low, 0.98 * min(shares)), max(high, 1.02 * max(shares))
        fig.update_xaxes({"range": [max(0, low), high]})
        fig.add_trace(
            style.scatter(
                x=shares,
                y=[names.short(gap.ours.key) for gap in ticks],
                mode="markers",
                marker={"symbol": "line-ns-open", "size": 15, "color": style.MUTED, "line": {"width": 2}},
                customdata=[
                    f"<b>{names.roof(gap.ours.key)}</b><br>the datasheet's machine at the clock seen:"
                    f" {units.rate_text(clocked[gap.ours.key], gap.ours.key)}"
                    for gap in ticks
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    for memory in (True, False):
        part = [gap for gap in gaps if gap.ours.is_compute != memory]
        colour = style.MEMORY if memory else style.COMPUTE
        marker = "diamond" if memory else "circle"
        fig.add_trace(
            style.scatter(
                x=[100 * gap.ratio for gap in part],
                y=[names.short(gap.ours.key) for gap in part],
                mode="markers",
                error_x=style.error(
                    [100 * g.ratio for g in part], [100 * g.low for g in part], [100 * g.high for g in part], colour
                ),
                marker={
                    "symbol": [f"{marker}-open" if g.ours.key in doubtful else marker for g in part],
                    "size": 9,
                    "color": colour,
                },
                customdata=[_gap(gap) for gap in part],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    return fig.made() if values else None


def _gap(gap: Gap) -> str:
    key = gap.ours.key
    return (
        f"<b>{names.roof(key)}</b><br>{units.rate_text(gap.ours.rate, key)} of {units.rate_text(gap.theirs.rate, key)}"
        f"<br>{units.percent(gap.ratio)} ({units.between(gap.low, gap.high, units.percent)})"
    )


def strip(siblings: pd.DataFrame, few: Sequence[str] = ()) -> go.Figure | None:
    """A row per roof, a dot per GPU at its share of the median; who stands apart is named."""
    rows = siblings[siblings["key"].isin(few)] if len(few) else siblings
    if rows.empty:
        return None
    keys = list(dict.fromkeys(rows["key"]))
    fig = style.figure(100 + 34 * len(keys), margin={"l": 60, "r": 16, "t": 20, "b": 48})
    reach = max(0.02, 1.25 * (rows["ratio"] - 1).abs().max())
    fig.update_xaxes(
        style.axis("Percent of the GPUs' median", range=[100 * (1 - reach), 100 * (1 + reach)], ticksuffix=" %")
    )
    fig.update_yaxes(
        style.axis(
            "",
            type="category",
            categoryorder="array",
            categoryarray=[names.short(key) for key in keys][::-1],
            automargin=True,
        )
    )
    width = 100 * 1.4826 * float((rows["ratio"] - 1).abs().median()) * 2
    fig.add_vrect(x0=100 - width, x1=100 + width, fillcolor=style.MUTED, opacity=0.12, line={"width": 0}, layer="below")
    fig.add_vline(x=100, line={"color": style.MUTED, "width": 1.2})
    for apart in (False, True):
        part = rows[rows["apart"] == apart]
        if part.empty:
            continue
        colour = style.ALARM if apart else style.SERIES[0]
        fig.add_trace(
            style.scatter(
                x=100 * part["ratio"],
                y=[names.short(key) for key in part["key"]],
                name="stands apart" if apart else "one dot per GPU",
                mode="markers+text" if apart else "markers",
                text=[style.safe(names.device(d)) for d in part["device"]] if apart else None,
                textposition="top center",
                textfont={"color": style.ALARM},
                cliponaxis=False,
                error_x=(
                    style.error(100 * part["ratio"], 100 * part["ratio_low"], 100 * part["ratio_high"], colour)
                    if apart
                    else None
                ),
                marker={
                    "symbol": "diamond" if apart else "circle-open",
                    "size": 11 if apart else 9,
                    "color": colour,
                    "line": {"width": 1.5},
                },
                customdata=[_sibling(row) for row in frame.each(part)],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    return fig.made()


def _sibling(row) -> str:
    return (
        f"<b>{style.safe(names.device(row.device))}</b> {names.roof(row.key)}<br>{units.rate_text(row.rate, row.key)}"
        f"<br>{units.percent(row.ratio)} of the median {units.rate_text(row.median, row.key)}"
    )
