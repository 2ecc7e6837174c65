"""Between host and device: what a launch costs, and how fast bytes cross the link."""

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.report import frame, names
from bench.report.figures import style
from bench.report.figures.sweeps import hovers, level
from bench.report.selections import copies
from bench.roofline import Roofline

_PATHS = ("h2d", "d2h", "duplex")
_MEMORIES = ("pinned", "pageable")


def launch(rows: pd.DataFrame) -> go.Figure | None:
    """A bar per way of launching an empty kernel, with its interval."""
    seen = frame.sound(rows, "launch")
    if seen.empty:
        return None
    ways = [style.safe(way) for way in frame.param(seen, "way")]
    micro = seen[["seconds", "low", "high"]] * 1e6
    fig = style.figure(120 + 30 * len(ways), margin={"l": 60, "r": 16, "t": 20, "b": 48}, showlegend=False)
    fig.update_xaxes(style.axis("Time per launch of an empty kernel (µs)", range=[0, micro["high"].max() * 1.25]))
    fig.update_yaxes(style.axis("", type="category", categoryorder="array", categoryarray=ways[::-1], automargin=True))
    fig.add_trace(
        style.bar(
            x=micro["seconds"],
            y=ways,
            orientation="h",
            width=0.5,
            # a bar that is not sound through and through is hollow, as a marker would be
            marker={
                "color": style.SERIES[0],
                "opacity": [1.0 if validity == "valid" else 0.35 for validity in seen["validity"]],
                "line": {"color": style.SERIES[0], "width": 1.5},
            },
            error_x=style.error(micro["seconds"], micro["low"], micro["high"], style.INK),
            customdata=hovers(seen),
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    for way, seconds, end in zip(ways, seen["seconds"], micro["high"], strict=True):
        # behind the whisker, which would strike it through
        fig.add_annotation(style.note(units.seconds(seconds), end, way, yanchor="middle", xshift=6, name="bar label"))
    return fig.made()


def hostcopy(rows: pd.DataFrame, theory: Roofline | None) -> go.Figure | None:
    """Bytes per second over the size of a copy: colour and marker say the path, the dash the kind of host memory."""
    seen = copies(rows)
    seen = seen[seen["byte_rate"].notna()] if len(seen) else seen
    if seen.empty:
        return None
    claims = [roof for path in ("h2d", "duplex") if theory and (roof := theory.find(path))]
    top = max([*seen["byte_rate"], *(roof.rate for roof in claims)])
    fig = style.figure(420)
    fig.update_xaxes(style.size_axis("Bytes per copy and direction", seen["size"].min() / 2, seen["size"].max() * 2))
    fig.update_yaxes(style.log_axis("Bandwidth (B/s)", max(seen["byte_rate"].min() / 2, top / 1e5), top * 2))
    for roof in claims:
        what = "one way" if roof.key == "h2d" else "both ways"
        level(fig, roof.rate, f"link, {what} {units.bandwidth(roof.rate)}", style.THEORY, "dash", "left")
    for (path, memory), part in seen.groupby(["path", "memory"], sort=False):
        index = _PATHS.index(path) if path in _PATHS else len(_PATHS)
        colour, marker = style.SERIES[index], style.MARKERS[index]
        part = part.sort_values("size")
        fig.add_trace(
            style.line(
                style.safe(f"{names.channel(str(path))}, {memory}"),
                part["size"],
                part["byte_rate"],
                colour,
                hovers(part),
                marker={
                    "symbol": [style.symbol(marker, validity) for validity in part["validity"]],
                    "size": 7,
                    "color": colour,
                },
                line={"color": colour, "width": 1.6, "dash": "solid" if memory == _MEMORIES[0] else "dot"},
            )
        )
    return fig.made()
