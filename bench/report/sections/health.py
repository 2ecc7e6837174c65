"""GPU health: the verdict's reasons in sentences with what to do next, and one table of how every GPU ran.

Throttle times and errors are differences of counters, so nothing between two readings is missed; power, clocks and
temperature are polled while a case runs, so they say nothing of the pauses. What was not read is named with its reason.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import plotly.graph_objects as go

from bench import units
from bench.analysis import reasons as why
from bench.analysis.counters import Reading, readings
from bench.analysis.datasheet import datasheet
from bench.analysis.health import NOT_JUDGED, PASS
from bench.analysis.reasons import FAIL, WARN, Reason
from bench.analysis.siblings import siblings
from bench.analysis.telemetry import DeviceTelemetry, telemetry
from bench.report import names
from bench.report.document import Column, Finding, Section, Table, Verdict, has, table
from bench.report.phrases import listed, many, plain, sentence, signed
from bench.report.plots import theme
from bench.report.sections import RunView, plot
from bench.schema import SUSTAINED

# Cause -> what it says of a device, and what to do about it. {0}: the driver's or the record's own words.
_CAUSES = {
    why.NOT_MEASURABLE: ("not measurable: {0}", "look for Xid errors in `dmesg`; reset or drain it; repeat"),
    why.LOST: ("lost: {0}", "look for Xid errors in `dmesg`; reset or drain it"),
    why.MEMORY_ERRORS: ("{1:.0f} uncorrectable memory errors", "run `nvidia-smi -q -d ECC`; drain it"),
    why.CORRECTED_ERRORS: ("{1:.0f} corrected memory errors", "run `nvidia-smi -q -d ECC`; drain it where they grow"),
    why.ROW_REMAP: ("row remap {0}", "run `nvidia-smi -q -d ROW_REMAPPER`; reset it, drain it if that fails"),
    why.PCIE: (
        "{1:.0f} of {2:.0f} PCIe lanes",
        "reseat the card or cable; check `nvidia-smi --query-gpu=pcie.link.width.current --format=csv`",
    ),
    why.NVLINK: ("{1:.0f} of {2:.0f} NVLinks up", "check `nvidia-smi nvlink -s` and its error counters"),
    why.OTHERS: ("other processes computed on it ({0})", "end them and repeat: `nvidia-smi pmon -c 1`"),
    why.THROTTLED: ("slowed by {0}", "check cooling and power: `nvidia-smi -q -d PERFORMANCE`"),
    why.POWER_LIMIT: ("the power limit held the clock", "run `nvidia-smi -q -d POWER`; compare with its peers"),
    why.CLOCK_SETTING: ("{0}", "run `nvidia-smi -q -d CLOCK`; `nvidia-smi -rgc` frees the clock"),
    why.CLOCK: ("the clock was low, nothing says why", "run `nvidia-smi -q -d CLOCK,PERFORMANCE` under load"),
    why.DATASHEET: ("", "compare with its peers: `python -m bench compare OTHER THIS`"),
    why.SPREAD: ("", "compare settings and topology: `nvidia-smi -q -d CLOCK,POWER`, `nvidia-smi topo -m`"),
}
# Beginning of what made a device not measurable -> what to do first.
_UNMEASURABLE = {
    "other processes": _CAUSES[why.OTHERS][1],
    "hardware thermal": "cool it first, then look for Xid errors in `dmesg`; reset or drain it",
    "heat": "cool it first, then look for Xid errors in `dmesg`; reset or drain it",
}
# What a slow roof belongs to -> what to check. {0}: the same probe again.
_SLOW = {
    "memory": "check ECC and row remaps: `nvidia-smi -q -d ECC,ROW_REMAPPER`; repeat alone: `{0}`; drain if confirmed",
    "compute": "check clocks and power: `nvidia-smi -q -d CLOCK,PERFORMANCE`; repeat alone: `{0}`; drain if confirmed",
    "host": "check PCIe lanes and sockets: `nvidia-smi topo -m`; repeat alone: `{0}`",
    "link": "check `nvidia-smi nvlink -s` and `nvidia-smi topo -m`; repeat with all GPUs: `{0}`",
    "cpu": "look for other processes and the clock's governor; repeat: `{0}`",
}
_FAMILIES = {"dram": "memory", "h2d": "host", "d2h": "host", "duplex": "host", "link": "link"}
_HELD = (why.THROTTLED, why.POWER_LIMIT, why.CLOCK_SETTING, why.CLOCK)
_BROKEN = (why.LOST, why.NOT_MEASURABLE, why.MEMORY_ERRORS, why.ROW_REMAP, why.THROTTLED)


def verdict(view: RunView) -> Verdict:
    """GPU health in a line: the gravest reason, or what it was judged by."""
    node = view.health
    what = "GPU health" if any(each.info.sms for each in node.devices) else "Device health"
    word = node.status
    if node.status in (NOT_JUDGED, PASS):
        return Verdict(what, node.status, word, (_unjudged if node.status == NOT_JUDGED else _judged)(view))
    bad = [each.info.id for each in node.devices if each.status == node.status]
    bad += [each.device for each in node.absent if each.status == node.status]
    named = view.several or node.absent
    which = listed([_name(each, view) for each in bad], 3) if named else ""
    lead = node.reasons[0]
    alike = [each for each in node.reasons if (each.device, each.cause) == (lead.device, lead.cause)]
    return Verdict(what, node.status, word, which or sentence(_briefly(_led(alike, view)[0])))


def broken(reason: Reason) -> bool:
    """What no repetition on an idle machine cures: a lost or hot device, bad memory."""
    return reason.cause in _BROKEN and not reason.key and not reason.detail.startswith("other processes")


def _unjudged(view: RunView) -> str:
    """Why nothing could be judged."""
    if any(each.references for each in view.health.devices):
        return "the measurements are not usable"
    if not any(each.roofs or each.cases for each in view.health.devices):
        return "nothing was measured"
    known = any(datasheet(fit.info) for fit in view.fits)
    lacks = "no DRAM or GEMM roof was measured that could be compared with the datasheet"
    return f"{lacks if known else 'no datasheet'}, no sibling and no baseline to judge by"


def _judged(view: RunView) -> str:
    """ "nothing is slow: DRAM and GEMM by its datasheet, every shared roof by its siblings"."""
    by = {each for device in view.health.devices for each in device.references}
    claimed = [each.ours for fit in view.fits for each in why.claims(fit)] if why.DATASHEET in by else []
    kinds = ["DRAM"] * any(roof.key == "dram" for roof in claimed)
    kinds += ["GEMM"] * any(roof.is_compute and roof.method == "library" for roof in claimed)
    said = [f"{listed(kinds)} by its datasheet"] if kinds else []
    others = [each for each in (why.SIBLINGS, why.BASELINE) if each in by]
    said += [f"every shared roof by its {listed(others)}"] if others else []
    return f"nothing is slow: {', '.join(said)}"


def _name(device: str, view: RunView) -> str:
    """One that never opened beside a single other keeps its whole name."""
    return names.device(device) if view.several else plain(device)


def reasons(view: RunView, most: int = 4) -> list[Finding]:
    """A sentence per device and cause, gravest first, each with the next step; the rest as a count."""
    grouped: dict[tuple[str, str], list[Reason]] = {}
    hopeless = {
        reason.device for reason in view.health.reasons if reason.cause == why.NOT_MEASURABLE and not reason.key
    }
    for reason in view.health.reasons:
        if reason.cause == why.THROTTLED and reason.device in hopeless:
            continue  # what could not be measured says why itself
        grouped.setdefault((reason.device, reason.cause), []).append(reason)
    found = [_finding(*_led(group, view), view) for group in grouped.values()]
    if len(found) > most:
        found = [*found[:most], Finding(f"{many(len(found) - most, 'more reason')} in the table of GPU health.")]
    return found


def _led(group: Sequence[Reason], view: RunView) -> tuple[Reason, Sequence[Reason]]:
    """The reason that speaks for a group of one device and cause, its headline roof's if there is one, and the rest."""
    headlines = {"dram", *(fit.info.headline for fit in view.fits)}
    lead = next((each for each in group if each.key in headlines), group[0])
    return lead, [each for each in group if each is not lead]


