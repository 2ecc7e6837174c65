"""How the GPU fared while it was measured: SM clock above power, a mark per measurement, in the order they ran."""

import plotly.graph_objects as go

from bench import units
from bench.report.figures import style
from bench.report.health import Health, Point

_PANELS = ((0.56, 1.0), (0.0, 0.44))
# Validity -> marker, colour and size: who stands out is seen without colour too.
_LOOKS = {"valid": ("circle", style.SERIES[0], 5), "suspect": ("circle-open", style.MEMORY, 8)}
_LOOKS |= {"invalid": ("x", style.ALARM, 8)}


def health(each: Health) -> go.Figure | None:
    """None where neither clock nor power was read."""
    panels = [
        panel
        for panel in (
            ("sm_clock_hz", "SM clock (GHz)", 1e9, _number(each.info.facts.get("sm_clock_max_hz")), "most"),
            ("power_w", "Power (W)", 1.0, each.last("power_limit_w"), "limit"),
        )
        if any(panel[0] in point.polled for point in each.points)
    ]
    if not panels or each.info.simulated:
        return None
    fig = style.figure(180 + 130 * len(panels))
    title = "Seconds since the first reading" if each.seconds else "Measurement, in the order they ran"
    places = _PANELS if len(panels) > 1 else ((0.0, 1.0),)
    shown: set[str] = set()
    for index, (key, label, scale, limit, word) in enumerate(panels):
        axis = "y" if index == 0 else "y2"
        points = [point for point in each.points if key in point.polled]
        most = max([point.polled[key][2] for point in points] + ([limit] if limit else [])) / scale
        fig.update_layout(
            **{f"yaxis{axis[1:]}": style.axis(label, domain=places[index], range=[0, most * 1.12], anchor="x")}
        )
        if limit:
            fig.add_shape(
                type="line",
                xref="paper",
                x0=0,
                x1=1,
                yref=axis,
                y0=limit / scale,
                y1=limit / scale,
                line={"color": style.MUTED, "width": 1.2, "dash": "dash"},
            )
            text = f"{word} {units.digits(limit / scale)}"
            fig.add_annotation(
                style.note(
                    text,
                    1,
                    limit / scale,
                    xref="paper",
                    yref=axis,
                    xanchor="right",
                    font={"size": 12, "color": style.MUTED},
                    name="level label",
                )
            )
        for validity in ("valid", "suspect", "invalid"):
            part = [point for point in points if point.validity == validity]
            part = part[:: len(part) // style.MOST_POINTS + 1]
            if part:
                fig.add_trace(_ranges(part, key, scale, axis, validity))
                fig.add_trace(_trace(part, key, scale, axis, validity, validity not in shown))
                shown.add(validity)
    fig.update_xaxes(style.axis(title, anchor="y2" if len(panels) > 1 else "y"))
    return fig.made()


def _ranges(points: list[Point], key: str, scale: float, axis: str, validity: str) -> dict:
    """Least to most of every measurement, pale: hundreds stand side by side."""
    return style.scatter(
        x=[x for point in points for x in (point.at, point.at, None)],
        y=[y for point in points for y in (point.polled[key][0] / scale, point.polled[key][2] / scale, None)],
        yaxis=axis,
        mode="lines",
        legendgroup=validity,
        showlegend=False,
        opacity=0.35,
        line={"color": _LOOKS[validity][1], "width": 1},
        hoverinfo="skip",
    )


def _trace(points: list[Point], key: str, scale: float, axis: str, validity: str, first: bool) -> dict:
    symbol, colour, size = _LOOKS[validity]
    return style.scatter(
        x=[point.at for point in points],
        y=[point.polled[key][1] / scale for point in points],
        yaxis=axis,
        mode="markers",
        name=validity,
        legendgroup=validity,
        showlegend=first,
        marker={"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.4, "color": colour}},
        customdata=[_hover(point) for point in points],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _hover(point: Point) -> str:
    lines = [f"<b>{style.safe(point.label[:90])}</b>"]
    for key, text in (("sm_clock_hz", units.hertz), ("power_w", units.watts)):
        if key in point.polled:
            least, mean, most = point.polled[key]
            lines.append(f"{text(mean)} ({units.between(least, most, text)})")
    if "temperature_c" in point.polled:
        lines.append(f"{point.polled['temperature_c'][2]:.0f} °C")
    lines += [f"{point.validity}: {style.safe('; '.join(point.reasons)[:90])}"] if point.validity != "valid" else []
    return "<br>".join(lines)


def _number(text: str | None) -> float | None:
    return float(text) if text and text.replace(".", "", 1).isdigit() else None
