"""What was measured, as points under the roofs: by question, joined where a sweep is a path, flagged where too good."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import units
from bench.analysis.fit import Fit
from bench.analysis.placed import Placed
from bench.report import frame as frames
from bench.report import names
from bench.report.figures import style
from bench.report.figures.window import Facets, Window

YOURS = "your kernels"
_MOST_NAMES = 12

# A question keeps its marker and colour on every machine.
_LOOKS = {
    "stream": ("circle", style.SERIES[0]),
    "FMA loop": ("square", style.SERIES[1]),
    "tensor loop": ("pentagon", style.SERIES[6]),
    "on-chip reads": ("star", style.SERIES[0]),
    "GEMM shapes": ("diamond", style.SERIES[2]),
    "FMA ladder": ("triangle-up", style.SERIES[3]),
    "GEMM over batch": ("hexagon", style.SERIES[4]),
    "attention decode": ("x", style.SERIES[5]),
    "attention prefill": ("cross", style.SERIES[5]),
}
# Sweeps that are drawn as paths, and what tells one path from the next.
_PATHS = {
    "GEMM over batch": ("variant", "n", "k", "strided"),
    "attention decode": ("layout", "batch", "backend"),
    "attention prefill": ("layout", "batch", "causal", "backend"),
}
# Where a kernel lies beyond the frame's right edge: at the edge, pointing out of it.
_EDGE = 0.93


@dataclass(frozen=True)
class Drawn:
    """A trace with its sides, by which it is selected."""

    trace: dict
    facets: Facets


def points(fit: Fit, rows: pd.DataFrame, frame: Window) -> Iterator[Drawn]:
    """What was measured, a trace per question and precision."""
    seen = rows[rows["seconds"].notna() & (rows["intensity"] > 0)]
    lead = fit.info.headline.split(".")[1]
    for asked, dtype, part in _groups(seen):
        marker, colour = _LOOKS.get(asked, ("star", style.SERIES[6]))
        main = dtype == lead or asked not in _PATHS
        symbols = [style.symbol(marker, validity) for validity in part["validity"]]
        beyond = part["intensity"] > frame.right
        xs = [frame.right * _EDGE if out else x for x, out in zip(part["intensity"], beyond, strict=True)]
        symbols = ["triangle-right" if out else mark for mark, out in zip(symbols, beyond, strict=True)]
        ys = list(part["flop_rate"])
        hovers = [point_text(row) for row in frames.each(part)]
        if asked in _PATHS:
            xs, ys, symbols, hovers = _paths(part, _PATHS[asked], xs, ys, symbols, hovers)
        name = f"{asked}, {names.dtype(dtype)}" if asked in _PATHS else asked
        trace = style.line(
            style.safe(name),
            xs,
            ys,
            colour if main else style.SERIES[6],
            hovers,
            mode="lines+markers" if asked in _PATHS else "markers",
            marker={
                "symbol": symbols,
                "size": 7 if main else 5,
                "color": colour if main else style.SERIES[6],
                "opacity": 0.9,
            },
            opacity=1 if main else 0.6,
            connectgaps=False,
            meta=f"points {style.safe(asked)} {dtype}",
            legendgroup=style.safe(name),
            line={"color": colour if main else style.SERIES[6], "width": 1.4},
        )
        regime = str(part["regime"].iloc[0])
        yield Drawn(trace, Facets(name, name, dtype, regime=regime, probe=asked))
        above = part[part["above"].astype(bool)]
        if len(above):
            sides = Facets("above its roof", name, dtype, regime=regime, probe=asked)
            yield Drawn(_flags(above, frame, f"{style.safe(asked)} {dtype}"), sides)


def _paths(
    part: pd.DataFrame, keys: Sequence[str], xs: list, ys: list, symbols: list, hovers: list
) -> tuple[list, list, list, list]:
    """The points again, path after path, with a gap wherever another begins (another weight matrix, another shape)."""
    shapes = [tuple(str(params.get(key)) for key in keys) for params in part["params"]]
    path: tuple[list, list, list, list] = ([], [], [], [])
    for number, shape in enumerate(dict.fromkeys(shapes)):
        places = [place for place, other in enumerate(shapes) if other == shape]
        steps = [(xs[place], ys[place], symbols[place], hovers[place]) for place in places]
        if number:
            steps.insert(0, (None, None, steps[0][2], ""))
        for step in steps:
            for column, value in zip(path, step, strict=True):
                column.append(value)
    return path


def _groups(seen: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """(question, precision, its rows); a probe that is not known by name is a question of its own."""
    labels = [(question(row.probe, row.params), row.work.dtype) for row in frames.each(seen)]
    return [(*label, seen[[other == label for other in labels]]) for label in dict.fromkeys(labels)]


def question(probe: str, params: Mapping[str, Any]) -> str:
    """What a point answers, in words."""
    if probe == "gemm" and params.get("dtype"):
        return "GEMM over batch"
    if probe == "attention" and params.get("phase"):
        return f"attention {params['phase']}"
    if probe == "peak":
        return {"loop": "FMA loop", "tensor loop": "tensor loop"}.get(str(params.get("kind")), "GEMM shapes")
    return {"intensity": "FMA ladder", "bandwidth": "stream", "onchip": "on-chip reads"}.get(probe, probe)


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
    clock = [f"clock {units.hertz(row.clock_hz)}"] if frames.has(row.clock_hz) else []
    lines.append(", ".join([*clock, style.safe(row.regime)]))
    if row.above:
        lines.append("<b>above its roof: flagged</b>")
    if row.validity != "valid":
        lines.append(f"{row.validity}: {style.safe(row.causes[:80])}")
    return "<br>".join(lines)


def _flags(above: pd.DataFrame, frame: Window, name: str) -> dict:
    return style.scatter(
        x=above["intensity"].clip(upper=frame.right * _EDGE),
        y=above["flop_rate"],
        mode="markers",
        name="above its roof",
        legendgroup="above its roof",
        hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 14, "color": style.ALARM, "line": {"width": 1.5}},
        meta=f"above {name}",
    )


def placed(kernels: Sequence[Placed], frame: Window) -> Iterator[Drawn]:
    """A reader's own kernels, by name: filled where a roof stands over them, open where the Run has none."""
    drawn = [each for each in kernels if each.kernel.work.flops]
    if not drawn:
        return
    xs = [min(each.kernel.work.intensity, frame.right * _EDGE) for each in drawn]
    ys = [each.kernel.work.flops / each.kernel.seconds for each in drawn]
    facets = Facets(YOURS, YOURS, probe=YOURS)
    trace = style.scatter(
        x=xs,
        y=ys,
        mode="markers+text",
        # more names than this would lie on one another; the hover has them all
        text=[style.safe(each.kernel.name) if len(drawn) <= _MOST_NAMES else "" for each in drawn],
        textposition="bottom center",
        textfont={"size": 12, "color": style.INK},
        name=YOURS,
        legendgroup=YOURS,
        marker={
            "symbol": ["bowtie" if each.share is not None else "bowtie-open" for each in drawn],
            "size": 13,
            "color": style.GOOD,
            "line": {"color": style.INK, "width": 1},
        },
        customdata=[placed_text(each) for each in drawn],
        hovertemplate="%{customdata}<extra></extra>",
        meta=f"points {YOURS}",
    )
    yield Drawn(trace, facets)
    above = [k for k, each in enumerate(drawn) if each.above]
    if above:
        flag = {"symbol": "circle-open", "size": 20, "color": style.ALARM, "line": {"width": 1.5}}
        flags = style.scatter(
            x=[xs[k] for k in above],
            y=[ys[k] for k in above],
            mode="markers",
            name="above its roof",
            legendgroup="above its roof",
            hoverinfo="skip",
            marker=flag,
            meta=f"above {YOURS}",
        )
        yield Drawn(flags, Facets("above its roof", YOURS, probe=YOURS))


