"""What all figures share: roles of colour, axes in SI units, hover text. No figure names a colour of its own.

Colours are CSS variables of the page (report.css), which report.js resolves for the theme in force; so a figure has no
theme. Dash and marker always say again what colour says.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from bench import units

INK, MUTED, FAINT, GRID, PAPER = "var(--ink)", "var(--muted)", "var(--faint)", "var(--grid)", "var(--paper)"
MEMORY, COMPUTE, THEORY, ALARM = "var(--memory)", "var(--compute)", "var(--ink)", "var(--alarm)"
GOOD = "var(--good)"
# Okabe-Ito, each with a darker or lighter twin for the other theme.
SERIES = tuple(f"var(--s{n})" for n in range(1, 8))
MARKERS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MOST_POINTS = 2000


def safe(text: Any) -> str:
    """Text from a Run for plotly, which reads a little HTML in labels and hovers."""
    return escape(str(text), quote=False)


def figure(height: int = 380, **layout: Any) -> go.Figure:
    """An empty figure in the house's style."""
    base = {
        "template": go.layout.Template(),
        "height": height,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "margin": {"l": 56, "r": 16, "t": 20, "b": 48},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": -50 / (height - 68),
            "yanchor": "top",
            "font": {"size": 12},
        },
        "hoverlabel": {"align": "left", "bgcolor": PAPER, "bordercolor": MUTED, "font": {"color": INK, "size": 12}},
        "hovermode": "closest",
        "dragmode": "pan",
    }
    return go.Figure(layout=base | layout)


def axis(title: str, **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "font": {"size": 12, "color": MUTED}, "standoff": 8},
        "gridcolor": GRID,
        "linecolor": MUTED,
        "tickfont": {"size": 12, "color": MUTED},
        "zeroline": False,
        "ticks": "",
    } | more


def log_axis(
    title: str, low: float, high: float, text: Callable[[float], str] | None = None, base: int = 10, **more: Any
) -> dict:
    """A logarithmic axis from low to high with its ticks at powers of the base, at most nine."""
    first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / 9))
    ticks = [float(base) ** k for k in range(first, last + 1, step)]
    if base == 10 and high < low * 400:
        # so few decades that powers of ten alone leave the axis bare
        ticks = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5) if low <= m * 10.0**k <= high]
    label = text or (lambda value: units.number(value, 1))
    # plotly finds no place for the title where the only tick lies on the edge, or just outside by rounding
    ticks = ticks if len(ticks) > 1 else [math.sqrt(low * high)]
    return axis(
        title,
        type="log",
        range=[math.log10(low), math.log10(high)],
        tickvals=ticks,
        ticktext=[label(t) for t in ticks],
        **more,
    )


def size_axis(title: str, low: float, high: float) -> dict:
    """Bytes, with ticks at powers of four or more."""
    return log_axis(title, low, high, units.size, base=8 if high / low < 1e6 else 32)


def plain(value: float) -> str:
    """A tick of a small number: 0.1, 10, 1000."""
    return f"{value:g}"


def error(values: Sequence[float], lows: Sequence[float], highs: Sequence[float], colour: str) -> dict:
    """Asymmetric error bars; the hover carries the interval, so hairlines will do."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - value for value, high in zip(values, highs, strict=True)],
        "arrayminus": [value - low for value, low in zip(values, lows, strict=True)],
        "thickness": 1.2,
        "width": 3,
        "color": colour,
    }


def line(
    name: str, x: Sequence, y: Sequence, colour: str, hover: Sequence[str] | None = None, **more: Any
) -> go.Scatter:
    """Joined points with their markers, thinned to what a reader can see."""
    step = max(1, math.ceil(len(x) / MOST_POINTS))
    hovers = (
        {"customdata": list(hover)[::step], "hovertemplate": "%{customdata}<extra></extra>"}
        if hover is not None
        else {}
    )
    look = {
        "mode": "lines+markers",
        "line": {"color": colour, "width": 1.6},
        "marker": {"color": colour, "size": 7},
    } | more
    return go.Scatter(name=name, x=list(x)[::step], y=list(y)[::step], **look, **hovers)


def note(text: str, x: float, y: float, **more: Any) -> dict:
    """A direct label. On logarithmic axes plotly wants the logarithm of the place."""
    return {
        "text": text,
        "x": x,
        "y": y,
        "showarrow": False,
        "font": {"size": 12, "color": INK},
        "xanchor": "left",
        "yanchor": "bottom",
    } | more


def log(value: float) -> float:
    return math.log10(value)


def mark(fig: go.Figure, simulated: bool) -> go.Figure:
    """Writes SIMULATED across a figure, so that a picture cut out of the page still says so."""
    if simulated:
        fig.add_annotation(
            text="SIMULATED",
            name="simulated",
            xref="paper",
            yref="paper",
            x=0.5,
            y=0.5,
            showarrow=False,
            textangle=-18,
            font={"size": 52, "color": ALARM},
            opacity=0.13,
        )
        flag(fig, "simulated, not a measurement")
    return fig


def symbol(marker: str, validity: str) -> str:
    """A marker stands open where its measurement is suspect."""
    return marker if validity == "valid" else f"{marker}-open"


def flag(fig: go.Figure, text: str) -> go.Figure:
    """The same figure with a word in the colour of alarm at its upper right."""
    return fig.add_annotation(
        text=text,
        name="simulated",
        xref="paper",
        yref="paper",
        x=1,
        y=1,
        xanchor="right",
        yanchor="bottom",
        showarrow=False,
        font={"size": 12, "color": ALARM},
    )