def _finding(reason: Reason, others: Sequence[Reason], view: RunView) -> Finding:
    absent = all(fit.info.id != reason.device for fit in view.fits)
    who = f"{_name(reason.device, view)}: " if view.several or absent else ""
    text = sentence(f"{who}{_what(reason, others)}")
    return Finding(who[:1] + text[1:] if who else text, reason.status, _next(reason, view))


def _next(reason: Reason, view: RunView) -> str:
    """What to do about it: after its cause, or, of a slow roof, after what else is known of the device."""
    if reason.cause == why.NOT_MEASURABLE:
        words = plain(reason.detail)
        usual = "see why in its section; repeat on an idle GPU" if reason.key else _CAUSES[reason.cause][1]
        return next((step for k, step in _UNMEASURABLE.items() if words.startswith(k)), usual)
    if reason.cause in _CAUSES:
        return _CAUSES[reason.cause][1]
    fit = next((fit for fit in view.fits if fit.info.id == reason.device), view.fit)
    family = "compute" if fit.info.sms else "cpu"
    family = _FAMILIES.get(reason.key, family) if fit.info.sms else family
    for each in view.health.reasons if family in ("memory", "compute") else ():
        # heat is told of a device as a whole and slows what its clock drives
        whole = not each.key and family == "compute"
        if each.device == reason.device and each.cause in _HELD and (whole or each.key == reason.key):
            words, step = _CAUSES[each.cause]
            return f"Likely cause: {words.format(plain(each.detail))}. {sentence(step)}"
    lasting = fit.sustained.roofs if fit.sustained and reason.key not in fit.roofs else fit.roofs
    probe = lasting[reason.key].winner.probe if reason.key in lasting else "peak" if "." in reason.key else "bandwidth"
    chosen = names.selector(reason.device)
    chosen = "auto" if family == "link" and chosen.startswith("cuda:") else chosen
    return _SLOW[family].format(f"python -m bench run --device {chosen} --probes {probe}")