def placed_text(each: Placed) -> str:
    """Rates, share of the roof, limiter and what lacks, for hovers."""
    work, seconds = each.kernel.work, each.kernel.seconds
    lines = [f"<b>{style.safe(each.kernel.name)}</b>"]
    if work.flops:
        rate = units.rate_text(work.flops / seconds, f"{work.compute}.x")
        lines.append(f"{rate} of {names.quantity(work.compute)}, {units.intensity(work.intensity)}")
    if work.bytes:
        lines.append(f"{units.bandwidth(work.bytes / seconds)} over {style.safe(names.channel(work.channel))}")
    lines.append(f"{units.seconds(seconds)} a launch, as you gave it")
    if each.share is not None:
        lines.append(f"{units.percent(each.share)} of measured roof, limited by {names.limiter(each.limit)}")
    if each.lacking:
        lines.append(f"no measured roof for {style.safe(', '.join(names.quantity(key) for key in each.lacking))}")
    if each.above:
        lines.append("<b>above its roof: flagged</b>")
    return "<br>".join(lines)


def outside(drawn: Sequence[dict], frame: Window) -> Iterator[dict]:
    """How many of the points that are shown lie below the frame."""
    out = sum(y is not None and y < frame.bottom for trace in drawn for y in trace["y"])
    text = f"{out} point{'s' if out > 1 else ''} below the frame: “Fit to data” shows them" if out else ""
    yield style.note(
        text,
        0.005,
        0.055,
        xref="paper",
        yref="paper",
        font={"size": 12, "color": style.MUTED},
        name="outside",
        visible=bool(out),
    )
