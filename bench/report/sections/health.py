"""GPU health, the section: how every GPU ran, what its driver counted, and what could not be read.

Throttle times and errors are differences of counters, so nothing between two readings is missed; power, clocks and
temperature are polled while a case runs, so they say nothing of the pauses. What was not read is named with its reason.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from bench import units
from bench.analysis import names
from bench.analysis.health_reasons import WARN
from bench.analysis.telemetry import DeviceTelemetry, DriverReading, PolledPoint, readings
from bench.report.document import Column, Section, Table, table
from bench.report.phrases import listed, plain
from bench.report.plots import theme
from bench.report.sections import RunView, Sentences, plot, verdict

_CAPTION = (
    "A mark per measurement in the order they ran: the mean of what was polled while it ran, least and most as a line."
    " Open: suspect. Crosses: invalid."
)
_QUESTION = "Was the machine fit to be measured, and did anything slow or disturb it?"
_UNREAD = {
    "power_mean": "mean power",
    "ecc_double_bit": "uncorrectable memory errors",
    "ecc_single_bit": "corrected memory errors",
}
_UNITS: dict[str, Callable[[Any], str]] = {
    "W": units.watts,
    "Hz": units.hertz,
    "s": lambda value: units.seconds(value) if value else "0 s",
    "J": units.joules,
    "°C": lambda value: f"{value:.0f} °C",
    "": lambda value: f"{value:.0f}" if isinstance(value, float) else plain(str(value)),
}
# Validity -> marker, colour and size, so that what is doubtful is seen without colour too.
_LOOKS = {
    "valid": ("circle", theme.SERIES[0], 5),
    "suspect": ("circle-open", theme.MEMORY, 8),
    "invalid": ("x", theme.ALARM, 8),
}


def section(view: RunView) -> Section | None:
    """One table of all GPUs, clock and power of the shown one, and what could not be read."""
    shown = view.telemetry[view.fits.index(view.fit)]
    title = verdict.TITLE if shown.is_gpu or shown.info.sms else "Device health"
    plots = plot("health", "Clock and power while measuring", _drawn(shown), _CAPTION)
    further = (each.text for each in verdict.every_reason(view)[verdict.MOST_REASONS :])
    findings = (*_ran(shown), *_unread(shown))
    return Section("health", title, _QUESTION, "", findings, plots, [counter_table(view.telemetry)], further)


def _limits(each: DeviceTelemetry) -> dict[str, float | None]:
    """The highest that each polled quantity may reach, as far as the driver says so."""
    most = each.info.facts.get("sm_clock_max_hz", "")
    clock = float(most) if most.replace(".", "", 1).isdigit() else None
    return {"power_w": each.last("power_limit_w"), "sm_clock_hz": clock}


def _ran(each: DeviceTelemetry) -> Sentences:
    """What power, clock and heat were, or whose time a CPU's was."""
    if each.info.simulated:
        yield "Nothing was read from a driver: a simulated device counts what its options tell it to."
        return
    if not each.is_gpu:
        yield from _cpu(each)
        return
    if each.is_slice:
        yield "This is a MIG slice, measured as its slice; no datasheet says what a slice reaches."
    for key, what, text in (("power_w", "Power", units.watts), ("sm_clock_hz", "SM clock", units.hertz)):
        if span := each.polled(key):
            limit = _limits(each)[key]
            share = f", {units.percent(span[1] / limit, 2)} of at most {text(limit)}" if limit else ""
            yield f"{what} {text(span[1])} on average ({units.between(span[0], span[2], text)}{share})."
    if heat := each.polled("temperature_c"):
        yield f"At most {heat[2]:.0f} °C."
    if (held := each.throttled.get("power limit", 0.0)) and each.seconds:
        yield f"The power limit held the clock {units.percent(held / each.seconds, 2)} of the time, as at full load."


def _cpu(each: DeviceTelemetry) -> Sentences:
    alone = DeviceTelemetry(each.info, tuple(m for m in each.measurements if len(m.devices) < 2))
    if not any("busy_s" in reading for reading in alone.readings):
        yield "No counter was read beside the measurements; clocks, power and heat of a CPU are not read."
        return
    own, busy, steal = (alone.gained(key) for key in ("own_s", "busy_s", "steal_s"))
    others = f"other processes {units.seconds(max(0.0, busy - own))}, a hypervisor {units.seconds(steal)}"
    yield f"This Run took {units.seconds(own)} of CPU time while measuring, {others}."
    yield "Clocks, power and heat of a CPU are not read."


