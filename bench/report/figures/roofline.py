"""The roofline: what this machine allows at every intensity, what it did, and what its datasheet claims."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame as frames
from bench.report import names
from bench.report.figures import style
from bench.roofline import Roof, Roofline

# A GEMV in INT8 has 2 FLOP/B, STREAM's add 1/12: the frame starts a little below that on every machine.
_LEFT = 1 / 20
# Roofs nearer than this share a label and, but for the lowest and highest, tell the eye nothing apart.
_NEAR = 1.07
_STEPS = 24


@dataclass(frozen=True)
class Window:
    """The frame's edges (FLOP/B, FLOP/s), set by the machine's roofs and not by its points."""

    left: float
    right: float
    bottom: float
    top: float

    def holds(self, x: float, y: float) -> bool:
        return self.left <= x <= self.right and self.bottom <= y <= self.top


def window(fit: Fit, theory: Roofline | None) -> Window | None:
    """None without a memory roof and a compute roof, measured or claimed."""
    memory, compute = _roofs(fit.roofline)
    claimed_memory, claimed_compute = _roofs(theory) if theory else ((), ())
    slopes = [roof.rate for roof in (*memory, *claimed_memory)]
    peaks = [roof.rate for roof in (*compute, *claimed_compute)]
    slow = next((roof.rate for roof in (*memory, *claimed_memory) if roof.key == "dram"), min(slopes, default=0.0))
    if not slopes or not peaks:
        return None
    return Window(_LEFT, max(peaks) / slow * 25, slow * _LEFT / 4, max(peaks) * 2.4)


def roofline(fit: Fit, theory: Roofline | None, rows: pd.DataFrame, siblings: Sequence[Fit] = ()) -> go.Figure | None:
    frame = window(fit, theory)
    if frame is None:
        return None
    fig = style.figure(600, margin={"l": 56, "r": 12, "t": 20, "b": 48}, legend={"y": -0.12})
    fig.update_xaxes(style.log_axis("Arithmetic intensity (FLOP/B)", frame.left, frame.right, style.plain))
    fig.update_yaxes(style.log_axis("Performance (FLOP/s; OP/s for integers)", frame.bottom, frame.top))
    _zones(fig, fit, theory, frame)
    for other in siblings:
        fig.add_trace(_ghost(other, frame, other is siblings[0]))
    for trace in (*_measured(fit, theory, frame), *_claimed(fit, theory, frame), *_points(fit, rows, frame), *_flags(rows, frame)):
        fig.add_trace(trace)
    for trace in _ridges(fit, theory):
        fig.add_trace(trace)
    for label in (*_labels(fit, theory, frame), *_outside(rows, frame)):
        fig.add_annotation(label)
    return fig


def _roofs(roofline: Roofline) -> tuple[tuple[Roof, ...], tuple[Roof, ...]]:
    """The memory roofs under which arithmetic is drawn, slowest first, and the compute roofs."""
    memory = [roof for roof in roofline.roofs if not roof.is_compute and roof.key not in ("link", "h2d", "d2h")]
    return tuple(sorted(memory, key=lambda roof: roof.rate)), tuple(roof for roof in roofline.roofs if roof.is_compute)


def _grid(low: float, high: float) -> list[float]:
    return [low * (high / low) ** (k / _STEPS) for k in range(_STEPS + 1)] if high > low else []


def _extent(roof: Roof, memory: Sequence[Roof], compute: Sequence[Roof], frame: Window) -> tuple[float, float]:
    """Where a roof binds: a slope up to the highest compute roof, a plateau from the fastest memory roof on."""
    if roof.is_compute:
        fastest = max((m.rate for m in memory), default=0.0)
        return max(frame.left, roof.rate / fastest if fastest else frame.left), frame.right
    tallest = max((c.rate for c in compute), default=frame.top)
    return frame.left, min(frame.right, tallest / roof.rate)


def _curve(roof: Roof, xs: Sequence[float], rate: float | None = None) -> list[float]:
    rate = rate or roof.rate
    return [rate if roof.is_compute else rate * x for x in xs]


def weak(fit: Fit, key: str) -> str:
    """Why a roof is drawn as doubtful, or ""."""
    fitted = fit.roofs[key]
    if fitted.winner.validity != "valid":
        return fitted.winner.validity
    return "" if fitted.roof.n >= 3 else f"only {fitted.roof.n} repetition{'s' if fitted.roof.n > 1 else ''}"


def _leading(fit: Fit) -> set[str]:
    return {"dram", fit.info.headline}


def _measured(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[go.Scatter]:
    memory, compute = _roofs(fit.roofline)
    for roof in (*memory, *compute):
        xs = _grid(*_extent(roof, memory, compute, frame))
        colour = style.COMPUTE if roof.is_compute else style.MEMORY
        if roof.high > roof.low * 1.01:
            band = [*_curve(roof, xs, roof.low), *_curve(roof, xs, roof.high)[::-1]]
            yield go.Scatter(
                x=[*xs, *xs[::-1]], y=band, mode="lines", line={"width": 0}, fill="toself", fillcolor=colour, opacity=0.1,
                hoverinfo="skip", showlegend=False, meta="band",
            )  # fmt: skip
        doubt = weak(fit, roof.key)
        claim = theory.find(roof.key) or theory.find(roof.quantity) if theory else None
        hover = [
            f"<b>{names.roof(roof.key)}</b>",
            f"measured {units.rate_text(roof.rate, roof.key)}",
            f"{roof.estimate.kind}: {units.between(roof.low, roof.high, lambda v, key=roof.key: units.rate_text(v, key))}",
            f"{units.percent(roof.rate / claim.rate)} of theory" if claim else "no theory for it",
            style.safe(roof.evidence.split(";")[0]),
            *([f"doubtful: {style.safe(doubt)}"] if doubt else []),
        ]
        yield go.Scatter(
            x=xs, y=_curve(roof, xs), mode="lines", showlegend=False, name=names.roof(roof.key), meta=f"roof {roof.key}",
            line={"color": colour, "width": 3.5 if roof.key in _leading(fit) else 1.6, "dash": "dashdot" if doubt else "solid"},
            customdata=["<br>".join(hover)] * len(xs), hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    for name, dash, width in (("measured roof", "solid", 3), ("measured, doubtful", "dashdot", 2)):
        if any(bool(weak(fit, key)) == (dash == "dashdot") for key in fit.roofs):
            yield _key(name, {"color": style.COMPUTE, "width": width, "dash": dash})


def _claimed(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[go.Scatter]:
    """The datasheet's side of the same quantities, dashed and thin on top, so that equal lines show as both."""
    if theory is None:
        return
    memory, compute = _roofs(theory)
    yield _key("datasheet", {"color": style.THEORY, "width": 1.2, "dash": "dash"})
    slopes = memory or _roofs(fit.roofline)[0]
    for roof in (*memory, *compute):
        xs = _grid(*_extent(roof, slopes, compute, frame))
        text = f"<b>{names.quantity(roof.key)}</b>, datasheet<br>{units.rate_text(roof.rate, roof.key, 4)}<br>{style.safe(roof.evidence[:90])}"
        yield go.Scatter(
            x=xs, y=_curve(roof, xs), mode="lines", showlegend=False, line={"color": style.THEORY, "width": 1.2, "dash": "dash"},
            opacity=1 if roof.quantity in {name.rsplit(".", 1)[0] for name in _leading(fit)} or not roof.is_compute else 0.45,
            customdata=[text] * len(xs), hovertemplate="%{customdata}<extra></extra>", meta=f"theory {roof.key}",
        )  # fmt: skip


