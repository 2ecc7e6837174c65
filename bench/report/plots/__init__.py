"""Figures that several sections draw: frames and fits in, a plotly figure out; None where there is nothing to draw."""

import re
from numbers import Real
from typing import Any

import plotly.graph_objects as go

from bench import units
from bench.report.phrases import many

_MOST_TRACES = 6


def described(figure: go.Figure) -> str:
    """A figure for who cannot see it, from its own data: its axes, and the range of every trace."""
    layout = figure.layout
    axes = [_plain(axis.title.text) for axis in (layout.xaxis, layout.yaxis) if axis.title.text]
    named = [trace for trace in figure.data if trace.visible in (None, True) and trace.name]
    seen = [f"{_plain(trace.name)}: {said}" for trace in named if (said := _range(trace))]
    more = [f"and {len(seen) - _MOST_TRACES} more"] if len(seen) > _MOST_TRACES else []
    return f"{' against '.join(reversed(axes))}. {'; '.join([*seen[:_MOST_TRACES], *more])}.".lstrip(". ")


def _range(trace: Any) -> str:
    """Of rows with names along x, else along y; "" without a number."""
    x, y = ([] if values is None else list(values) for values in (trace.x, trace.y))
    values = x if any(isinstance(value, str) for value in y) else y
    values = [value for value in values if isinstance(value, Real) and value == value]
    if not values:
        return ""
    low, high = (units.number(v) if abs(v) >= 1 or not v else f"{v:.3g}" for v in (min(values), max(values)))
    return f"{low if low == high else f'{low} to {high}'}, {many(len(values), 'point')}"


def _plain(text: str) -> str:
    return re.sub(r"<[^>]*>", " ", text).strip()