def _unread(each: DeviceTelemetry) -> Sentences:
    for reason, keys in each.absent.items() if each.is_gpu else ():
        # "power_limit_w" is the power limit in watts
        bare = [re.sub(r"_(w|j|hz|c)$", "", key) for key in keys if not key.startswith("throttled")]
        words = [_UNREAD.get(key, key.replace("_", " ").replace("pcie", "PCIe")) for key in bare]
        words += ["throttle times"] * (len(words) < len(keys))
        yield f"Not available ({plain(reason)}): {listed(words)}."


def counter_table(every: Sequence[DeviceTelemetry]) -> Table | None:
    """A row per quantity with what is expected of it, a column per device; None where no driver was asked."""
    if not any(each.is_gpu and not each.info.simulated for each in every):
        return None
    rows: dict[str, dict[str, str]] = {}
    for each in every:
        for found in readings(each, every):
            row = rows.setdefault(found.quantity, {"quantity": found.quantity, "expected": found.expected})
            row |= {each.info.id: _read(found), f"{each.info.id} mark": WARN if found.doubtful else ""}
    columns = [Column(names.device(each.info.id), each.info.id, mark=f"{each.info.id} mark") for each in every]
    caption = "What the driver counted and read on every device"
    return table("counters", caption, rows.values(), "quantity", "expected", *columns)


def _read(found: DriverReading) -> str:
    """ "mean 640 W, 621–659 W", "25 s, 25 % of the time", "8 of 16"."""
    text = _UNITS[found.unit]
    if found.low is not None:
        return f"mean {text(found.value)}, {units.between(found.low, found.high, text)}"
    share = f", {units.percent(found.share, 2)} of the time" if found.share else ""
    most = (f", default {found.most} W" if found.unit == "W" else f" of {found.most}") if found.most else ""
    return f"{text(found.value)}{most}{share}"


def _drawn(each: DeviceTelemetry) -> go.Figure | None:
    """SM clock above power, a mark per measurement; None where neither was read."""
    panels = [("sm_clock_hz", "SM clock (GHz)", 1e9, "most"), ("power_w", "Power (W)", 1.0, "limit")]
    panels = [panel for panel in panels if any(panel[0] in point.polled for point in each.points)]
    if not panels or each.info.simulated:
        return None
    title = "Seconds since the first reading" if each.seconds else "Measurement, in the order they ran"
    fig = theme.figure(180 + 130 * len(panels), theme.axis(title, anchor="y2" if len(panels) > 1 else "y"))
    places = ((0.56, 1.0), (0.0, 0.44)) if len(panels) > 1 else ((0.0, 1.0),)
    shown: set[str] = set()
    for index, (key, label, scale, word) in enumerate(panels):
        axis, limit = "y2" if index else "y", _limits(each)[key]
        points = [point for point in each.points if key in point.polled]
        most = max([point.polled[key][2] for point in points] + ([limit] if limit else [])) / scale
        fig.layout[f"yaxis{axis[1:]}"] = theme.axis(label, domain=places[index], range=[0, most * 1.12], anchor="x")
        if limit:
            y, line = limit / scale, {"color": theme.MUTED, "width": 1.2, "dash": "dash"}
            fig.add_shape(type="line", xref="paper", x0=0, x1=1, yref=axis, y0=y, y1=y, line=line)
            place = {"xref": "paper", "yref": axis, "xanchor": "right", "name": "level label"}
            fig.add_note(f"{word} {units.digits(y)}", 1, y, **place)
        for validity in _LOOKS:
            if part := theme.thinned([point for point in points if point.validity == validity]):
                fig.add_trace(_marks(part, key, scale, axis, validity) | {"showlegend": validity not in shown})
                shown.add(validity)
    return fig.made()


def _marks(points: Sequence[PolledPoint], key: str, scale: float, axis: str, validity: str) -> dict:
    """The mean of every measurement, and least to most as a hairline: hundreds stand side by side."""
    symbol, colour, size = _LOOKS[validity]
    least, mean, most = ([point.polled[key][end] / scale for point in points] for end in range(3))
    look = {"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.4, "color": colour}}
    given = {"legendgroup": validity, "mode": "markers", "marker": look, "yaxis": axis}
    given["error_y"] = theme.error(mean, least, most, colour) | {"width": 0, "thickness": 0.5}
    return theme.line(validity, [point.at for point in points], mean, colour, map(_hover, points), **given)


def _hover(point: PolledPoint) -> str:
    lines = [f"<b>{theme.safe(point.label[:90])}</b>"]
    for key, text in (("sm_clock_hz", units.hertz), ("power_w", units.watts)):
        if key in point.polled:
            least, mean, most = point.polled[key]
            lines.append(f"{text(mean)} ({units.between(least, most, text)})")
    lines += [f"{point.polled['temperature_c'][2]:.0f} °C"] if "temperature_c" in point.polled else []
    lines += [f"{point.validity}: {theme.safe('; '.join(point.reasons)[:90])}"] if point.validity != "valid" else []
    return "<br>".join(lines)