def _key(name: str, look: dict) -> go.Scatter:
    """A legend entry for a kind of line."""
    return go.Scatter(x=[None], y=[None], mode="lines", name=name, line=look)


def _ghost(fit: Fit, frame: Window, first: bool) -> go.Scatter:
    memory, compute = _roofs(fit.roofline)
    xs: list[float | None] = []
    ys: list[float | None] = []
    for roof in (*memory, *compute):
        if roof.key in _leading(fit):
            ends = _extent(roof, memory, compute, frame)
            xs, ys = [*xs, *ends, None], [*ys, *_curve(roof, ends), None]
    return go.Scatter(
        x=xs, y=ys, mode="lines", line={"color": style.MUTED, "width": 1}, opacity=0.5, hoverinfo="skip", name="sibling GPUs",
        legendgroup="siblings", showlegend=first, meta=f"sibling {style.safe(fit.info.id)}",
    )  # fmt: skip


def _zones(fig: go.Figure, fit: Fit, theory: Roofline | None, frame: Window) -> None:
    ridge = fit.headline.estimate.value if fit.headline else _claimed_ridge(fit, theory)
    if not ridge:
        return
    for x0, x1, colour, text in (
        (frame.left, ridge, style.MEMORY, "memory-bound"),
        (ridge, frame.right, style.COMPUTE, "compute-bound"),
    ):
        fig.add_shape(
            type="rect", x0=x0, x1=x1, y0=0, y1=1, yref="paper", line_width=0, fillcolor=colour, opacity=0.045, layer="below"
        )
        middle = math.sqrt(x0 * x1)
        fig.add_annotation(
            style.note(text, style.log(middle), 0.012, yref="paper", xanchor="center", font={"size": 12, "color": style.MUTED}, name="zone")
        )


