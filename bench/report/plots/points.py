"""What was measured, as points under the roofs: by question, joined where a sweep is a path, flagged where too good.

A reader's own kernels stand there by name, each with an arrow to what its roof allows; open without a roof here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from bench import units
from bench.analysis import names, tidy
from bench.analysis.fit import Fit
from bench.analysis.tidy import usable
from bench.analysis.user_kernels import RooflinePoint
from bench.analysis.viewport import Viewport, beside, brief
from bench.report.phrases import listed, many
from bench.report.plots import theme
from bench.report.plots.roofs import Drawn, hovered
from bench.report.plots.sweep import told

# A question keeps its marker and colour on every machine.
_LOOKS = {
    "stream": ("circle", theme.SERIES[0]),
    "FMA loop": ("square", theme.SERIES[1]),
    "tensor loop": ("pentagon", theme.SERIES[6]),
    "on-chip reads": ("star", theme.SERIES[0]),
    "GEMM shapes": ("diamond", theme.SERIES[2]),
    "FMA sweep": ("triangle-up", theme.SERIES[3]),
    "GEMM over batch": ("hexagon", theme.SERIES[4]),
    "attention decode": ("x", theme.SERIES[5]),
    "attention prefill": ("cross", theme.SERIES[5]),
}
_OTHER = ("star", theme.SERIES[6])
# Sweeps that are drawn as paths, and what tells one path from the next.
_PATHS = {
    "GEMM over batch": ("variant", "n", "k", "strided"),
    "attention decode": ("layout", "batch", "backend"),
    "attention prefill": ("layout", "batch", "causal", "backend"),
}
# What is shown at first; everything else can be chosen.
FEW = {"GEMM over batch", "attention decode", "stream"}
# Where a point lies beyond the frame, it stands at the edge and points there.
OUT = {"left": "triangle-left", "right": "triangle-right", "up": "triangle-up", "down": "triangle-down"}
YOURS = "your kernels"
# Arrows for the slowest of so many kernels, names for so many: more would lie on one another, and hovers have them all.
_MOST_ARROWS, _MOST_NAMES = 6, 12


def points(fit: Fit, rows: pd.DataFrame, frame: Viewport) -> Iterator[Drawn]:
    """What was measured, a trace per question and precision."""
    seen = usable(rows[rows["intensity"] > 0])
    seen = seen.assign(asked=list(map(question, seen["probe"], seen["params"])))
    for (asked, dtype), found in seen.groupby(["asked", seen["work"].map(lambda work: work.dtype)], sort=False):
        part = tidy.each(found)
        marker, colour = _LOOKS.get(asked, _OTHER)
        path = asked in _PATHS
        # of a sweep that is drawn as a path the headline's precision stands out, and is asked for at first
        main = dtype == fit.info.headline.dtype or not path
        colour = colour if main else _OTHER[1]
        head, steps = _steps(part, _PATHS.get(asked, ()), marker, frame)
        xs, ys, symbols, texts = (list(column) for column in zip(*steps, strict=True))
        name = theme.safe(f"{asked}, {names.dtype(dtype)}" if path else asked)
        symbol = symbols if len(set(symbols)) > 1 else symbols[0]
        look = {"mode": "lines+markers" if path else "markers", "meta": f"points {theme.safe(asked)} {dtype}"}
        look |= {"line": {"color": colour, "width": 1.4}, "opacity": 0.9 if main else 0.6}
        look |= {"marker": {"symbol": symbol, "size": 7 if main else 5, "color": colour}}
        trace = theme.scatter(name=name, x=xs, y=ys, text=texts, hovertemplate=hovered([head], "%{text}"), **look)
        probe = asked if main else f"{asked}, other precisions"
        drawn = Drawn(trace, name, {"dtype": dtype, "regime": part[0].regime, "probe": probe})
        yield from (drawn, *flagged(part, drawn, frame))


def question(probe: str, params: Mapping[str, Any]) -> str:
    """What a point answers, in words; a probe that is not known by name is a question of its own."""
    if probe == "gemm" and params.get("dtype"):
        return "GEMM over batch"
    if probe == "attention" and params.get("phase"):
        return f"attention {params['phase']}"
    if probe == "peak":
        return {"loop": "FMA loop", "tensor loop": "tensor loop"}.get(str(params.get("kind")), "GEMM shapes")
    return {"intensity": "FMA sweep", "bandwidth": "stream", "onchip": "on-chip reads"}.get(probe, probe)


def _steps(part: Sequence, keys: Sequence[str], marker: str, frame: Viewport) -> tuple[str, list[tuple]]:
    """(what all points have in common, (x, y, symbol, hover) of each), path after path with a gap between two."""
    rows = theme.thinned(part)
    first = names.told(rows[0].params)
    common = {key: first[key] for key in first if len({repr(row.params.get(key)) for row in rows}) == 1}
    paths: dict[tuple, list] = {}
    for row in rows:
        paths.setdefault(tuple(str(row.params.get(key)) for key in keys), []).append(row)
    steps: list[tuple] = []
    for path in paths.values():
        steps += [(None, None, marker, "")] * bool(steps)
        for row in sorted(path, key=lambda row: row.intensity) if keys else path:
            out = row.intensity > frame.right
            x = frame.clamped(row.intensity, row.flop_rate)[0] if out else row.intensity
            symbol = OUT["right"] if out else theme.symbol(marker, row.validity)
            own = names.case({key: value for key, value in names.told(row.params).items() if key not in common})
            steps.append((brief(x), brief(row.flop_rate), symbol, told(row, theme.safe(own))))
    return f"<b>{theme.safe(rows[0].probe)}</b> {theme.safe(names.case(common))}", steps


def flagged(cases: Iterable[Any], drawn: Drawn, frame: Viewport, size: int = 14) -> Iterator[Drawn]:
    """Rings around what lies above its roof, of the cases or kernels that a trace draws."""
    places = [frame.clamped(each.intensity, each.flop_rate) for each in cases if each.above]
    if places:
        ring = {"symbol": "circle-open", "size": size, "color": theme.ALARM, "line": {"width": 1.5}}
        look = {"mode": "markers", "name": "above its roof", "hoverinfo": "skip", "marker": ring}
        look |= {"meta": drawn.name.replace("points", "above", 1)}
        xs, ys = [brief(x) for x, *_ in places], [brief(y) for _, y, _ in places]
        yield replace(drawn, trace=theme.scatter(x=xs, y=ys, **look))


def outside(traces: Sequence[dict], frame: Viewport) -> dict:
    """How many of the points that are shown lie outside the frame."""
    places = (place for trace in traces for place in zip(trace["x"], trace["y"], strict=True))
    out = sum(x is not None and not frame.holds(x, y) for x, y in places)
    text = f"{many(out, 'point')} outside the frame: “Fit to data” shows them" if out else ""
    look = {"xref": "paper", "yref": "paper", "name": "outside", "visible": bool(out)}
    return theme.note(text, 0.005, 0.012, theme.MUTED, **look)


def kernels(placed: Sequence[RooflinePoint], frame: Viewport) -> Iterator[Drawn]:
    """Nothing for kernels without arithmetic, which have no place on these axes."""
    shown = [each for each in placed if each.kernel.work.flops]
    if not shown:
        return
    at = [frame.clamped(each.intensity, each.flop_rate) for each in shown]
    xs, ys, outs = [brief(x) for x, *_ in at], [brief(y) for _, y, _ in at], [out for *_, out in at]
    slow = [k for k, each in enumerate(shown) if each.possible > 1 and not outs[k]]
    arrows = sorted(slow, key=lambda k: -shown[k].possible)[:_MOST_ARROWS]
    first = dict.fromkeys([*(k for k, out in enumerate(outs) if out), *arrows, *range(len(shown))])
    texts = {k: _text(shown[k], outs[k]) for k in [*first][:_MOST_NAMES]}
    symbols = [OUT.get(out, "bowtie" if each.share else "bowtie-open") for each, out in zip(shown, outs, strict=True)]
    marker = {"symbol": symbols, "size": 13, "color": theme.GOOD, "line": {"color": theme.INK, "width": 1}}
    look = {"mode": "markers+text", "name": YOURS, "text": [texts.get(k, "") for k in range(len(shown))]}
    look |= {"textposition": beside([(x, y) for x, y, _ in at], texts, frame), "cliponaxis": False}
    look |= {"textfont": {"size": 12, "color": theme.INK}, "marker": marker, "meta": f"points {YOURS}"}
    drawn = Drawn(theme.scatter(x=xs, y=ys, **look, **theme.hovers(map(_hover, shown))), YOURS, {"probe": YOURS})
    yield from (drawn, *flagged(shown, drawn, frame, 20))
    if arrows:
        heads = [x for k in arrows for x in (xs[k], xs[k], None)]
        tips = [y for k in arrows for y in (ys[k], brief(ys[k] * shown[k].possible), None)]
        marker = {"symbol": "triangle-up", "size": [0, 9, 0] * len(arrows), "color": theme.GOOD}
        look = {"mode": "lines+markers", "name": YOURS, "hoverinfo": "skip", "meta": "possible", "marker": marker}
        look |= {"line": {"color": theme.GOOD, "width": 1.4, "dash": "dot"}}
        yield replace(drawn, trace=theme.scatter(x=heads, y=tips, **look))


def _text(each: RooflinePoint, out: str) -> str:
    """Its name, what its roof would allow, and its value where it stands at the edge."""
    across = f"{each.intensity:.3g} FLOP/B" if out in ("left", "right") else ""
    value = across or (units.flops(each.flop_rate) if out else "")
    return theme.text((theme.safe(each.kernel.name), value, possible(each)))


def possible(each: RooflinePoint) -> str:
    """What its roof would allow, "" where it is there."""
    times = each.possible
    return f"× {units.digits(times) if times < 1e4 else units.number(times)} possible" if times > 1 else ""


def _hover(each: RooflinePoint) -> str:
    """Rates, share of the roof, limiter and what lacks."""
    work, seconds = each.kernel.work, each.kernel.seconds
    rate = units.rate_text(each.flop_rate, work.compute)
    limit, lacking = names.limiter(each.limit), listed([names.quantity(key) for key in each.lacking])
    lines = [
        f"<b>{theme.safe(each.kernel.name)}</b>",
        f"{rate} of {theme.safe(names.quantity(work.compute))}, {units.intensity(each.intensity)}",
        f"{units.bandwidth(work.bytes / seconds)} over {theme.safe(names.channel(work.channel))}" if work.bytes else "",
        f"{units.seconds(seconds)} a launch, as you gave it",
        f"{units.percent(each.share)} of measured roof, limited by {theme.safe(limit)}" if each.share else "",
        possible(each),
        f"no measured roof for {theme.safe(lacking)}" if lacking else "",
        "<b>above its roof: flagged</b>" if each.above else "",
    ]
    return theme.text(lines)
