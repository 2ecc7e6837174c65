"""Roofs as lines: measured, under lasting load and claimed, those of siblings and of a baseline, and their names.

A line is drawn from where it begins to bind to where it ends, and named where it is: plateaus in the right margin,
slopes along their line; no name lies on another, nor on a roof. All of that depends on what else is shown: this file
says so for what is shown at first, and roofline.js, by the same rules, for what a reader chooses.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench import units
from bench.analysis import names
from bench.analysis.fit import Fit
from bench.analysis.viewport import HEIGHT, Ceiling, Viewport, apart, brief, ceilings, clusters, curve, links, spans
from bench.report.phrases import many, rate_spread
from bench.report.plots import theme
from bench.roofline import Roof, Roofline
from bench.schema import SUSTAINED
from bench.work import RoofKey

SIBLINGS, BASELINE = "siblings", "baseline"
# Sustained over burst nearer to 1 than this is the same line to the eye.
_VISIBLE = 0.02
# (dash, width of a leading roof, of another, opacity of another) by what a line is.
_LOOKS = {"roof": ("solid", 3.5, 1.6, 1), SUSTAINED: ("dot", 2.5, 1.2, 0.6), "datasheet": ("dash", 1.2, 1.2, 0.45)}
# Pixels: a line of text with its gap, a leader.
_LINE, _LEADER = 15, 18
# Characters that the right margin has room for, plain and bold.
_WIDE = (29, 25)
# Levels that one selector shows and hides: both directions of the host link are one question.
_LEVELS = {"h2d": "host", "d2h": "host", "duplex": "host"}


@dataclass(frozen=True)
class Drawn:
    """A trace, what a click on it isolates (group), and the sides by which it is selected ("dtype", "method", "level",
    "regime", "probe"); one without a side is shown whatever is chosen there. kind: its legend entry.
    """

    trace: dict
    group: str
    sides: dict[str, str]
    name = property(lambda self: self.trace["meta"])
    kind = property(lambda self: self.trace["name"])

    def within(self, chosen: Mapping[str, Sequence[str]]) -> bool:
        """Whether a selection (side -> its values; a side left out is free) shows it."""
        return all(self.sides.get(side) in (None, *values) for side, values in chosen.items())


def sides(key: str) -> dict[str, str]:
    """Of a roof, by its key."""
    key = RoofKey(key)
    if not key.is_compute:
        return {"level": level(key)}
    return {"dtype": key.dtype} | ({"method": key.method} if key.method else {})


def level(channel: str) -> str:
    return _LEVELS.get(channel, channel)


@dataclass(frozen=True)
class RoofLine(Ceiling):
    """A roof as it is drawn and labelled. text: its rate; lead: DRAM and the headline; unless: lines of which one that
    is shown makes this one's label needless.
    """

    name: str = ""
    text: str = ""
    lead: bool = False
    unless: tuple[str, ...] = ()


def roofs(fit: Fit, theory: Roofline | None, frame: Viewport) -> Iterator[tuple[Drawn, RoofLine]]:
    """Every roof of the three kinds; what is drawn over another comes later."""
    lasting = fit.sustained.roofline if fit.sustained else None
    for what, roofline in (("roof", fit.roofline), (SUSTAINED, lasting), ("datasheet", theory)):
        memory, compute = ceilings(roofline) if roofline else ((), ())
        for roof in (*memory, *compute, *(links(roofline) if roofline else ())):
            yield _drawn(fit, theory, what, roof, frame)


def _drawn(fit: Fit, theory: Roofline | None, what: str, roof: Roof, frame: Viewport) -> tuple[Drawn, RoofLine]:
    lead = roof.key in fit.leading
    doubt = doubtful(fit, roof.key) if what == "roof" else ""
    kind = "measured, doubtful" if doubt else kinds(theory)[what]
    dash, *widths, faint = _LOOKS[what]
    colour = theme.THEORY if what == "datasheet" else theme.COMPUTE if roof.is_compute else theme.MEMORY
    look = {"mode": "lines", "name": kind, "meta": f"{what} {roof.key}", "opacity": 1 if lead else faint}
    look |= {"line": {"color": colour, "width": widths[not lead], "dash": "dashdot" if doubt else dash}}
    trace = theme.scatter(x=[], y=[], hovertemplate=hovered(_hover(fit, theory, what, roof, doubt)), **look)
    if what == "roof" and roof.high > roof.low:
        # at the first point of the line, a little inside the frame
        at = 1 if roof.is_compute else _inset(roof, frame)
        trace["error_y"] = theme.error(*([brief(at * rate)] for rate in (roof.rate, roof.low, roof.high)), colour)
    burst, unless = fit.roofline.find(roof.key), []
    if what == "datasheet":
        unless = [key for key in fit.roofs if names.quantity(key) == names.quantity(roof.key)]
    elif what == SUSTAINED and burst and not (lead and abs(roof.rate / burst.rate - 1) > _VISIBLE):
        unless = [roof.key]
    text = f"{units.rate_text(roof.rate, roof.key)}{'' if what == 'roof' else f' {what}'}"
    told = theme.safe(names.roof(roof.key)), text, lead and what == "roof", tuple(f"roof {key}" for key in unless)
    line = RoofLine(trace["meta"], roof.key, brief(roof.rate), *told)
    regime = fit.info.regime if what == "roof" else SUSTAINED
    more = {"method": "datasheet"} if what == "datasheet" else {"regime": regime}
    return Drawn(trace, names.quantity(roof.key), sides(roof.key) | more), line


def kinds(theory: Roofline | None) -> dict[str, str]:
    """What each kind of line is called."""
    claim = names.claim(theory.roofs[0].evidence) if theory and theory.roofs else "datasheet"
    return {"roof": "measured roof", SUSTAINED: "sustained roof", "datasheet": claim}


def doubtful(fit: Fit, key: str) -> str:
    """Why a roof is drawn as doubtful, or ""."""
    fitted = fit.roofs[key]
    if fitted.winner.validity != "valid":
        return fitted.winner.validity
    return "" if fitted.roof.n >= 3 else f"only {many(fitted.roof.n, 'repetition')}"


def _hover(fit: Fit, theory: Roofline | None, what: str, roof: Roof, doubt: str) -> Iterator[str]:
    yield f"<b>{theme.safe(names.roof(roof.key))}</b>, {'measured' if what == 'roof' else kinds(theory)[what]}"
    yield units.rate_text(roof.rate, roof.key, 4 if what == "datasheet" else 3)
    if what == "datasheet":
        yield theme.safe(roof.evidence[:90])
        return
    yield rate_spread(roof)
    claim = theory.find(roof.quantity) if theory else None
    of, beside = (fit.roofline.find(roof.key), "burst") if what == SUSTAINED else (claim, kinds(theory)["datasheet"])
    yield f"{units.percent(roof.rate / of.rate)} of {beside}" if of else f"no {beside} value"
    measured, regime = (fit.sustained, SUSTAINED) if what == SUSTAINED else (fit, fit.info.regime)
    clock = measured.roofs[roof.key].winner.clock_hz
    yield f"clock {units.hertz(clock)}, {regime}" if clock else regime
    yield theme.safe(roof.evidence.split(";")[0])
    if doubt:
        yield f"doubtful: {theme.safe(doubt)}"


def hovered(lines: Iterable[str], *own: str) -> str:
    """A hover that is the same all along a trace, but for what is its points' own."""
    # plotly would read %{...} in a text of the machine
    return "<br>".join([*(line.replace("%{", "% {") for line in lines), *own]) + "<extra></extra>"