def _claimed_ridge(fit: Fit, theory: Roofline | None) -> float | None:
    quantity = fit.info.headline.rsplit(".", 1)[0]
    return theory.ridge(quantity) if theory and quantity in theory and "dram" in theory else None


def _ridges(fit: Fit, theory: Roofline | None) -> Iterator[go.Scatter]:
    claimed = _claimed_ridge(fit, theory)
    if claimed and theory:
        yield go.Scatter(
            x=[claimed], y=[theory.roof(fit.info.headline.rsplit(".", 1)[0]).rate], mode="markers", name="ridge, datasheet",
            marker={"symbol": "diamond-open", "size": 15, "color": style.THEORY, "line": {"width": 1.5}},
            hovertemplate=f"ridge by the datasheet<br>{units.intensity(claimed)}<extra></extra>",
        )  # fmt: skip
    for ridge in fit.ridges:
        value, big = ridge.estimate, ridge.headline
        text = (
            f"<b>ridge</b> {names.roof(ridge.compute)} / {names.channel(ridge.memory)}<br>{units.intensity(value.value)}"
            f"<br>{value.kind}: {units.between(value.low, value.high, units.intensity)}"
        )
        yield go.Scatter(
            x=[value.value], y=[fit.roofs[ridge.compute].roof.rate], mode="markers", name="ridge, measured", showlegend=big,
            error_x=style.error([value.value], [value.low], [value.high], style.INK),
            marker={"symbol": "diamond", "size": 11 if big else 5, "color": style.INK},
            hovertemplate=f"{text}<extra></extra>", meta="ridge headline" if big else "ridge",
        )  # fmt: skip


def _points(fit: Fit, rows: pd.DataFrame, frame: Window) -> Iterator[go.Scatter]:
    seen = rows[rows["seconds"].notna() & (rows["intensity"] > 0)]
    lead = fit.info.headline.split(".")[1]
    for index, (name, part) in enumerate(_groups(seen)):
        joined = name.startswith("GEMM over batch")
        main = not joined or any(params.get("dtype") == lead for params in part["params"])
        symbols = [style.symbol(style.MARKERS[index % len(style.MARKERS)], validity) for validity in part["validity"]]
        # beyond the frame's right edge a loop that never touches memory is shown at the edge, pointing out of it
        beyond = part["intensity"] > frame.right
        xs = [frame.right * 0.93 if out else x for x, out in zip(part["intensity"], beyond, strict=True)]
        symbols = ["triangle-right" if out else mark for mark, out in zip(symbols, beyond, strict=True)]
        ys = list(part["flop_rate"])
        hovers = [point_text(row) for row in part.itertuples()]
        if joined:
            xs, ys, symbols, hovers = _paths(part, xs, ys, symbols, hovers)
        yield style.line(
            name, xs, ys, style.SERIES[index % len(style.SERIES)], hovers, mode="lines+markers" if joined else "markers",
            marker={"symbol": symbols, "size": 7 if main else 5, "color": style.SERIES[index % len(style.SERIES)], "opacity": 0.9},
            opacity=1 if main else 0.45, connectgaps=False, meta=f"points {name}", line={"color": style.SERIES[index % len(style.SERIES)], "width": 1.4},
        )  # fmt: skip


def _paths(part: pd.DataFrame, xs: list, ys: list, symbols: list, hovers: list) -> tuple[list, list, list, list]:
    """The points again with a gap wherever another weight matrix or dtype begins."""
    shapes = [tuple(params.get(k) for k in ("dtype", "n", "k", "strided")) for params in part["params"]]
    path: tuple[list, list, list, list] = ([], [], [], [])
    for position, shape in enumerate(shapes):
        points = [(xs[position], ys[position], symbols[position], hovers[position])]
        if position and shape != shapes[position - 1]:
            points.insert(0, (None, None, symbols[position], ""))
        for point in points:
            for column, value in zip(path, point, strict=True):
                column.append(value)
    return path