def _what(reason: Reason, others: Sequence[Reason] = ()) -> str:
    """ "DRAM −9.6 % (4.33 against 4.80 TB/s, median of 7)", or what its cause says."""
    if not (reason.key and has(reason.ratio)):
        text = _CAUSES[reason.cause][0].format(plain(reason.detail), reason.value or 0, reason.expected or 0)
        text = plain(reason.detail) if reason.detail.startswith(why.NOTHING) else text
        text = f"{names.roof(reason.key)} {text}" if reason.key else text
        if reason.share and reason.cause != why.NOT_MEASURABLE and "%" not in text:
            text += f" {units.percent(reason.share, 2)} of the time"
        return text + (f"; {many(len(others), 'other roof')} too" if others else "")
    compared, text = _compared(reason), _briefly(reason)
    if reason.cause == why.SPREAD:
        return f"{text} against the faster devices: two groups of devices differ"
    rates = units.between(reason.value, reason.expected, lambda v: units.rate_text(v, reason.key)).replace("–", "/", 1)
    value, _, expected = rates.partition("/")
    if compared:
        source = "the baseline" if reason.cause == why.BASELINE else names.others(reason.n)
        text += f" ({value} against {expected}, {source})"
    else:
        text += f" ({value} of {expected})"
        cause = _CAUSES[reason.cause][0].format(plain(reason.detail))
        text += f": {cause}" if cause else ""
        text += f" {units.percent(reason.share, 2)} of the time" if has(reason.share) and "%" not in cause else ""
    ratios = [each.ratio for each in others if has(each.ratio)]
    if ratios:
        span = sorted({signed(ratio) if compared else units.percent(ratio, 2) for ratio in (min(ratios), max(ratios))})
        text += f"; {many(len(others), 'other roof')} {' to '.join(span)}"
    return text


def _compared(reason: Reason) -> bool:
    return reason.cause in (why.SIBLINGS, why.BASELINE, why.SPREAD)