def stretched(line: RoofLine, span: tuple[float, float], frame: Viewport) -> dict[str, list[float]]:
    """The points of a line: where its interval stands, then from that end to the other."""
    xs = [brief(x) for x in (_inset(line, frame), *(span[::-1] if line.is_compute else span))]
    return {"x": xs, "y": curve(line, xs)}


def _inset(roof: Roof | Ceiling, frame: Viewport) -> float:
    return frame.right * 0.97 if roof.is_compute else frame.left * 1.06


def ghosts(fits: Sequence[Fit], frame: Viewport, probe: str, name: str) -> Iterator[Drawn]:
    """The leading roofs of other devices, as one thin line."""
    xs, ys = [], []
    for fit in fits:
        roofs = [roof for side in ceilings(fit.roofline) for roof in side if roof.key in fit.leading]
        lines = [Ceiling(f"{probe} {roof.key}", roof.key, brief(roof.rate)) for roof in roofs]
        reach = spans(lines, frame)
        for line in (line for line in lines if line.trace in reach):
            xs, ys = [*xs, *map(brief, reach[line.trace]), None], [*ys, *curve(line, reach[line.trace]), None]
    if xs:
        look = {"line": {"color": theme.MUTED, "width": 1 if probe == SIBLINGS else 1.8}, "opacity": 0.5}
        trace = theme.scatter(x=xs, y=ys, mode="lines", name=name, meta=probe, hoverinfo="skip", **look)
        yield Drawn(trace, name, {"probe": probe})


def labels(lines: Sequence[RoofLine], spans: Mapping[str, tuple[float, float]], frame: Viewport) -> Iterator[dict]:
    """Annotations of the lines that are shown; of what is drawn twice (in a burst, sustained, claimed) the first."""
    shown = {line.trace for line in lines}
    kept = [line for line in lines if line.trace in spans and not shown & set(line.unless)]
    flat = sorted((line for line in kept if line.is_compute), key=lambda line: -line.rate)
    texts = [_named(line, "<br>" if len(line.name + line.text) > _WIDE[line.lead] else " ") for line in flat]
    places = [HEIGHT * math.log10(frame.top / line.rate) / frame.decades[1] for line in flat]
    middles = apart(places, [_LINE * (1 + text.count("<br>")) for text in texts])
    look = {"name": "roof name", "yanchor": "middle", "align": "left", "colour": theme.COMPUTE}
    look |= {"showarrow": True, "arrowhead": 0, "arrowwidth": 1, "arrowcolor": theme.MUTED, "ax": _LEADER}
    for line, text, place, middle in zip(flat, texts, places, middles, strict=True):
        leader = round(middle - place, 1)
        yield theme.note(text, theme.log(frame.right), theme.log(line.rate), ay=leader, **look)
    for near in clusters([line for line in kept if not line.is_compute], frame):
        low, high = spans[near[0].trace]
        x, text = low * (high / low) ** 0.58, " · ".join(_named(line, " ") for line in near)
        look = {"name": "slope label", "xanchor": "center", "colour": theme.MEMORY}
        yield theme.note(text, theme.log(x), theme.log(near[0].rate * x), **look)


def _named(line: RoofLine, gap: str) -> str:
    text = f"{line.name}{gap}{line.text}"
    return f"<b>{text}</b>" if line.lead else text
