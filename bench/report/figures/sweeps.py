"""A figure per probe: its rate over the size that it sweeps, with the roofs that it meets drawn in."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import pandas as pd
import plotly.graph_objects as go

from bench import stats, units
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.figures import style
from bench.report.figures.roofline import point_text
from bench.report.knee import GemmKnee
from bench.roofline import Roofline

# A tail quantile needs this many samples before it means anything.
TAIL = 100


def _hover(rows: pd.DataFrame) -> list[str]:
    return [point_text(row) for row in rows.itertuples()]


def _level(fig: go.Figure, y: float, text: str, colour: str, dash: str = "solid", side: str = "right") -> None:
    """A horizontal line with its name on it."""
    fig.add_hline(y=y, line={"color": colour, "width": 1.6, "dash": dash}, layer="below")
    logarithmic = fig.layout.yaxis.type == "log"
    x, anchor = (1, "right") if side == "right" else (0.01, "left")
    place = style.log(y) if logarithmic else y
    fig.add_annotation(style.note(text, x, place, xref="paper", xanchor=anchor, font={"size": 12, "color": colour}, name="level label"))


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
    fig.update_yaxes(style.log_axis("Bandwidth (B/s)", max(min(rates) / 2, max(rates) / 1e5), top))
    for roof in roofs:
        _level(fig, roof.rate, f"{names.channel(roof.key)} {units.bandwidth(roof.rate)}", style.MEMORY)
    if claim:
        _level(fig, claim.rate, f"datasheet {units.bandwidth(claim.rate)}", style.THEORY, "dash", "left")
    for cache in fit.info.caches:
        fig.add_vline(x=cache.bytes, line={"color": style.GRID, "width": 1.5, "dash": "dot"})
        fig.add_annotation(
            style.note(
                f"{names.channel(cache.name)} {units.size(cache.bytes)}", style.log(cache.bytes), 0.0, yref="paper", xanchor="right", textangle=-90,
                font={"size": 12, "color": style.MUTED}, name="cache",
            )
        )  # fmt: skip
    groups = [
        (f"{cache} {mix}{', plain stores' if store == 'plain' and cache == 'cold' else ''}", part.sort_values("size"))
        for (cache, mix, store), part in seen.assign(
            mix=frame.param(seen, "mix"), store=[store or "" for store in frame.param(seen, "store")]
        ).groupby(["cache", "mix", "store"], sort=False)
    ]
    for index, (name, part) in enumerate(groups):
        colour, marker = style.SERIES[index % len(style.SERIES)], style.MARKERS[index % len(style.MARKERS)]
        symbols = [style.symbol(marker, validity) for validity in part["validity"]]
        fig.add_trace(
            style.line(
                style.safe(name), part["size"], part["byte_rate"], colour, _hover(part), mode="lines+markers" if len(part) > 2 else "markers",
                marker={"symbol": symbols, "size": 7, "color": colour},
                line={"color": colour, "width": 1.6, "dash": "dot" if name.startswith("hot") else "solid"},
            )
        )  # fmt: skip
    return fig


def peak(fit: Fit, theory: Roofline | None) -> go.Figure | None:
    """One row per unit and dtype: the loop, the best GEMM and the datasheet, with intervals."""
    roofs = sorted((roof for roof in fit.roofline.roofs if roof.is_compute), key=lambda roof: roof.rate)
    if not roofs:
        return None
    rows = list(dict.fromkeys(names.quantity(roof.key) for roof in roofs))
    claims = [(roof, theory.find(roof.quantity)) for roof in roofs] if theory else []
    rates = [roof.rate for roof in roofs] + [claim.rate for _, claim in claims if claim]
    fig = style.figure(110 + 30 * len(rows), margin={"l": 150, "r": 16, "t": 20, "b": 48})
    fig.update_xaxes(style.log_axis("FLOP/s (OP/s for integers)", min(rates) / 1.6, max(rates) * 1.6))
    fig.update_yaxes(style.axis("", type="category", categoryorder="array", categoryarray=rows, gridcolor=style.GRID))
    if any(claim for _, claim in claims):
        have = {names.quantity(roof.key): claim for roof, claim in claims if claim}
        fig.add_trace(
            go.Scatter(
                x=[claim.rate for claim in have.values()], y=list(have), mode="markers", name="datasheet",
                marker={"symbol": "line-ns-open", "size": 20, "color": style.THEORY, "line": {"width": 2}},
                customdata=[f"<b>{q}</b>, datasheet<br>{units.rate_text(claim.rate, claim.key, 4)}" for q, claim in have.items()],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
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
            hover.append(f"<b>{names.roof(roof.key)}</b><br>{units.rate_text(roof.rate, roof.key)}<br>{roof.estimate.kind}: {span}{share}")
        symbols = [style.symbol(marker, fit.roofs[roof.key].winner.validity) for roof in part]
        fig.add_trace(
            go.Scatter(
                x=values, y=[names.quantity(roof.key) for roof in part], mode="markers", name=names.METHODS[method],
                error_x=style.error(values, [roof.low for roof in part], [roof.high for roof in part], colour),
                marker={"symbol": symbols, "size": 9, "color": colour}, customdata=hover, hovertemplate="%{customdata}<extra></extra>",
            )
        )  # fmt: skip
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
            go.Scatter(x=corner[0], y=corner[1], mode="lines", name="asymptotes", line={"color": style.COMPUTE, "width": 1.2}, hoverinfo="skip")
        )
        fig.add_vrect(x0=knee.intensity.low, x1=knee.intensity.high, fillcolor=style.INK, opacity=0.12, line_width=0)
        span = units.between(knee.intensity.low, knee.intensity.high, units.digits)
        text = f"knee {units.intensity(x)}<br>{knee.intensity.kind} {span}"
        fig.add_annotation(
            style.note(text, style.log(x), style.log(knee.compute / 30), xanchor="left", xshift=8, yanchor="top", align="left", name="knee")
        )
    ridge = next((ridge for ridge in fit.ridges if ridge.compute == "vector.float32.loop"), None)
    if ridge and low < ridge.estimate.value < high:
        value = ridge.estimate
        fig.add_trace(
            go.Scatter(
                x=[value.value], y=[fit.roofs[ridge.compute].roof.rate], mode="markers", name="ridge: FP32 loop / DRAM",
                error_x=style.error([value.value], [value.low], [value.high], style.INK),
                marker={"symbol": "diamond", "size": 10, "color": style.INK},
                hovertemplate=f"peak over bandwidth: {units.intensity(value.value)}<extra></extra>",
            )
        )  # fmt: skip
    symbols = [style.symbol("circle", validity) for validity in seen["validity"]]
    fig.add_trace(
        style.line(
            "ladder", seen["intensity"], seen["flop_rate"], style.SERIES[0], _hover(seen), mode="markers",
            marker={"symbol": symbols, "size": 8, "color": style.SERIES[0]},
        )
    )  # fmt: skip
    return fig


def gemm(rows: pd.DataFrame, knees: Sequence[GemmKnee]) -> go.Figure | None:
    """FLOP/s over the batch, a line per dtype and weight matrix; dotted: where the fitted roofs meet."""
    seen = frame.sound(rows, "gemm")
    seen = seen[[not params.get("strided") for params in seen["params"]]] if len(seen) else seen
    if seen.empty:
        return None
    seen = seen.assign(batch=frame.param(seen, "batch"), dtype=frame.param(seen, "dtype"), n_=frame.param(seen, "n"), k_=frame.param(seen, "k"))
    fig = style.figure(440)
    fig.update_xaxes(style.log_axis("Batch (rows against one weight matrix)", seen["batch"].min() / 1.3, seen["batch"].max() * 1.3, style.plain, 4))
    fig.update_yaxes(style.log_axis("Performance (FLOP/s; OP/s for integers)", seen["flop_rate"].min() / 2, seen["flop_rate"].max() * 2))
    weights = list(dict.fromkeys(zip(seen["n_"], seen["k_"], strict=True)))
    dtypes = list(dict.fromkeys(seen["dtype"]))
    for (dtype, n, k), part in seen.groupby(["dtype", "n_", "k_"], sort=False):
        colour = style.SERIES[dtypes.index(dtype) % len(style.SERIES)]
        marker = style.MARKERS[dtypes.index(dtype) % len(style.MARKERS)]
        part = part.sort_values("batch")
        fig.add_trace(
            style.line(
                style.safe(f"{names.dtype(str(dtype))} {n}×{k}"), part["batch"], part["flop_rate"], colour, _hover(part),
                marker={"symbol": [style.symbol(marker, validity) for validity in part["validity"]], "size": 6, "color": colour},
                line={"color": colour, "width": 1.6, "dash": style.DASHES[weights.index((n, k)) % len(style.DASHES)]},
            )
        )  # fmt: skip
    lead = next(iter(knees), None)
    if lead and lead.predicted:
        fig.add_vline(x=lead.predicted, line={"color": style.INK, "width": 1.2, "dash": "dot"})
        text = f"{names.dtype(lead.dtype)} by the roofs: batch {units.digits(lead.predicted)}"
        fig.add_annotation(style.note(text, style.log(lead.predicted), 0.02, yref="paper", xanchor="left", xshift=6, name="knee"))
    return fig


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
    fig.update_xaxes(style.log_axis("Keys and values in the cache" if memory else "Prompt length", seen["length"].min() / 1.2, seen["length"].max() * 1.2, style.plain, 2))
    fig.update_yaxes(style.axis(f"Percent of measured {what}", range=[0, 100 * top], ticksuffix=" %"))
    _level(fig, 100, f"measured {what}", style.MEMORY if memory else style.COMPUTE)
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
                style.safe(name), part["length"], 100 * part["part"], colour, _hover(part),
                marker={"symbol": [style.symbol(marker, validity) for validity in part["validity"]], "size": 7, "color": colour},
                line={"color": colour, "width": 1.6, "dash": style.DASHES[index % len(style.DASHES)]},
            )
        )  # fmt: skip
    return fig


def bus_bandwidth(size: float, ranks: int, seconds: float) -> float:
    """B/s by NCCL-tests' convention, the same for every algorithm: 2 (n-1)/n * size / time."""
    return 2 * (ranks - 1) / ranks * size / seconds