def _briefly(reason: Reason) -> str:
    """ "DRAM −9.6 %", "BF16 GEMM at 85 % of datasheet", or what its cause says."""
    if not (reason.key and has(reason.ratio)):
        return _what(reason)
    lasting = ", sustained," if reason.detail.startswith(SUSTAINED) else ""
    share = signed(reason.ratio) if _compared(reason) else f"at {units.percent(reason.ratio)} of datasheet"
    return f"{names.roof(reason.key)}{lasting} {share}"


def matrix(view: RunView) -> Table:
    """A row per GPU: every headline roof as percent of its siblings' median, and heat, power and memory errors."""
    ratios = {(row.device, row.key): row.ratio for row in siblings(view.fits).itertuples()}
    measured = {fit.info.id for fit in view.fits if fit.roofs}
    first, *rest = names.HEADLINES
    wanted = dict.fromkeys((first, *(fit.info.headline for fit in view.fits), *rest))
    keys = [key for key in wanted if any((fit.info.id, key) in ratios for fit in view.fits)]
    rows = []
    for each, seen in zip(view.health.devices, _telemetry(view), strict=True):
        bad = {(reason.key, reason.cause): reason.status for reason in each.reasons}
        row: dict[str, Any] = {
            "device": names.device(each.info.id),
            "verdict": each.status,
            "verdict mark": each.status,
        }
        for key in keys:
            row |= {key: ratios.get((each.info.id, key)), f"{key} regime": ""}
            usual = PASS if row[key] else "" if each.info.id in measured else FAIL
            row[f"{key} mark"] = next((s for (k, _), s in bad.items() if k == key), usual)
        for reason in each.reasons:
            if reason.cause == why.SIBLINGS and reason.key in keys and reason.detail == SUSTAINED:
                row |= {reason.key: reason.ratio, f"{reason.key} regime": " sustained"}
        for name, (causes, counters) in _VITALS.items():
            # a simulated counter says what its options planted
            known = any(seen.ever(key) if each.info.simulated else seen.last(key) is not None for key in counters)
            status = next((s for (_, cause), s in bad.items() if cause in causes), PASS if known else "")
            row |= {name: {PASS: "ok", "": ""}.get(status, status), f"{name} mark": status}
        # what no cell shows
        reasons = [each for each in each.reasons if each.cause != why.SIBLINGS or each.key not in keys]
        row["why"] = _briefly(reasons[0]) if reasons else ""
        rows.append(row)
    columns = [Column("GPU", "device")]
    columns += [
        Column(names.roof(key).replace(" vector", ""), key, _percent, f"{key} regime", mark=f"{key} mark", number=True)
        for key in keys
    ]
    columns += [Column(name, name, mark=f"{name} mark") for name in _VITALS]
    columns += [Column("Health", "verdict", str.upper, mark="verdict mark"), Column("Why", "why")]
    return table("matrix", "Every GPU: percent of the median of the others", rows, *columns, folded=False)


def _percent(ratio: float, regime: str) -> str:
    return f"{100 * ratio:.0f}{regime}"


# Column -> its causes, and the counters that tell of them.
_VITALS = {
    "Heat": ((why.THROTTLED,), ("throttled_sw_thermal_s", "throttled_hw_thermal_s")),
    "Power": ((why.POWER_LIMIT, why.CLOCK_SETTING, why.CLOCK), ("throttled_power_cap_s", "power_w")),
    "ECC": ((why.MEMORY_ERRORS, why.CORRECTED_ERRORS, why.ROW_REMAP), ("ecc_double_bit", "ecc_single_bit")),
    "Links": ((why.PCIE, why.NVLINK), ("pcie_width", "nvlinks")),
}


def _telemetry(view: RunView) -> tuple[DeviceTelemetry, ...]:
    return telemetry(view.run, [fit.info for fit in view.fits])


