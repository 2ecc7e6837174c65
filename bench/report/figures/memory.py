"""Inside the device: the memory of each multiprocessor, and the latency of a load over the set that it walks."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.compare import at_clock
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.figures import style
from bench.report.figures.sweeps import boundary
from bench.report.levels import chases, levels, plateaus
from bench.roofline import Roof, Roofline


def onchip(fit: Fit, theory: Roofline | None) -> go.Figure | None:
    """A row per memory: measured in a burst and sustained, the claim, and the claim at the clock that was seen."""
    roofs = [fit.roofs[channel].roof for channel in fit.info.onchip if channel in fit.roofs]
    if not roofs:
        return None
    rows = [names.channel(roof.key) for roof in roofs][::-1]
    fig = style.figure(120 + 34 * len(rows), margin={"l": 60, "r": 16, "t": 20, "b": 48})
    traces = list(_onchip(roofs, fit, theory))
    top = max(x for trace in traces for x in trace["x"])
    fig.update_xaxes(style.axis("Bandwidth over all multiprocessors (B/s)", range=[0, top * 1.08], tickformat="~s"))
    fig.update_yaxes(style.axis("", type="category", categoryorder="array", categoryarray=rows, automargin=True))
    for trace in traces:
        fig.add_trace(trace)
    return fig.made()


def _onchip(roofs: list[Roof], fit: Fit, theory: Roofline | None) -> Iterator[dict]:
    def marks(name: str, found: list[tuple[Roof, str]], look: dict, **more) -> dict:
        return style.scatter(
            x=[roof.rate for roof, _ in found],
            y=[names.channel(roof.key) for roof, _ in found],
            mode="markers",
            name=name,
            marker=look,
            customdata=[
                f"<b>{names.channel(roof.key)}, {name}</b><br>{units.bandwidth(roof.rate)}{text}"
                for roof, text in found
            ],
            hovertemplate="%{customdata}<extra></extra>",
            **more,
        )

    claims = [(claim, "") for roof in roofs if theory and (claim := theory.find(roof.key))]
    if claims:
        look = {"symbol": "line-ns-open", "size": 20, "color": style.THEORY, "line": {"width": 2}}
        yield marks(names.claim(claims[0][0].evidence), claims, look)
    seen = []
    for roof in roofs:
        clock = fit.roofs[roof.key].winner.clock_hz
        if rate := at_clock(fit.info, roof.key, clock):
            seen.append((Roof(roof.key, rate), f"<br>at {units.hertz(clock or 0.0)}"))
    if seen:
        look = {"symbol": "line-ns-open", "size": 12, "color": style.MUTED, "line": {"width": 2}}
        yield marks("datasheet at the clock seen", seen, look)
    lasting = [(fit.sustained.roofs[r.key].roof, "") for r in roofs if fit.sustained and r.key in fit.sustained.roofs]
    if lasting:
        yield marks("sustained", lasting, {"symbol": "diamond-tall-open", "size": 11, "color": style.INK})
    span = style.error([r.rate for r in roofs], [r.low for r in roofs], [r.high for r in roofs], style.MEMORY)
    symbols = [style.symbol("circle", fit.roofs[roof.key].winner.validity) for roof in roofs]
    look = {"symbol": symbols, "size": 9, "color": style.MEMORY}
    yield marks("measured", [(roof, f"<br>{roof.estimate.kind}") for roof in roofs], look, error_x=span)


def latency(rows: pd.DataFrame, fit: Fit) -> go.Figure | None:
    """Nanoseconds per dependent load over the working set, with the caches and each level's plateau."""
    seen = chases(rows)
    if seen.empty:
        return None
    low, high = seen["load"].min(), seen["load"].max()
    fig = style.figure(400)
    fig.update_xaxes(style.size_axis("Working set of the chase", seen["size"].min() / 2, seen["size"].max() * 2))
    fig.update_yaxes(style.log_axis("Time per load", low / 2, high * 2, lambda v: units.seconds(v, 1)))
    for level in levels(fit.info)[:-1]:
        at_least = "≥ " if level.at_least else ""
        boundary(fig, level.bytes, f"{names.channel(level.name)} {at_least}{units.size(level.bytes)}")
    below = seen["size"].min()
    for index, plateau in enumerate(plateaus(rows, fit.info)):
        end = min(plateau.level.bytes, seen["size"].max())
        text = f"{names.channel(plateau.level.name)} {units.seconds(plateau.seconds)}"
        text += f", {plateau.cycles:.0f} cycles" if plateau.cycles else ""
        fig.add_trace(
            style.scatter(
                x=[below, end],
                y=[plateau.seconds] * 2,
                mode="lines",
                line={"color": style.MEMORY, "width": 1.6, "dash": "dash"},
                name="plateau: median well inside a level",
                legendgroup="plateau",
                showlegend=not index,
                hoverinfo="skip",
            )
        )
        fig.add_annotation(
            style.note(
                f"<b>{text}</b>",
                style.log((below * end) ** 0.5),
                style.log(plateau.seconds),
                xanchor="center",
                yshift=4,
                font={"size": 12, "color": style.MEMORY},
                name="level label",
            )
        )
        below = end
    hover = []
    for row in frame.each(seen):
        cycles = f"<br>{row.load * row.clock_hz:.0f} cycles at {units.hertz(row.clock_hz)}" if row.clock_hz > 0 else ""
        hover.append(f"<b>{units.size(row.size)}</b><br>{units.seconds(row.load)} a load{cycles}<br>{row.validity}")
    symbols = [style.symbol("circle", validity) for validity in seen["validity"]]
    look = {"symbol": symbols, "size": 7, "color": style.SERIES[0]}
    fig.add_trace(style.line("one load", seen["size"], seen["load"], style.SERIES[0], hover, marker=look))
    return fig.made()
