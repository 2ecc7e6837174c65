"""What all figures share: roles of colour, axes in SI units, hover text. No figure names a colour of its own.

Colours are CSS variables of the page (report.css), which report.js resolves for the theme in force; so a figure has no
theme. Dash and marker always say again what colour says. What every figure has stands in the plotly template.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from bench import units

INK, MUTED, GRID, PAPER = "var(--ink)", "var(--muted)", "var(--grid)", "var(--paper)"
MEMORY, COMPUTE, THEORY, ALARM = "var(--memory)", "var(--compute)", "var(--ink)", "var(--alarm)"
GOOD = "var(--good)"
# Okabe-Ito, each with a darker or lighter twin for the other theme.
SERIES = tuple(f"var(--s{n})" for n in range(1, 8))
MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MOST_POINTS = 2000
# A tick of a small number: 0.1, 10, 1000.
plain = "{:g}".format
# A place on a logarithmic axis, as plotly wants it for labels and ranges.
log = math.log10


def safe(text: Any) -> str:
    """Text from a Run for plotly, which reads a little HTML in labels and hovers."""
    return escape(str(text), quote=False)


@dataclass
class Drawing:
    """A figure while it is drawn, in plain values: plotly, which checks each value, is given all of them once."""

    traces: list[dict[str, Any]]
    layout: dict[str, Any]

    def add_trace(self, trace: dict[str, Any]) -> None:
        self.traces.append(trace)

    def add_annotation(self, note: dict[str, Any]) -> None:
        self.layout.setdefault("annotations", []).append(note)

    def add_note(self, text: str, *place: Any, **look: Any) -> None:
        """As note() has them."""
        self.add_annotation(note(text, *place, **look))

    def add_shape(self, **shape: Any) -> None:
        self.layout.setdefault("shapes", []).append(shape)

    def add_vline(self, x: float, **look: Any) -> None:
        self.add_vrect(x, x, type="line", **look)

    def add_vrect(self, x0: float, x1: float, **look: Any) -> None:
        """From the bottom to the top, whatever the axis shows."""
        self.add_shape(**{"type": "rect", "x0": x0, "x1": x1, "xref": "x", "y0": 0, "y1": 1, "yref": "y domain"} | look)

    def made(self) -> go.Figure:
        return go.Figure(self.traces, self.layout)


_MARGIN = {"l": 56, "r": 16, "t": 20, "b": 48}
_SMALL = {"size": 12, "color": MUTED}
_AXIS = {"title": {"font": _SMALL, "standoff": 8}, "gridcolor": GRID, "linecolor": MUTED, "tickfont": _SMALL}
_AXIS |= {"zeroline": False, "ticks": ""}
TEMPLATE = "ridgepoint"
pio.templates[TEMPLATE] = go.layout.Template(
    layout={
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "margin": _MARGIN,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "yanchor": "top", "font": {"size": 12}},
        "hoverlabel": {"align": "left", "bgcolor": PAPER, "bordercolor": MUTED, "font": {"color": INK, "size": 12}},
        "hovermode": "closest",
        "dragmode": "pan",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


def figure(
    height: int, x: dict | None = None, y: dict | None = None, traces: Iterable[dict] = (), **layout: Any
) -> Drawing:  # fmt: skip
    """A figure in the house's style, to be drawn in."""
    margin = _MARGIN | layout.pop("margin", {})
    below = {"y": -50 / (height - margin["t"] - margin["b"])}
    style = {"template": TEMPLATE, "height": height, "margin": margin, "legend": below}
    return Drawing([*traces], style | {"xaxis": x or {}, "yaxis": y or {}} | layout)


def axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title}} | more


def log_axis(
    title: str, low: float, high: float, text: Callable[[float], str] | None = None, base: int = 10
) -> dict:  # fmt: skip
    """A logarithmic axis from low to high with its ticks at powers of the base, at most nine."""
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / 9))
    ticks = [float(base) ** k for k in range(first, last + 1, step)]
    if base == 10 and high < low * 400:
        # so few decades that powers of ten alone leave the axis bare
        ticks = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    # plotly finds no place for the title where the only tick lies on the edge, or just outside by rounding
    ticks = ticks if len(ticks) > 1 else [math.sqrt(low * high)]
    said = list(map(text or partial(units.number, significant=1), ticks))
    return axis(title, type="log", range=[log(low), log(high)], tickvals=ticks, ticktext=said)


def size_axis(title: str, low: float, high: float) -> dict:
    """Bytes, with ticks at powers of four or more."""
    return log_axis(title, low, high, units.size, base=8 if high / low < 1e6 else 32)


def plane(left: float, right: float, bottom: float, top: float) -> tuple[dict, dict]:
    """The axes of a roofline."""
    x_axis = log_axis("Arithmetic intensity (FLOP/B)", left, right, plain)
    return x_axis, log_axis("Performance (FLOP/s; OP/s for integers)", bottom, top)


def error(values: Sequence[float], lows: Sequence[float], highs: Sequence[float], colour: str) -> dict:
    """Asymmetric error bars; the hover carries the interval, so hairlines will do."""
    above = [high - value for value, high in zip(values, highs, strict=True)]
    below = [value - low for value, low in zip(values, lows, strict=True)]
    look = {"type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": colour}
    return look | {"array": above, "arrayminus": below}


def thinned(rows: Any) -> Any:
    """Every so many of a frame or a sequence, as many as a reader can see."""
    return rows[:: math.ceil(len(rows) / MOST_POINTS) or 1]


def line(name: str, x: Sequence, y: Sequence, colour: str, hover: Iterable[str] | None = None, **more: Any) -> dict:
    """Joined points with their markers."""
    look = {"line": {"color": colour, "width": 1.6}, "marker": {"color": colour, "size": 7}} | more
    look |= hovers(hover) if hover is not None else {}
    return scatter(name=name, x=list(x), y=list(y), **{"mode": "lines+markers"} | look)


def hovers(texts: Iterable[str]) -> dict[str, Any]:
    """A text of its own for every point."""
    return {"customdata": list(texts), "hovertemplate": "%{customdata}<extra></extra>"}


def text(lines: Iterable[str]) -> str:
    """Those that say something, below one another."""
    return "<br>".join(filter(None, lines))


def scatter(**look: Any) -> dict[str, Any]:
    return {"type": "scatter"} | look


def note(text: str, x: float, y: float, colour: str = INK, size: int = 12, **more: Any) -> dict:
    """A direct label."""
    look = {"showarrow": False, "font": {"size": size, "color": colour}, "xanchor": "left", "yanchor": "bottom"}
    return {"text": text, "x": x, "y": y} | look | more


def symbol(marker: str, validity: str) -> str:
    """A marker stands open where its measurement is suspect."""
    return marker if validity == "valid" else f"{marker}-open"


def mark(fig: go.Figure, simulated: bool) -> go.Figure:
    """Writes SIMULATED across a figure, so that a picture cut out of the page still says so."""
    if simulated:
        across = {"size": 52, "textangle": -18, "opacity": 0.13, "xanchor": "center", "yanchor": "middle"}
        flag(fig, "SIMULATED", 0.5, 0.5, **across)
        flag(fig, "simulated, not a measurement")
    return fig


def flag(fig: go.Figure, text: str, x: float = 1, y: float = 1, **look: Any) -> go.Figure:
    """The same figure with a word in the colour of alarm, at its upper right if nothing else is said."""
    place = {"xanchor": "right", "name": "simulated", "xref": "paper", "yref": "paper"} | look
    fig.layout.annotations += (note(text, x, y, ALARM, **place),)
    return fig
