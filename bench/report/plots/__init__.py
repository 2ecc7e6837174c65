"""Figures that several sections draw: frames and fits in, a plotly figure out; None where there is nothing to draw."""

import re
from itertools import islice
from numbers import Real
from typing import Any

import plotly.graph_objects as go

from bench import units

_MOST_TRACES = 6


def described(figure: go.Figure) -> str:
    """A figure for who cannot see it, from its own data: its axes, and the range of every trace."""
    layout = figure.layout
    axes = [_plain(axis.title.text) for axis in (layout.xaxis, layout.yaxis) if axis.title.text]
    seen = [trace for trace in figure.data if trace.visible in (None, True) and trace.name and _numbers(_values(trace))]
    said = [f"{_plain(trace.name)}: {_range(trace)}" for trace in islice(seen, _MOST_TRACES)]
    more = [f"and {len(seen) - _MOST_TRACES} more"] if len(seen) > _MOST_TRACES else []
    return f"{' against '.join(reversed(axes))}. {'; '.join([*said, *more])}.".lstrip(". ")


def _values(trace: Any) -> Any:
    named = any(isinstance(value, str) for value in (trace.y if trace.y is not None else ()))
    return trace.x if named else trace.y


def _numbers(values: Any) -> list[float]:
    return [v for v in (values if values is not None else ()) if isinstance(v, Real) and v == v]


def _range(trace: Any) -> str:
    values = _numbers(_values(trace))
    if not values:
        return ""
    low, high = (units.number(v) if abs(v) >= 1 or not v else f"{v:.3g}" for v in (min(values), max(values)))
    span = low if low == high else f"{low} to {high}"
    return f"{span}, {len(values)} point{'s' * (len(values) != 1)}"


def _plain(text: str) -> str:
    return re.sub(r"<[^>]*>", " ", text).strip()
