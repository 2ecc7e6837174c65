"""A figure per probe: its rate over the size that it sweeps, with the roofs that it meets drawn in."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.figures import style
from bench.report.figures.points import point_text
from bench.report.knee import GemmKnee
from bench.report.words import spread
from bench.roofline import Roofline


def hovers(rows: pd.DataFrame) -> list[str]:
    return [point_text(row) for row in rows.itertuples()]


def level(
    fig: go.Figure, y: float, text: str, colour: str, dash: str = "solid", side: str = "right", claim: float = 0.0
) -> None:
    """A horizontal line with its name on it, or above the claim that runs just above it."""
    fig.add_hline(y=y, line={"color": colour, "width": 1.6, "dash": dash}, layer="below")
    logarithmic = fig.layout.yaxis.type == "log"
    x, anchor = (1, "right") if side == "right" else (0.01, "left")
    y = max(y, claim) if claim < 1.5 * y else y
    place = style.log(y) if logarithmic else y
    fig.add_annotation(
        style.note(text, x, place, xref="paper", xanchor=anchor, font={"size": 12, "color": colour}, name="level label")
    )


def bandwidth(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> go.Figure | None:
    """Bytes per second over the working set: one plateau per cache level, and the DRAM roof."""
    seen = frame.sound(rows, "bandwidth")
    seen = seen[seen["byte_rate"].notna()].assign(size=lambda part: frame.param(part, "bytes"))
    seen = seen[seen["size"].notna()]
    if seen.empty:
        return None
    roofs = [roof for roof in fit.roofline.roofs if not roof.is_compute and roof.key != "link"]
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
        fig.add_vline(x=cache.bytes, line={"color": style.GRID, "width": 1.5, "dash": "dot"})
        fig.add_annotation(
            style.note(
                f"{names.channel(cache.name)} {units.size(cache.bytes)}",
                style.log(cache.bytes),
                0.0,
                yref="paper",
                xanchor="right",
                textangle=-90,
                font={"size": 12, "color": style.MUTED},
                name="cache",
            )
        )
    groups = [
        (f"{cache} {mix}{', plain stores' if store == 'plain' and cache == 'cold' else ''}", part.sort_values("size"))
        for (cache, mix, store), part in seen.assign(
            mix=frame.param(seen, "mix"), store=[store or "" for store in frame.param(seen, "store")]
        ).groupby(["cache", "mix", "store"], sort=False)
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
    return fig


def peak(fit: Fit, theory: Roofline | None) -> go.Figure | None:
    """One row per unit and dtype: the loop, the best GEMM and the datasheet, with intervals."""
    roofs = sorted((roof for roof in fit.roofline.roofs if roof.is_compute), key=lambda roof: roof.rate)
    if not roofs:
        return None
    rows = list(dict.fromkeys(names.quantity(roof.key) for roof in roofs))
    claims = [(roof, theory.find(roof.quantity)) for roof in roofs] if theory else []
    rates = [roof.rate for roof in roofs] + [claim.rate for _, claim in claims if claim]
    fig = style.figure(110 + 30 * len(rows), margin={"l": 60, "r": 16, "t": 20, "b": 48})
    fig.update_xaxes(style.log_axis("FLOP/s (OP/s for integers)", min(rates) / 1.6, max(rates) * 1.6))
    fig.update_yaxes(style.axis("", type="category", categoryorder="array", categoryarray=rows, automargin=True))
    if any(claim for _, claim in claims):
        have = {names.quantity(roof.key): claim for roof, claim in claims if claim}
        fig.add_trace(
            go.Scatter(
                x=[claim.rate for claim in have.values()],
                y=list(have),
                mode="markers",
                name=names.claim(next(iter(have.values())).evidence),
                marker={"symbol": "line-ns-open", "size": 20, "color": style.THEORY, "line": {"width": 2}},
                customdata=[
                    f"<b>{q}</b>, {names.claim(claim.evidence)}<br>{units.rate_text(claim.rate, claim.key, 4)}"
                    for q, claim in have.items()
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    for method, marker, colour in (("loop", "circle", style.SERIES[0]), ("library", "square", style.SERIES[1])):
        part = [roof for roof in roofs if roof.method == method]
        if not part:
            continue
        values = [roof.rate for roof in part]
        hover = []
        for roof in part:
            claim = theory.find(roof.quantity) if theory else None
            share = f"<br>{units.percent(roof.rate / claim.rate)} of theory" if claim else "<br>no theory for it"
            span = units.between(roof.low, roof.high, lambda v, key=roof.key: units.rate_text(v, key))
            hover.append(
                f"<b>{names.roof(roof.key)}</b><br>{units.rate_text(roof.rate, roof.key)}<br>{roof.estimate.kind}:"
                f" {span}{share}"
            )
        symbols = [style.symbol(marker, fit.roofs[roof.key].winner.validity) for roof in part]
        fig.add_trace(
            go.Scatter(
                x=values,
                y=[names.quantity(roof.key) for roof in part],
                mode="markers",
                name=names.METHODS[method],
                error_x=style.error(values, [roof.low for roof in part], [roof.high for roof in part], colour),
                marker={"symbol": symbols, "size": 9, "color": colour},
                customdata=hover,
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    return fig


def ladder(rows: pd.DataFrame, fit: Fit) -> go.Figure | None:
    """The FMA ladder with the two asymptotes fitted to it and its knee, beside the ridge from the separate roofs."""
    seen = frame.sound(rows, "intensity")
    seen = seen[seen["intensity"] > 0].sort_values("intensity")
    if seen.empty:
        return None
    low, high = seen["intensity"].min() / 1.5, seen["intensity"].max() * 1.5
    fig = style.figure(400)
    fig.update_xaxes(style.log_axis("Arithmetic intensity (FLOP/B)", low, high, style.plain))
    fig.update_yaxes(style.log_axis("Performance (FLOP/s)", seen["flop_rate"].min() / 2, seen["flop_rate"].max() * 2.5))
    knee = fit.knee
    if knee:
        x = knee.intensity.value
        corner = [low, x, high], [knee.memory * low, knee.compute, knee.compute]
        fig.add_trace(
            go.Scatter(
                x=corner[0],
                y=corner[1],
                mode="lines",
                name="asymptotes",
                line={"color": style.COMPUTE, "width": 1.2},
                hoverinfo="skip",
            )
        )
        fig.add_vrect(x0=knee.intensity.low, x1=knee.intensity.high, fillcolor=style.INK, opacity=0.12, line_width=0)
        text = f"<b>knee {units.intensity(x)}</b><br>{spread(knee.intensity, units.digits)}"
        fig.add_annotation(
            style.note(
                text, style.log(x), style.log(knee.compute), xanchor="right", xshift=-10, align="right", name="knee"
            )
        )
    ridge = next((ridge for ridge in fit.ridges if ridge.compute == "vector.float32.loop"), None)
    if ridge and low < ridge.estimate.value < high:
        value = ridge.estimate
        fig.add_trace(
            go.Scatter(
                x=[value.value],
                y=[fit.roofs[ridge.compute].roof.rate],
                mode="markers",
                name="ridge: FP32 loop / DRAM",
                error_x=style.error([value.value], [value.low], [value.high], style.INK),
                marker={"symbol": "diamond", "size": 10, "color": style.INK},
                hovertemplate=f"peak over bandwidth: {units.intensity(value.value)}<extra></extra>",
            )
        )
    symbols = [style.symbol("circle", validity) for validity in seen["validity"]]
    fig.add_trace(
        style.line(
            "ladder",
            seen["intensity"],
            seen["flop_rate"],
            style.SERIES[0],
            hovers(seen),
            mode="markers",
            marker={"symbol": symbols, "size": 8, "color": style.SERIES[0]},
        )
    )
    return fig


def gemm(rows: pd.DataFrame, knees: Sequence[GemmKnee]) -> go.Figure | None:
    """FLOP/s over the batch, a line per dtype and weight matrix; dotted: where the fitted roofs meet."""
    seen = frame.sound(rows, "gemm")
    seen = seen[[not params.get("strided") for params in seen["params"]]] if len(seen) else seen
    if seen.empty:
        return None
    seen = seen.assign(
        batch=frame.param(seen, "batch"),
        dtype=frame.param(seen, "dtype"),
        n_=frame.param(seen, "n"),
        k_=frame.param(seen, "k"),
    )
    fig = style.figure(440)
    fig.update_xaxes(
        style.log_axis(
            "Batch (rows against one weight matrix)",
            seen["batch"].min() / 1.3,
            seen["batch"].max() * 1.3,
            style.plain,
            4,
        )
    )
    fig.update_yaxes(
        style.log_axis(
            "Performance (FLOP/s; OP/s for integers)", seen["flop_rate"].min() / 2, seen["flop_rate"].max() * 2
        )
    )
    weights = list(dict.fromkeys(zip(seen["n_"], seen["k_"], strict=True)))
    dtypes = list(dict.fromkeys(seen["dtype"]))
    for (dtype, n, k), part in seen.groupby(["dtype", "n_", "k_"], sort=False):
        colour = style.SERIES[dtypes.index(dtype) % len(style.SERIES)]
        marker = style.MARKERS[dtypes.index(dtype) % len(style.MARKERS)]
        part = part.sort_values("batch")
        fig.add_trace(
            style.line(
                style.safe(f"{names.dtype(str(dtype))} {n}×{k}"),
                part["batch"],
                part["flop_rate"],
                colour,
                hovers(part),
                marker={
                    "symbol": [style.symbol(marker, validity) for validity in part["validity"]],
                    "size": 6,
                    "color": colour,
                },
                line={"color": colour, "width": 1.6, "dash": style.DASHES[weights.index((n, k)) % len(style.DASHES)]},
            )
        )
    lead = next(iter(knees), None)
    if lead and lead.predicted:
        fig.add_vline(x=lead.predicted, line={"color": style.INK, "width": 1.2, "dash": "dot"})
        text = f"{names.dtype(lead.dtype)} knee {units.digits(lead.predicted)}"
        fig.add_annotation(
            style.note(text, style.log(lead.predicted), 0.02, yref="paper", xanchor="left", xshift=6, name="knee")
        )
    return fig


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
    return fig


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