def _by_algorithm(seen: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    ordered = seen.assign(algorithm=[str(name) for name in frame.param(seen, "algorithm")]).sort_values(["algorithm", "size"])
    for name, members in groupby(ordered.itertuples(), key=lambda row: row.algorithm):
        yield name, ordered.loc[[row.Index for row in members]]


def allreduce(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> go.Figure | None:
    """Bus bandwidth over the size of the array, a line per algorithm."""
    seen = frame.sound(rows, "allreduce")
    seen = seen.assign(size=frame.param(seen, "bytes"), ranks=frame.param(seen, "ranks"))
    seen = seen[seen["size"].notna() & (seen["ranks"] > 1)] if len(seen) else seen
    if seen.empty:
        return None
    seen = seen.assign(bus=[bus_bandwidth(row.size, row.ranks, row.seconds) for row in seen.itertuples()])
    fig = style.figure(400)
    claim, roof = theory.find("link") if theory else None, fit.roofline.find("link")
    top = max([*seen["bus"], *(r.rate for r in (claim, roof) if r)])
    fig.update_xaxes(style.size_axis("Array size", seen["size"].min() / 2, seen["size"].max() * 2))
    fig.update_yaxes(style.log_axis("Bus bandwidth (B/s)", max(seen["bus"].min() / 2, top / 1e6), top * 2.5))
    if roof:
        _level(fig, roof.rate, f"link, measured {units.bandwidth(roof.rate)}", style.MEMORY)
    if claim:
        _level(fig, claim.rate, f"datasheet, one direction {units.bandwidth(claim.rate)}", style.THEORY, "dash", "left")
    for index, (name, part) in enumerate(_by_algorithm(seen)):
        fig.add_trace(style.line(
            style.safe(name), part["size"], part["bus"], style.SERIES[index], _hover(part),
            marker={"symbol": [style.symbol(style.MARKERS[index], v) for v in part["validity"]], "size": 7, "color": style.SERIES[index]},
            line={"color": style.SERIES[index], "width": 1.6, "dash": style.DASHES[index]},
        ))  # fmt: skip
    return fig


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
    fig.update_yaxes(style.log_axis("Time per all-reduce", min(everything) / 1.5, max(everything) * 1.5, lambda v: units.seconds(v, 1)))
    for index, (name, part) in enumerate(_by_algorithm(seen)):
        quantiles = (("p50", lambda s: stats.quantile(s, 0.5)), ("p99", lambda s: stats.quantile(s, 0.99)), ("max", max))
        for which, (word, of) in enumerate(quantiles):
            values = [of(samples) for samples in part["samples"]]
            hover = [
                f"<b>{style.safe(name)} {word}</b> {units.size(size)}<br>{units.seconds(value)}, {len(samples)} samples"
                for size, value, samples in zip(part["size"], values, part["samples"], strict=True)
            ]
            fig.add_trace(style.line(
                style.safe(f"{name} {word}"), part["size"], values, style.SERIES[index], hover, opacity=1 - 0.25 * which,
                marker={"symbol": style.MARKERS[which], "size": 6, "color": style.SERIES[index]},
                line={"color": style.SERIES[index], "width": 1.4, "dash": style.DASHES[which]},
            ))  # fmt: skip
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
        fig.update_xaxes(style.log_axis(style.safe(numeric[-1]) if numeric else "case", min(xs) / 1.2, max(xs) * 1.2, style.plain, 10))
    else:
        fig.update_xaxes(style.axis(style.safe(numeric[-1]) if numeric else "case, in order"))
    fig.update_yaxes(style.log_axis(title, seen[rates].min() / 2, seen[rates].max() * 2, label))
    symbols = [style.symbol("circle", validity) for validity in seen["validity"]]
    fig.add_trace(style.line(style.safe(probe), seen["x"], seen[rates], style.SERIES[0], _hover(seen), mode="markers", marker={"symbol": symbols, "size": 8, "color": style.SERIES[0]}))
    return fig


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
