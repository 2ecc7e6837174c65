"""A log-log figure as a still picture: inline SVG without script, in the colours that the page gives by name.

What the first screen shows before a script has run, and what is printed.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape, unescape
from typing import Any

import plotly.graph_objects as go

from bench.report.plots import theme

_WIDTH, _LINE, _COLUMNS = 1020, 15, 4
_DASHES = {"dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3"}
# Markers with corners: how many, and the angle of the first. Any other is round.
_CORNERS = {"square": (4, 45), "diamond": (4, 0), "diamond-tall": (4, 0), "bowtie": (4, 45), "star": (5, -90)}
_CORNERS |= {f"triangle-{way}": (3, angle) for way, angle in (("up", -90), ("down", 90), ("left", 180), ("right", 0))}
# Where a text stands beside its marker: pixels to the right and down, anchors.
_SIDES = {"bottom center": (0, 10, "center", "top"), "top center": (0, -10, "center", "bottom")}
_SIDES |= {"middle right": (11, 0, "left", "middle"), "middle left": (-11, 0, "right", "middle")}


def svg(figure: go.Figure) -> str:
    """The picture, as wide as its container; who places it says role and label."""
    found = figure.to_dict()
    return "".join(_Picture(found["data"], found["layout"]).parts())


class _Picture:
    def __init__(self, data: Sequence[Mapping], layout: Mapping):
        self.data = [trace for trace in data if trace.get("visible", True) is True]
        self.entries = [trace for trace in self.data if trace.get("showlegend")]
        self.layout, margin = layout, layout["margin"]
        self.left, self.right, self.top = margin["l"], _WIDTH - margin["r"], margin["t"]
        self.bottom = layout["height"] - margin["b"] - 18 * math.ceil(len(self.entries) / _COLUMNS)

    def at(self, x: float, y: float, xref: str = "x", yref: str = "y") -> tuple[float, float]:
        """Pixels of a place on the axes, by its logarithms, or in shares of the plot."""
        left, right = self.layout["xaxis"]["range"] if xref == "x" else (0, 1)
        low, high = self.layout["yaxis"]["range"] if yref == "y" else (0, 1)
        across = (self.right - self.left) * (x - left) / (right - left)
        return round(self.left + across, 1), round(self.bottom - (self.bottom - self.top) * (y - low) / (high - low), 1)

    def parts(self) -> Iterator[str]:
        yield f'<svg viewBox="0 0 {_WIDTH} {self.layout["height"]}" font-family="system-ui, sans-serif" font-size="12">'
        frame = _tag("path", d=f"M{self.left} {self.top}H{self.right}V{self.bottom}H{self.left}z")
        yield _tag("clipPath", frame, id="static-plot")
        yield from (*self.axis("x"), *self.axis("y"), '<g clip-path="url(#static-plot)">')
        for shape in (each for each in self.layout.get("shapes", ()) if each.get("visible", True)):
            x0, x1 = (self.at(theme.log(shape[side]), 0)[0] for side in ("x0", "x1"))
            look = {"fill": shape.get("fillcolor"), "opacity": shape.get("opacity")} | _stroke(shape["line"])
            yield _tag("path", d=f"M{x0} {self.top}H{x1}V{self.bottom}H{x0}", **look)
        for trace in self.data:
            places = zip(trace["x"], trace["y"], strict=True)
            at = [self.at(theme.log(x), theme.log(y)) if x else None for x, y in places]
            yield from _drawn(trace, at, at)
            for place, text, side in zip(at, trace.get("text") or (), trace.get("textposition") or (), strict=False):
                right, down, *anchors = _SIDES[side]
                yield _text(text, place[0] + right, place[1] + down, *anchors)
        yield "</g>"
        for note in self.layout.get("annotations", ()):
            if note.get("visible", True) and note.get("text"):
                yield from self.note(note)
        for k, trace in enumerate(self.entries):
            x, y = self.left + k % _COLUMNS * 235, self.bottom + 56 + 18 * (k // _COLUMNS)
            yield from (*_drawn(trace, [(x, y), (x + 22, y)], [(x + 11, y)]), _text(trace["name"], x + 30, y, "left"))
        yield "</svg>"

    def axis(self, side: str) -> Iterator[str]:
        axis, across = self.layout[f"{side}axis"], side == "x"
        for value, text in zip(axis["tickvals"], axis["ticktext"], strict=True):
            x, y = self.at(theme.log(value), 0, yref="p") if across else self.at(0, theme.log(value), xref="p")
            yield _tag("path", d=f"M{x} {y}{f'V{self.top}' if across else f'H{self.right}'}", stroke=theme.GRID)
            place = (x, y + 13, "center") if across else (x - 6, y, "right")
            yield _text(text, *place, colour=theme.MUTED)
        x, y = ((self.left + self.right) / 2, self.bottom + 30) if across else (12, (self.top + self.bottom) / 2)
        yield _text(axis["title"]["text"], x, y, "center", colour=theme.MUTED, turned=0 if across else -90)

    def note(self, note: Mapping) -> Iterator[str]:
        x, y = self.at(note["x"], note["y"], note.get("xref", "x"), note.get("yref", "y"))
        if note["showarrow"]:
            yield _tag("path", d=f"M{x} {y}L{x + note['ax'] - 3} {y + note['ay']:.1f}", stroke=note["arrowcolor"])
            x, y = x + note["ax"], y + note["ay"]
        turned = note.get("textangle", 0)
        if note.get("name") == "slope label":
            # along its line, whose slope is another in every size
            (x0, y0), (x1, y1) = self.at(0, 0), self.at(1, 1)
            turned = math.degrees(math.atan2(y1 - y0, x1 - x0))
        look = {"colour": note["font"]["color"], "size": note["font"]["size"], "opacity": note.get("opacity")}
        anchors = note.get("xanchor", "center"), note.get("yanchor", "middle")
        yield _text(note["text"], x, y - note.get("yshift", 0), *anchors, turned=turned, **look)


def _drawn(trace: Mapping, path: Sequence, marks: Sequence) -> Iterator[str]:
    """A trace's line along a path and its markers at some places; None is a gap."""
    faint = trace.get("opacity")
    if "lines" in trace["mode"]:
        steps = (f"{'L' if k and path[k - 1] else 'M'}{place[0]} {place[1]}" for k, place in enumerate(path) if place)
        yield _tag("path", d="".join(steps), fill="none", opacity=faint, **_stroke(trace["line"]))
    if "markers" in trace["mode"]:
        marker = trace["marker"]
        given = marker.get("symbol", "circle"), marker["size"]
        each = (value if isinstance(value, list | tuple) else [value] * len(marks) for value in given)
        outlines = {"": "", "none": ""}
        for place, symbol, size in zip(marks, *each, strict=False):
            outlines["none" * symbol.endswith("-open")] += _outline(symbol, *place, size / 2) if place else ""
        for fill, d in outlines.items():
            yield _tag("path", d=d, fill=fill or marker["color"], stroke=marker["color"], opacity=faint) if d else ""


