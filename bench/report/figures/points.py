"""What was measured, as points under the roofs: by question, joined where a sweep is a path, flagged where too good."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame as frames
from bench.report import names
from bench.report.figures import style
from bench.report.figures.window import Window

# A question keeps its marker and colour on every machine.
_LOOKS = {
    "stream": ("circle", style.SERIES[0]),
    "FMA loop": ("square", style.SERIES[1]),
    "tensor loop": ("pentagon", style.SERIES[6]),
    "on-chip reads": ("star", style.SERIES[0]),
    "GEMM shapes": ("diamond", style.SERIES[2]),
    "FMA ladder": ("triangle-up", style.SERIES[3]),
    "GEMM over batch, lead": ("hexagon", style.SERIES[4]),
    "GEMM over batch, other dtypes": ("hexagon", style.SERIES[6]),
    "attention decode": ("x", style.SERIES[5]),
    "attention prefill": ("cross", style.SERIES[5]),
}


def points(fit: Fit, rows: pd.DataFrame, frame: Window) -> Iterator[go.Scatter]:
    seen = rows[rows["seconds"].notna() & (rows["intensity"] > 0)]
    lead = fit.info.headline.split(".")[1]
    for name, part in _groups(seen, lead):
        marker, colour = _LOOKS.get(
            name, _LOOKS["GEMM over batch, lead"] if name.startswith("GEMM") else ("star", style.SERIES[6])
        )
        joined = name.startswith("GEMM over batch")
        main = not joined or any(params.get("dtype") == lead for params in part["params"])
        symbols = [style.symbol(marker, validity) for validity in part["validity"]]
        # beyond the frame's right edge a loop that never touches memory is shown at the edge, pointing out of it
        beyond = part["intensity"] > frame.right
        xs = [frame.right * 0.93 if out else x for x, out in zip(part["intensity"], beyond, strict=True)]
        symbols = ["triangle-right" if out else mark for mark, out in zip(symbols, beyond, strict=True)]
        ys = list(part["flop_rate"])
        hovers = [point_text(row) for row in part.itertuples()]
        if joined:
            xs, ys, symbols, hovers = _paths(part, xs, ys, symbols, hovers)
        yield style.line(
            name,
            xs,
            ys,
            colour,
            hovers,
            mode="lines+markers" if joined else "markers",
            marker={"symbol": symbols, "size": 7 if main else 5, "color": colour, "opacity": 0.9},
            opacity=1 if main else 0.45,
            connectgaps=False,
            meta=f"points {name}",
            line={"color": colour, "width": 1.4},
        )


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


def _groups(seen: pd.DataFrame, lead: str) -> list[tuple[str, pd.DataFrame]]:
    """Points by question, in words; a probe that is not known by name is a group of its own."""

    def group(row) -> str:
        params = row.params
        if row.probe == "gemm" and params.get("dtype"):
            return f"GEMM over batch, {names.dtype(lead) if params['dtype'] == lead else 'other dtypes'}"
        if row.probe == "attention" and params.get("phase"):
            return f"attention {params['phase']}"
        if row.probe == "peak":
            return {"loop": "FMA loop", "tensor loop": "tensor loop"}.get(str(params.get("kind")), "GEMM shapes")
        return {"intensity": "FMA ladder", "bandwidth": "stream", "onchip": "on-chip reads"}.get(row.probe, row.probe)

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


def flags(rows: pd.DataFrame, frame: Window) -> Iterator[go.Scatter]:
    above = rows[rows["above"].astype(bool) & (rows["intensity"] > 0)]
    if len(above):
        yield go.Scatter(
            x=above["intensity"].clip(upper=frame.right * 0.93),
            y=above["flop_rate"],
            mode="markers",
            name="above its roof",
            hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 14, "color": style.ALARM, "line": {"width": 1.5}},
            meta="above",
        )


def outside(rows: pd.DataFrame, frame: Window) -> Iterator[dict]:
    seen = rows[rows["seconds"].notna() & (rows["intensity"] > 0) & (rows["intensity"] <= frame.right)]
    out = sum(not frame.holds(x, y) for x, y in zip(seen["intensity"], seen["flop_rate"], strict=True))
    if out:
        text = f"{out} point{'s' if out > 1 else ''} below the frame: “Fit to data” shows them"
        yield style.note(
            text, 0.005, 0.055, xref="paper", yref="paper", font={"size": 12, "color": style.MUTED}, name="outside"
        )