def section(view: RunView) -> Section | None:
    """One table of all GPUs, clock and power of the shown one, and what could not be read."""
    every = _telemetry(view)
    shown = every[view.fits.index(view.fit)]
    caption = (
        "A mark per measurement in the order they ran: the mean of what was polled while it ran, least and most as a"
        " line. Open: suspect. Crosses: invalid."
    )
    found = [Finding(text) for text in (*_ran(shown, view), *_unread(shown))]
    counters = counter_table(every)
    return Section(
        "health",
        "GPU health" if shown.is_gpu or shown.info.sms else "Device health",
        "Was the machine fit to be measured, and did anything slow or disturb it?",
        findings=tuple(found[:3]),
        plots=tuple(plot("health", "Clock and power while measuring", _drawn(shown), caption)),
        tables=(counters,) if counters else (),
        notes=tuple(each.text for each in found[3:]),
    )


def _ran(each: DeviceTelemetry, view: RunView) -> Iterator[str]:
    """What power, clock and heat were, or whose time a CPU's was."""
    if each.info.simulated:
        yield "Nothing was read from a driver: a simulated device counts what its options tell it to."
        return
    if not each.is_gpu:
        yield from _cpu(each)
        return
    if each.is_slice:
        yield "This is a MIG slice, measured as its slice; no datasheet says what a slice reaches."
    for key, what, text, limit in (
        ("power_w", "Power", units.watts, each.last("power_limit_w")),
        ("sm_clock_hz", "SM clock", units.hertz, _number(each.info.facts.get("sm_clock_max_hz"))),
    ):
        if span := each.polled(key):
            share = f", {units.percent(span[1] / limit, 2)} of at most {text(limit)}" if limit else ""
            yield f"{what} {text(span[1])} on average ({units.between(span[0], span[2], text)}{share})."
    if heat := each.polled("temperature_c"):
        yield f"At most {heat[2]:.0f} °C."
    if (held := each.throttled.get("power limit", 0.0)) and each.seconds:
        yield f"The power limit held the clock {units.percent(held / each.seconds, 2)} of the time, as at full load."


def _cpu(each: DeviceTelemetry) -> Iterator[str]:
    alone = DeviceTelemetry(each.info, tuple(m for m in each.measurements if len(m.devices) < 2))
    if not any("busy_s" in reading for reading in alone.readings):
        yield "No counter was read beside the measurements; clocks, power and heat of a CPU are not read."
        return
    own, busy, steal = (alone.gained(key) for key in ("own_s", "busy_s", "steal_s"))
    yield (
        f"This Run took {units.seconds(own)} of CPU time while measuring, other processes"
        f" {units.seconds(max(0.0, busy - own))}, a hypervisor {units.seconds(steal)}."
    )
    yield "Clocks, power and heat of a CPU are not read."


_UNREAD = {
    "power_mean": "mean power",
    "ecc_double_bit": "uncorrectable memory errors",
    "ecc_single_bit": "corrected memory errors",
}


def _unread(each: DeviceTelemetry) -> Iterator[str]:
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
    columns = [Column("quantity", "quantity"), Column("expected", "expected")]
    columns += [Column(names.device(each.info.id), each.info.id, mark=f"{each.info.id} mark") for each in every]
    return table("counters", "What the driver counted and read on every device", rows.values(), *columns)


_UNITS: dict[str, Callable[[Any], str]] = {
    "W": units.watts,
    "Hz": units.hertz,
    "s": lambda value: units.seconds(value) if value else "0 s",
    "J": units.joules,
    "°C": lambda value: f"{value:.0f} °C",
    "": lambda value: f"{value:.0f}" if isinstance(value, float) else plain(str(value)),
}


def _read(found: Reading) -> str:
    """ "mean 640 W, 621–659 W", "25 s, 25 % of the time", "8 of 16"."""
    text = _UNITS[found.unit]
    if found.low is not None:
        return f"mean {text(found.value)}, {units.between(found.low, found.high, text)}"
    share = f", {units.percent(found.share, 2)} of the time" if found.share else ""
    most = (
        f", default {found.most} W" if found.unit == "W" and found.most else f" of {found.most}" if found.most else ""
    )
    return f"{text(found.value)}{most}{share}"


# Validity -> marker, colour and size, so that what is doubtful is seen without colour too.
_LOOKS = {
    "valid": ("circle", theme.SERIES[0], 5),
    "suspect": ("circle-open", theme.MEMORY, 8),
    "invalid": ("x", theme.ALARM, 8),
}