def _outline(symbol: str, x: float, y: float, r: float) -> str:
    count, angle = _CORNERS.get(symbol.removesuffix("-open"), (0, 0))
    if not count:
        return f"M{x - r:.1f} {y}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z"
    turns = (math.radians(angle + 360 * k / count) for k in range(count))
    return f"M{'L'.join(f'{x + 1.2 * r * math.cos(t):.1f} {y + 1.2 * r * math.sin(t):.1f}' for t in turns)}z"


def _stroke(line: Mapping) -> dict[str, Any]:
    dash = _DASHES.get(line.get("dash", ""))
    return {"stroke": line.get("color"), "stroke_width": line.get("width"), "stroke_dasharray": dash}


def _tag(name: str, content: str = "", **look: Any) -> str:
    given = (f'{key.replace("_", "-")}="{escape(str(value))}"' for key, value in look.items() if value is not None)
    return f"<{' '.join((name, *given))}>{content}</{name}>"


def _text(
    text: str, x: float, y: float, xanchor: str, yanchor: str = "middle", *, colour: str = theme.INK, size: int = 12,
    turned: float = 0, opacity: float | None = None,
) -> str:  # fmt: skip
    """Plotly's little HTML as lines of text; whatever else it holds stays text."""
    lines = [escape(unescape(re.sub(r"</?b>", "", line))) for line in text.split("<br>")]
    first = y + {"top": 11, "middle": 4 - _LINE * (len(lines) - 1) / 2}.get(yanchor, -4 - _LINE * (len(lines) - 1))
    look = {"fill": colour, "text_anchor": {"left": "start", "right": "end"}.get(xanchor, "middle"), "opacity": opacity}
    look |= {"font_size": size if size != 12 else None, "font_weight": 600 if "<b>" in text else None}
    look |= {"transform": f"rotate({turned:.1f} {x:.1f} {y:.1f})" if turned else None}
    spans = (_tag("tspan", line, x=round(x, 1), y=round(first + _LINE * k, 1)) for k, line in enumerate(lines))
    return _tag("text", "".join(spans), **look)
