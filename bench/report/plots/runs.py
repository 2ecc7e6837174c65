"""Several Runs in one figure: ratios to the first with their intervals (a forest plot), rooflines over one another.

A Run keeps its colour, dash and marker through all figures; the reference is the solid line.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from bench import units
from bench.analysis import names
from bench.analysis.several_runs import FAR, LOST, Overlay, Ratio, beyond, bounds, edges, letter, rows
from bench.analysis.viewport import brief, curve, spans
from bench.report.phrases import rate_spread, signed
from bench.report.plots import theme
from bench.report.plots.roofs import RoofLine, labels
from bench.roofline import Roof


@dataclass(frozen=True)
class RunLabel:
    """What a Run is called on every line and figure, and how it looks there."""

    number: int
    simulated: bool
    what: str

    @property
    def letter(self) -> str:
        return letter(self.number)

    @property
    def name(self) -> str:
        return f"{self.letter}{' (simulated)' * self.simulated}"

    @property
    def look(self) -> dict:
        """Of its traces, whatever they show."""
        full = f"{self.name}{', reference' * (not self.number)}: {self.what}"
        return {"name": theme.safe(full), "meta": f"run {self.letter}"}

    @property
    def colour(self) -> str:
        return theme.SERIES[self.number - 1] if self.number else theme.INK


def forest(ratios: Sequence[Ratio], runs: Sequence[RunLabel], near: float) -> go.Figure:
    """In every row a point per Run and pair of devices; 1 is the reference. near: what is as good as equal.

    A ratio has a label (its Run) and a hover besides what bench.analysis.several_runs reads.
    """
    names, others = rows(ratios), runs[1:]
    ratios = [each for each in ratios if each["what"] in names]
    low, high = edges(ratios, near)
    log, title = high / low > FAR, "Other Run over the reference (1 = equal)"
    x = theme.log_axis(title, low, high, theme.plain) if log else theme.axis(title, range=[low, high])
    places = {"tickvals": list(range(len(names))), "ticktext": [theme.safe(name) for name in names]}
    y = theme.axis("", range=[len(names) - 0.4, -0.6], automargin=True, showgrid=False, **places)
    fig = theme.figure(96 + (16 + 8 * len(others)) * len(names), x, y, margin={"l": 60, "t": 24})
    band = {"fillcolor": theme.MUTED, "opacity": 0.14, "line": {"width": 0}, "layer": "below"}
    fig.add_vrect(x0=1 / (1 + near), x1=1 + near, **band)
    fig.add_vline(x=1, line={"color": theme.INK, "width": 1.2})
    for run in others:
        mine = [each for each in ratios if each["label"] == run]
        shift = (run.number - (len(others) + 1) / 2) * 0.62 / len(others)
        heights = [names.index(each["what"]) + shift for each in mine]
        if mine:
            fig.add_trace(_ratios(run, mine, heights, low, high))
        for each, height in zip(mine, heights, strict=True):
            for bound, edge in beyond(each, low, high):
                value = signed(bound) if 1 / LOST < bound < LOST else ""
                said, anchor = (f"◂ {value}", "left") if edge == low else (f"{value} ▸", "right")
                look = {"xanchor": anchor, "yanchor": "middle", "name": "beyond"}
                fig.add_note(said.strip(), theme.log(edge) if log else edge, height, **look)
    return marked(fig.made(), runs)


def _ratios(run: RunLabel, ratios: Sequence[Ratio], heights: Sequence[float], low: float, high: float) -> dict:
    values, (lows, highs) = [each["ratio"] for each in ratios], zip(*map(bounds, ratios), strict=True)
    ends = [max(bound, low) for bound in lows], [min(bound, high) for bound in highs]
    symbols = [theme.MARKERS[run.number] + "-open" * (not each["differs"]) for each in ratios]
    marker = {"color": run.colour, "size": 9, "line": {"width": 1.5}, "symbol": symbols}
    look = {"mode": "markers", "showlegend": True, "marker": marker} | run.look
    look |= theme.hovers(each["hover"] for each in ratios)
    return theme.scatter(x=values, y=heights, error_x=theme.error(values, *ends, run.colour), **look)


def rooflines(several: Overlay, runs: Sequence[RunLabel]) -> go.Figure:
    """Of one device in every Run that has it."""
    frame, drawn = several.frame, {run: roofs for run, roofs in zip(runs, several.roofs, strict=True) if roofs}
    meta = {"device": names.device(several.device), "selectors": None}
    fig = theme.figure(500, *theme.plane(**vars(frame)), margin={"r": 220}, meta=meta)
    lines, reach = [], {}
    for run, roofs in drawn.items():
        mine = {_line(run, roof, len(drawn) > 2): roof for roof in roofs}
        own = spans(list(mine), frame)
        lines, reach = [*lines, *mine], reach | own
        fig.add_trace(_roofline(run, [(mine[line], own[line.trace]) for line in mine if line.trace in own]))
    for note in labels(lines, reach, frame):
        fig.add_annotation(note)
    return marked(fig.made(), list(drawn))


def _line(run: RunLabel, roof: Roof, crowded: bool) -> RoofLine:
    # slopes that lie near share a label, in which there is no room for many names
    name = f"{run.letter}:" + f" {theme.safe(names.roof(roof.key))}" * (roof.key != "dram" or not crowded)
    rate = units.rate_text(roof.rate, roof.key)
    return RoofLine(f"{run.letter} {roof.key}", roof.key, roof.rate, name, rate, not run.number)


def _roofline(run: RunLabel, spans: Sequence[tuple[Roof, tuple[float, float]]]) -> dict:
    xs, ys, hovers = [], [], []
    for roof, ends in spans:
        part, rate = np.geomspace(*ends, 25).tolist(), units.rate_text(roof.rate, roof.key)
        said = f"<b>{run.look['name']}</b>", theme.safe(f"{names.roof(roof.key)} {rate}"), rate_spread(roof)
        xs, ys = [*xs, *map(brief, part), None], [*ys, *map(brief, curve(roof, part)), None]
        hovers += [theme.text(said)] * (len(part) + 1)
    # a marker in every tenth place: dash alone is lost where lines meet
    sizes = [7 if i % 10 == (2 + 3 * run.number) % 10 else 0 for i in range(len(xs))]
    marker = {"color": run.colour, "symbol": theme.MARKERS[run.number], "size": sizes, "opacity": 1}
    line = {"color": run.colour, "width": 1.8 if run.number else 3, "dash": theme.DASHES[run.number]}
    look = {"mode": "lines+markers", "marker": marker, "line": line} | run.look | theme.hovers(hovers)
    return theme.scatter(x=xs, y=ys, **look)


def marked(fig: go.Figure, runs: Sequence[RunLabel]) -> go.Figure:
    """Where some of its Runs are simulated, the corner says which; where all are, the page says so itself."""
    pretend = [run.letter for run in runs if run.simulated]
    return theme.flag(fig, f"{', '.join(pretend)} simulated, not measured") if 0 < len(pretend) < len(runs) else fig
