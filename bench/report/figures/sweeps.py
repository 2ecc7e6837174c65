"""A figure per probe: its rate over the size that it sweeps, with the roofs that it meets drawn in."""

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.figures import style
from bench.report.figures.points import point_text
from bench.report.selections import streams
from bench.roofline import Roofline


def hovers(rows: pd.DataFrame) -> list[str]:
    return [point_text(row) for row in frame.each(rows)]


def level(
    fig: style.Drawing, y: float, text: str, colour: str, dash: str = "solid", side: str = "right", claim: float = 0.0
) -> None:
    """A horizontal line with its name on it, or above the claim that runs just above it."""
    fig.add_hline(y=y, line={"color": colour, "width": 1.6, "dash": dash}, layer="below")
    logarithmic = fig.layout["yaxis"].get("type") == "log"
    x, anchor = (1, "right") if side == "right" else (0.01, "left")
    y = max(y, claim) if claim < 1.5 * y else y
    place = style.log(y) if logarithmic else y
    fig.add_annotation(
        style.note(text, x, place, xref="paper", xanchor=anchor, font={"size": 12, "color": colour}, name="level label")
    )


def boundary(fig: style.Drawing, size: float, text: str) -> None:
    """Where a cache ends, on an axis of sizes."""
    fig.add_vline(x=size, line={"color": style.GRID, "width": 1.5, "dash": "dot"})
    fig.add_annotation(
        style.note(
            text,
            style.log(size),
            0.0,
            yref="paper",
            xanchor="right",
            textangle=-90,
            font={"size": 12, "color": style.MUTED},
            name="cache",
        )
    )


def bandwidth(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> go.Figure | None:
    """Bytes per second over the working set: one plateau per cache level, and the DRAM roof."""
    seen = streams(rows)
    if seen.empty:
        return None
    # other channels have sections of their own
    swept = {"dram", *(cache.name for cache in fit.info.caches)}
    roofs = [roof for roof in fit.roofline.roofs if roof.key in swept]
    claim = theory.find("dram") if theory else None
    rates = [*seen["byte_rate"], *(roof.rate for roof in roofs), *([claim.rate] if claim else [])]
    top = max(rates) * 2
    fig = style.figure(420)
    fig.update_xaxes(style.size_axis("Working set or bytes per launch", seen["size"].min() / 2, seen["size"].max() * 2))
    fig.update_yaxes(style.log_axis("Bandwidth (B/s)", max(min(*rates, max(rates) / 10) / 2, max(rates) / 1e5), top))
    for roof in roofs:
        beside = claim.rate if claim else 0.0
        level(fig, roof.rate, f"{names.channel(roof.key)} {units.bandwidth(roof.rate)}", style.MEMORY, claim=beside)
    if claim:
        level(
            fig,
            claim.rate,
            f"{names.claim(claim.evidence)} {units.bandwidth(claim.rate)}",
            style.THEORY,
            "dash",
            "left",
        )
    for cache in fit.info.caches:
        boundary(fig, cache.bytes, f"{names.channel(cache.name)} {units.size(cache.bytes)}")
    groups = [
        (f"{cache} {mix}{', plain stores' if plain and cache == 'cold' else ''}", part.sort_values("size"))
        for (cache, mix, plain), part in seen.groupby(["cache", "mix", "plain"], sort=False)
    ]
    # colour and marker say the mix; crosses, plain stores; dots, a hot set
    mixes = list(dict.fromkeys(str(mix) for mix in frame.param(seen, "mix")))
    for name, part in groups:
        index = mixes.index(str(part["params"].iloc[0]["mix"]))
        colour, marker = style.SERIES[index % len(style.SERIES)], style.MARKERS[index % len(style.MARKERS)]
        marker = "x" if name.endswith("plain stores") else marker
        symbols = [style.symbol(marker, validity) for validity in part["validity"]]
        fig.add_trace(
            style.line(
                style.safe(name),
                part["size"],
                part["byte_rate"],
                colour,
                hovers(part),
                mode="lines+markers" if len(part) > 2 else "markers",
                marker={"symbol": symbols, "size": 7, "color": colour},
                line={"color": colour, "width": 1.6, "dash": "dot" if name.startswith("hot") else "solid"},
            )
        )
    return fig.made()


def generic(rows: pd.DataFrame, probe: str) -> go.Figure | None:
    """Any other probe: its rate (or its time) over the last numeric param that varies."""
    seen = frame.sound(rows, probe)
    numeric = [
        name
        for name in dict.fromkeys(name for params in seen["params"] for name in params)
        if len({v for v in frame.param(seen, name) if _number(v)}) > 1
    ]
    if seen.empty:
        return None
    rates = next((column for column in ("flop_rate", "byte_rate") if seen[column].notna().all()), "seconds")
    fig = style.figure(360)
    xs = frame.param(seen, numeric[-1]) if numeric else list(range(1, len(seen) + 1))
    kept = [_number(x) for x in xs]
    seen, xs = seen[kept], [x for x in xs if _number(x)]
    seen = seen.assign(x=xs).sort_values("x")
    title = {"flop_rate": "Performance (FLOP/s)", "byte_rate": "Bandwidth (B/s)", "seconds": "Time per launch"}[rates]
    label = (lambda v: units.seconds(v, 1)) if rates == "seconds" else None
    if min(xs) > 0 and max(xs) / min(xs) > 20:
        fig.update_xaxes(
            style.log_axis(
                style.safe(numeric[-1]) if numeric else "case", min(xs) / 1.2, max(xs) * 1.2, style.plain, 10
            )
        )
    else:
        fig.update_xaxes(style.axis(style.safe(numeric[-1]) if numeric else "case, in order"))
    fig.update_yaxes(style.log_axis(title, seen[rates].min() / 2, seen[rates].max() * 2, label))
    symbols = [style.symbol("circle", validity) for validity in seen["validity"]]
    fig.add_trace(
        style.line(
            style.safe(probe),
            seen["x"],
            seen[rates],
            style.SERIES[0],
            hovers(seen),
            mode="markers",
            marker={"symbol": symbols, "size": 8, "color": style.SERIES[0]},
        )
    )
    return fig.made()


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
