"""Arithmetic: every unit's loops and libraries beside the claim, the ladder, and a weight matrix over its batch."""

from collections.abc import Iterator, Sequence

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit, Knee
from bench.report import frame, names
from bench.report.figures import style
from bench.report.figures.sweeps import hovers
from bench.report.knee import GemmKnee
from bench.report.selections import climbed, cubes, side_loops
from bench.report.words import spread
from bench.roofline import Roof, Roofline

# A quoted cube -> its marker.
_CUBES = {"cube-4096": "triangle-up-open", "cube-8192": "star-open", "cube-16384": "pentagon-open"}


def peak(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> go.Figure | None:
    """One row per unit and dtype: the loop, the best GEMM and the datasheet, with intervals; open: what claims none."""
    roofs = sorted((roof for roof in fit.roofline.roofs if roof.is_compute), key=lambda roof: roof.rate)
    if not roofs:
        return None
    quantities = list(dict.fromkeys(names.quantity(roof.key) for roof in roofs))
    claims = [(roof, theory.find(roof.quantity)) for roof in roofs] if theory else []
    rates = [roof.rate for roof in roofs] + [claim.rate for _, claim in claims if claim]
    fig = style.figure(110 + 30 * len(quantities), margin={"l": 60, "r": 16, "t": 20, "b": 48})
    fig.update_xaxes(style.log_axis("FLOP/s (OP/s for integers)", min(rates) / 1.6, max(rates) * 1.6))
    fig.update_yaxes(style.axis("", type="category", categoryorder="array", categoryarray=quantities, automargin=True))
    if any(claim for _, claim in claims):
        have = {names.quantity(roof.key): claim for roof, claim in claims if claim}
        fig.add_trace(
            style.scatter(
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
                f"<b>{names.roof(roof.key)}</b>{_which(fit, roof)}<br>{units.rate_text(roof.rate, roof.key)}<br>"
                f"{roof.estimate.kind}: {span}{share}"
            )
        symbols = [style.symbol(marker, fit.roofs[roof.key].winner.validity) for roof in part]
        fig.add_trace(
            style.scatter(
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
    for trace in (*_lasting(fit), *_quoted(rows, quantities), *_side(rows, quantities)):
        fig.add_trace(trace)
    return fig.made()


def _which(fit: Fit, roof: Roof) -> str:
    params = fit.roofs[roof.key].winner.params
    return "".join(
        f", {style.safe(names.shape(str(params[name])))}" for name in ("shape", "instruction") if name in params
    )


def _marks(name: str, symbol: str, colour: str, places: Sequence[tuple[float, str, str]], size: int = 8) -> dict:
    """Markers of (rate, row, hover)."""
    return style.scatter(
        x=[rate for rate, _, _ in places],
        y=[row for _, row, _ in places],
        mode="markers",
        name=name,
        marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.3}},
        customdata=[hover for _, _, hover in places],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _lasting(fit: Fit) -> Iterator[dict]:
    roofs = [roof for roof in (fit.sustained.roofline.roofs if fit.sustained else ()) if roof.is_compute]
    places = [
        (
            roof.rate,
            names.quantity(roof.key),
            f"<b>{names.roof(roof.key)}, sustained</b><br>{units.rate_text(roof.rate, roof.key)}",
        )
        for roof in roofs
    ]
    if places:
        yield _marks("sustained", "diamond-tall-open", style.INK, places, 10)


def _quoted(rows: pd.DataFrame, quantities: Sequence[str]) -> Iterator[dict]:
    """The cubes that everyone quotes, where they are not what the library's square stands on."""
    groups: dict[str, list] = {}
    for row in cubes(rows):
        place = names.quantity(row.work.compute)
        if not row.saturates and place in quantities:
            text = f"<b>{place}, {names.shape(row.params['shape'])}</b><br>"
            text += f"{units.rate_text(row.flop_rate, f'{row.work.compute}.x')}, n = {row.n}"
            groups.setdefault(row.params["shape"], []).append((row.flop_rate, place, text))
    for shape, places in groups.items():
        yield _marks(f"GEMM {names.shape(shape)}", _CUBES[shape], style.SERIES[3], places)


def _side(rows: pd.DataFrame, quantities: Sequence[str]) -> Iterator[dict]:
    places = []
    for row in side_loops(rows):
        place = names.quantity(row.work.compute)
        if place in quantities:
            text = f"<b>{style.safe(row.params.get('instruction'))}</b>, not the full-rate path: claims no roof<br>"
            places.append((row.flop_rate, place, text + units.rate_text(row.flop_rate, f"{row.work.compute}.x")))
    if places:
        yield _marks("loop of a lesser instruction", "x-thin-open", style.SERIES[0], places)


def ladder(rows: pd.DataFrame, fit: Fit) -> go.Figure | None:
    """The FMA ladder per dtype with the asymptotes fitted to it and its knee, beside the ridge from separate roofs."""
    seen = frame.sound(rows, "intensity")
    seen = seen[seen["intensity"] > 0].sort_values("intensity")
    if seen.empty:
        return None
    seen = seen.assign(dtype=[climbed(params) for params in seen["params"]])
    low, high = seen["intensity"].min() / 1.5, seen["intensity"].max() * 1.5
    fig = style.figure(400)
    fig.update_xaxes(style.log_axis("Arithmetic intensity (FLOP/B)", low, high, style.plain))
    fig.update_yaxes(style.log_axis("Performance (FLOP/s)", seen["flop_rate"].min() / 2, seen["flop_rate"].max() * 2.5))
    dtypes = sorted(dict.fromkeys(seen["dtype"]), key=lambda dtype: dtype != "float32")
    for index, dtype in enumerate(dtypes):
        part, colour, marker = seen[seen["dtype"] == dtype], style.SERIES[index], style.MARKERS[index]
        if dtype in fit.knees:
            _knee(fig, fit.knees[dtype], low, high, colour, style.DASHES[index], names.dtype(dtype))
        fig.add_trace(
            style.line(
                f"{names.dtype(dtype)} ladder",
                part["intensity"],
                part["flop_rate"],
                colour,
                hovers(part),
                mode="markers",
                marker={
                    "symbol": [style.symbol(marker, validity) for validity in part["validity"]],
                    "size": 8,
                    "color": colour,
                },
            )
        )
    ridges = [
        (ridge.estimate, fit.roofs[ridge.compute].roof)
        for ridge in fit.ridges
        if ridge.compute in {f"vector.{dtype}.loop" for dtype in dtypes} and low < ridge.estimate.value < high
    ]
    if ridges:
        fig.add_trace(
            style.scatter(
                x=[value.value for value, _ in ridges],
                y=[roof.rate for _, roof in ridges],
                mode="markers",
                name="ridge: loop / DRAM",
                error_x=style.error(*zip(*((v.value, v.low, v.high) for v, _ in ridges), strict=True), style.INK),
                marker={"symbol": "diamond-open", "size": 11, "color": style.INK, "line": {"width": 1.5}},
                customdata=[
                    f"{names.roof(roof.key)} over DRAM: {units.intensity(value.value)}" for value, roof in ridges
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    return fig.made()


def _knee(fig: style.Drawing, knee: Knee, low: float, high: float, colour: str, dash: str, name: str) -> None:
    """Two asymptotes, the interval of where they cross, and its number."""
    x = knee.intensity.value
    fig.add_trace(
        style.scatter(
            x=[low, x, high],
            y=[knee.memory * low, knee.compute, knee.compute],
            mode="lines",
            name=f"{name} asymptotes",
            showlegend=False,
            line={"color": colour, "width": 1.2, "dash": dash},
            hoverinfo="skip",
        )
    )
    fig.add_vrect(x0=knee.intensity.low, x1=knee.intensity.high, fillcolor=colour, opacity=0.15, line={"width": 0})
    text = f"<b>{name} knee {units.intensity(x)}</b><br>{spread(knee.intensity, units.digits)}"
    fig.add_annotation(
        style.note(
            text,
            style.log(x),
            style.log(knee.compute),
            xanchor="right",
            xshift=-8,
            yshift=-6,
            align="right",
            name="knee",
            font={"size": 12, "color": colour},
        )
    )


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
    return fig.made()