def _drawn(each: DeviceTelemetry) -> go.Figure | None:
    """SM clock above power, a mark per measurement; None where neither was read."""
    panels = [
        ("sm_clock_hz", "SM clock (GHz)", 1e9, _number(each.info.facts.get("sm_clock_max_hz")), "most"),
        ("power_w", "Power (W)", 1.0, each.last("power_limit_w"), "limit"),
    ]
    panels = [panel for panel in panels if any(panel[0] in point.polled for point in each.points)]
    if not panels or each.info.simulated:
        return None
    fig = theme.figure(180 + 130 * len(panels))
    title = "Seconds since the first reading" if each.seconds else "Measurement, in the order they ran"
    places = ((0.56, 1.0), (0.0, 0.44)) if len(panels) > 1 else ((0.0, 1.0),)
    shown: set[str] = set()
    for index, (key, label, scale, limit, word) in enumerate(panels):
        axis = "y2" if index else "y"
        points = [point for point in each.points if key in point.polled]
        most = max([point.polled[key][2] for point in points] + ([limit] if limit else [])) / scale
        look = theme.axis(label, domain=places[index], range=[0, most * 1.12], anchor="x")
        fig.update_layout(**{f"yaxis{axis[1:]}": look})
        if limit:
            y, line = limit / scale, {"color": theme.MUTED, "width": 1.2, "dash": "dash"}
            fig.add_shape(type="line", xref="paper", x0=0, x1=1, yref=axis, y0=y, y1=y, line=line)
            place = {"xref": "paper", "yref": axis, "xanchor": "right", "name": "level label"}
            fig.add_annotation(theme.note(f"{word} {units.digits(y)}", 1, y, **place))
        for validity in _LOOKS:
            part = [point for point in points if point.validity == validity]
            part = part[:: len(part) // theme.MOST_POINTS + 1]
            if part:
                fig.add_trace(_ranges(part, key, scale, axis, validity))
                fig.add_trace(_means(part, key, scale, axis, validity) | {"showlegend": validity not in shown})
                shown.add(validity)
    fig.update_xaxes(theme.axis(title, anchor="y2" if len(panels) > 1 else "y"))
    return fig.made()


def _ranges(points: Sequence[Any], key: str, scale: float, axis: str, validity: str) -> dict:
    """Least to most of every measurement, pale: hundreds stand side by side."""
    xs = [x for point in points for x in (point.at, point.at, None)]
    ys = [y for point in points for y in (point.polled[key][0] / scale, point.polled[key][2] / scale, None)]
    look = {"mode": "lines", "line": {"color": _LOOKS[validity][1], "width": 1}, "opacity": 0.35}
    return theme.scatter(x=xs, y=ys, yaxis=axis, legendgroup=validity, showlegend=False, hoverinfo="skip", **look)


def _means(points: Sequence[Any], key: str, scale: float, axis: str, validity: str) -> dict:
    symbol, colour, size = _LOOKS[validity]
    ys = [point.polled[key][1] / scale for point in points]
    look = {"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.4, "color": colour}}
    given = {"legendgroup": validity, "mode": "markers", "marker": look, "yaxis": axis}
    return theme.line(validity, [point.at for point in points], ys, colour, [_hover(p) for p in points], **given)


def _hover(point: Any) -> str:
    lines = [f"<b>{theme.safe(point.label[:90])}</b>"]
    for key, text in (("sm_clock_hz", units.hertz), ("power_w", units.watts)):
        if key in point.polled:
            least, mean, most = point.polled[key]
            lines.append(f"{text(mean)} ({units.between(least, most, text)})")
    lines += [f"{point.polled['temperature_c'][2]:.0f} °C"] if "temperature_c" in point.polled else []
    lines += [f"{point.validity}: {theme.safe('; '.join(point.reasons)[:90])}"] if point.validity != "valid" else []
    return "<br>".join(lines)


def _number(text: str | None) -> float | None:
    return float(text) if text and text.replace(".", "", 1).isdigit() else None