def _groups(seen: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Points by question, in words; a probe that is not known by name is a group of its own."""

    def group(row) -> str:
        params = row.params
        if row.probe == "gemm" and params.get("dtype"):
            return f"GEMM over batch, {names.dtype(params['dtype'])}"
        if row.probe == "attention" and params.get("phase"):
            return f"attention {params['phase']}"
        if row.probe == "peak":
            return "FMA loop" if params.get("kind") == "loop" else "square GEMM"
        return {"intensity": "FMA ladder", "bandwidth": "stream"}.get(row.probe, row.probe)

    labels = [style.safe(group(row)) for row in seen.itertuples()]
    return [(label, seen[[other == label for other in labels]]) for label in dict.fromkeys(labels)]


def point_text(row) -> str:
    """Value, unit, both percentages, limiter and clock of a case, for hovers."""
    key = row.work.compute
    lines = [f"<b>{style.safe(row.probe)}</b> {style.safe(row.case)}"]
    if frames.has(row.flop_rate):
        lines.append(f"{units.rate_text(row.flop_rate, f'{key}.x')} at {units.intensity(row.intensity)}")
    if frames.has(row.byte_rate):
        lines.append(f"{units.bandwidth(row.byte_rate)} over {names.channel(row.work.channel)}")
    lines.append(f"{units.seconds(row.seconds)} a launch, n = {row.n}")
    if frames.has(row.share):
        lines.append(f"{units.percent(row.share)} of measured roof, limited by {names.limiter(row.limiter)}")
    if frames.has(row.theory_share):
        lines.append(f"{units.percent(row.theory_share)} of theory")
    if frames.has(row.clock_hz):
        lines.append(f"clock {units.hertz(row.clock_hz)}")
    if row.above:
        lines.append("<b>above its roof: flagged</b>")
    if row.validity != "valid":
        lines.append(f"{row.validity}: {style.safe(row.causes[:80])}")
    return "<br>".join(lines)


def _flags(rows: pd.DataFrame, frame: Window) -> Iterator[go.Scatter]:
    above = rows[rows["above"].astype(bool) & (rows["intensity"] > 0)]
    if len(above):
        yield go.Scatter(
            x=above["intensity"].clip(upper=frame.right * 0.93), y=above["flop_rate"], mode="markers", name="above its roof", hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 14, "color": style.ALARM, "line": {"width": 1.5}}, meta="above",
        )  # fmt: skip


def _outside(rows: pd.DataFrame, frame: Window) -> Iterator[dict]:
    seen = rows[rows["seconds"].notna() & (rows["intensity"] > 0) & (rows["intensity"] <= frame.right)]
    out = sum(not frame.holds(x, y) for x, y in zip(seen["intensity"], seen["flop_rate"], strict=True))
    if out:
        text = f"{out} point{'s' if out > 1 else ''} below the frame: “Fit to data” shows them"
        yield style.note(text, 0.005, 0.055, xref="paper", yref="paper", font={"size": 12, "color": style.MUTED}, name="outside")


def _labels(fit: Fit, theory: Roofline | None, frame: Window) -> Iterator[dict]:
    """Roofs named where they are: plateaus at the right end, slopes along the line (report.js turns those)."""
    memory, compute = _roofs(fit.roofline)
    for cluster in _clusters(compute):
        # one of them states the number: the headline, or the highest, which the others stay below
        lead = next((roof for roof in cluster if roof.key in _leading(fit)), None)
        rate = (lead or cluster[-1]).rate
        ordered = sorted(cluster, key=lambda roof: roof is not lead)
        words = dict.fromkeys(names.quantity(roof.key).removesuffix(" vector").removesuffix(" tensor") for roof in ordered)
        kinds = " / ".join(dict.fromkeys(names.METHODS.get(roof.method, roof.method) for roof in ordered))
        text = f"{' · '.join(words)} {kinds} {'≤ ' if len(cluster) > 1 and not lead else ''}{units.rate_text(rate, ordered[0].key)}"
        yield style.note(
            f"<b>{text}</b>" if lead else text, style.log(frame.right * 0.9), style.log(rate), xanchor="right", name="roof label",
            font={"size": 12, "color": style.COMPUTE},
        )  # fmt: skip
    for roof in memory or (_roofs(theory)[0] if theory else ()):
        left, right = _extent(roof, memory, compute, frame)
        x = left * (right / left) ** (0.3 if roof.key == "dram" else 0.2)
        text = f"{names.channel(roof.key)} {units.bandwidth(roof.rate)}"
        yield style.note(
            f"<b>{text}</b>" if roof.key == "dram" else text, style.log(x), style.log(roof.rate * x), xanchor="center", yanchor="bottom",
            name="slope label", font={"size": 12, "color": style.MEMORY},
        )  # fmt: skip
    ridge = fit.headline
    if ridge:
        value = ridge.estimate
        text = f"ridge {units.intensity(value.value)}<br>{value.kind} {units.between(value.low, value.high, units.digits)}"
        yield style.note(
            text, style.log(value.value), style.log(fit.roofs[ridge.compute].roof.rate), xanchor="right", yanchor="bottom", align="right",
            name="ridge label", xshift=-10, yshift=4,
        )  # fmt: skip


def _clusters(roofs: Sequence[Roof]) -> list[list[Roof]]:
    """Roofs whose labels would lie on one another, together."""
    clusters: list[list[Roof]] = []
    for roof in sorted(roofs, key=lambda roof: roof.rate):
        if clusters and roof.rate <= clusters[-1][0].rate * _NEAR:
            clusters[-1].append(roof)
        else:
            clusters.append([roof])
    return clusters
