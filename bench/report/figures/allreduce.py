"""All-reduce: bus bandwidth of large arrays, and the latency of small ones with its tail."""

from collections.abc import Iterator
from itertools import groupby

import pandas as pd
import plotly.graph_objects as go

from bench import stats, units
from bench.analysis.fit import Fit
from bench.analysis.hockney import line
from bench.report import frame
from bench.report.figures import style
from bench.report.figures.sweeps import hovers, level
from bench.roofline import Roofline

# A tail quantile needs this many samples before it means anything.
TAIL = 100


def bus_bandwidth(size: float, ranks: int, seconds: float) -> float:
    """B/s by NCCL-tests' convention, the same for every algorithm: 2 (n-1)/n * size / time."""
    return 2 * (ranks - 1) / ranks * size / seconds


def _by_algorithm(seen: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    ordered = seen.assign(algorithm=[str(name) for name in frame.param(seen, "algorithm")]).sort_values(
        ["algorithm", "size"]
    )
    for name, members in groupby(frame.each(ordered), key=lambda row: row.algorithm):
        yield name, ordered.loc[[row.Index for row in members]]


def allreduce(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> go.Figure | None:
    """Bus bandwidth over the size of the array, a line per algorithm."""
    seen = frame.sound(rows, "allreduce")
    seen = seen.assign(size=frame.param(seen, "bytes"), ranks=frame.param(seen, "ranks"))
    seen = seen[seen["size"].notna() & (seen["ranks"] > 1)] if len(seen) else seen
    if seen.empty:
        return None
    seen = seen.assign(bus=[bus_bandwidth(row.size, row.ranks, row.seconds) for row in frame.each(seen)])
    fig = style.figure(400)
    claim, roof = theory.find("link") if theory else None, fit.roofline.find("link")
    top = max([*seen["bus"], *(r.rate for r in (claim, roof) if r)])
    fig.update_xaxes(style.size_axis("Array size", seen["size"].min() / 2, seen["size"].max() * 2))
    fig.update_yaxes(
        style.log_axis("Bus bandwidth (B/s)", max(min(seen["bus"].min(), top / 10) / 2, top / 1e6), top * 2.5)
    )
    if roof:
        beside = claim.rate if claim else 0.0
        level(fig, roof.rate, f"link, measured {units.bandwidth(roof.rate)}", style.MEMORY, claim=beside)
    if claim:
        level(fig, claim.rate, f"datasheet, one direction {units.bandwidth(claim.rate)}", style.THEORY, "dash", "left")
    for index, (name, part) in enumerate(_by_algorithm(seen)):
        if fitted := line(list(zip(part["size"], part["seconds"], strict=True))):
            ranks = part["ranks"].iloc[0]
            fig.add_trace(
                style.scatter(
                    x=part["size"],
                    y=[bus_bandwidth(size, ranks, fitted.seconds(size)) for size in part["size"]],
                    mode="lines",
                    line={"color": style.SERIES[index], "width": 1, "dash": "dot"},
                    name=f"{style.safe(name)}: α + size / β",
                    hoverinfo="skip",
                )
            )
        fig.add_trace(
            style.line(
                style.safe(name),
                part["size"],
                part["bus"],
                style.SERIES[index],
                hovers(part),
                marker={
                    "symbol": [style.symbol(style.MARKERS[index], v) for v in part["validity"]],
                    "size": 7,
                    "color": style.SERIES[index],
                },
                line={"color": style.SERIES[index], "width": 1.6, "dash": style.DASHES[index]},
            )
        )
    return fig.made()


def latency(rows: pd.DataFrame) -> go.Figure | None:
    """Time of small all-reduces: median, 99th percentile where there are samples for it, and the slowest."""
    seen = frame.sound(rows, "allreduce")
    seen = seen.assign(size=frame.param(seen, "bytes"))
    seen = seen[[len(samples) >= TAIL for samples in seen["samples"]]] if len(seen) else seen
    if seen.empty:
        return None
    fig = style.figure(360)
    everything = [second for samples in seen["samples"] for second in samples]
    fig.update_xaxes(style.size_axis("Array size", seen["size"].min() / 2, seen["size"].max() * 2))
    fig.update_yaxes(
        style.log_axis(
            "Time per all-reduce", min(everything) / 1.5, max(everything) * 1.5, lambda v: units.seconds(v, 1)
        )
    )
    for index, (name, part) in enumerate(_by_algorithm(seen)):
        quantiles = (
            ("p50", lambda s: stats.quantile(s, 0.5)),
            ("p99", lambda s: stats.quantile(s, 0.99)),
            ("max", max),
        )
        for which, (word, of) in enumerate(quantiles):
            values = [of(samples) for samples in part["samples"]]
            hover = [
                f"<b>{style.safe(name)} {word}</b> {units.size(size)}<br>{units.seconds(value)}, {len(samples)} samples"
                for size, value, samples in zip(part["size"], values, part["samples"], strict=True)
            ]
            fig.add_trace(
                style.line(
                    style.safe(f"{name} {word}"),
                    part["size"],
                    values,
                    style.SERIES[index],
                    hover,
                    opacity=1 - 0.25 * which,
                    marker={"symbol": style.MARKERS[which], "size": 6, "color": style.SERIES[index]},
                    line={"color": style.SERIES[index], "width": 1.4, "dash": style.DASHES[which]},
                )
            )
    return fig.made()
