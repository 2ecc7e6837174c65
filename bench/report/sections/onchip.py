"""The memory of each multiprocessor, added up and per clock, beside what its data path could do."""

from collections.abc import Iterator

from bench import units
from bench.analysis import names
from bench.analysis.datasheet import at_clock
from bench.analysis.fit import RoofFit
from bench.report.phrases import listed, sentence
from bench.report.plots import rows, theme
from bench.report.sections import Plots, RunView, Sentences, missing, plot, reached
from bench.roofline import Roof

GROUP = "Memory"


def _fitted(view: RunView) -> list[RoofFit]:
    return [view.fit.roofs[channel] for channel in view.fit.info.onchip if channel in view.fit.roofs]


def findings(view: RunView) -> Sentences:
    info, per_clock = view.fit.info, []
    for each in _fitted(view):
        name, clock = names.channel(each.roof.key), each.winner.clock_hz
        yield sentence(f"{name} delivers {reached(view, each.roof)}")
        if clock and info.sms:
            claim, own = at_clock(info, each.roof.key, clock), units.digits(each.roof.rate / clock / info.sms)
            of = f" of {units.digits(claim / clock / info.sms)}" if claim else ""
            per_clock.append(f"{name} {own}{of} B at {units.hertz(clock)}")
    if per_clock:
        yield f"Per clock and multiprocessor: {listed(per_clock)}."


def notes(view: RunView) -> Sentences:
    if (found := _fitted(view)) and not any(each.winner.clock_hz for each in found):
        yield "No clock was read, so bytes per clock are not known."
    yield from missing(view, view.fit.info.onchip)


def plots(view: RunView) -> Plots:
    """A row per memory: measured in a burst and sustained, the claim, and the claim at the clock that was seen."""
    found = [(names.channel(each.roof.key), each) for each in _fitted(view)]
    if not found:
        return
    traces = [
        *rows.claimed(view.theory, found),
        *_at_clock(view, found),
        *rows.sustained(view.fit, found),
        *rows.measured("measured", found, "circle", theme.MEMORY, view.theory),
    ]
    top = max(x for trace in traces for x in trace["x"])
    named = [name for name, _ in found][::-1]
    axis = theme.axis("Bandwidth over all multiprocessors (B/s)", range=[0, top * 1.08], tickformat="~s")
    caption = f"Every block re-reads a tile of its own; rates are sums over {view.fit.info.sms} multiprocessors."
    yield from plot("onchip-0", "Bandwidth inside the multiprocessors", rows.figure(axis, named, traces), caption)


def _at_clock(view: RunView, found: list[rows.Row]) -> Iterator[dict]:
    name, places = "datasheet at the clock seen", []
    for row, each in found:
        if rate := at_clock(view.fit.info, each.roof.key, each.winner.clock_hz):
            text = f"<br>at {units.hertz(each.winner.clock_hz or 0.0)}"
            places.append(rows.place(row, Roof(each.roof.key, rate), name, text))
    if places:
        yield rows.stroke(name, places, 12, theme.MUTED)
