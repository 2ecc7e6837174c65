"""The latency of a dependent load over its working set, and the plateau of each memory level."""

from functools import partial

from bench import units
from bench.analysis import names, tidy
from bench.analysis.levels import Plateau, chases, levels, plateaus
from bench.report.phrases import listed
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, RunView, Sentences, plot

GROUP = "Latency and launches"


def findings(view: RunView) -> Sentences:
    seen, found = chases(view.rows), plateaus(view.rows, view.fit.info)
    if not found:
        if len(seen):
            yield "No working set lies far enough inside a level to name its plateau."
        return
    first, last, largest = found[0], found[-1], seen.iloc[-1]
    yield f"A dependent load takes {', '.join(f'{units.seconds(p.seconds)} in {_level(p)}' for p in found)}."
    if len(found) > 1:
        yield f"From {_level(first)} to {_level(last)} latency grows {units.digits(last.seconds / first.seconds)}-fold."
    if last.level.name == "dram" and largest["load"] > 1.15 * last.seconds:
        load = f"The largest set, {units.size(largest['size'])}, takes {units.seconds(largest['load'])}"
        yield f"{load}: address translation (TLB) misses too."


def notes(view: RunView) -> Sentences:
    found = plateaus(view.rows, view.fit.info)
    if cycles := [f"{_level(plateau)} {plateau.cycles:.0f}" for plateau in found if plateau.cycles]:
        yield f"In clock cycles: {listed(cycles)}."


def _level(plateau: Plateau) -> str:
    return names.channel(plateau.level.name)


def plots(view: RunView) -> Plots:
    """Time per load over the working set, with the caches and each level's plateau."""
    seen, info = chases(view.rows), view.fit.info
    if seen.empty:
        return
    hover = [
        f"<b>{units.size(row.size)}</b><br>{units.seconds(row.load)} a load<br>{row.validity}"
        + (f"<br>{row.load * row.clock_hz:.0f} cycles at {units.hertz(row.clock_hz)}" if row.clock_hz > 0 else "")
        for row in tidy.each(seen)
    ]
    traces = [sweep.curve("one load", seen, "size", "load", 0, hover=hover)]
    times = partial(theme.log_axis, "Time per load", text=partial(units.seconds, significant=1))
    fig = sweep.figure(traces, partial(theme.size_axis, "Working set of the chase"), times)
    for level in levels(info)[:-1]:
        at_least = "≥ " if level.at_least else ""
        sweep.boundary(fig, level.bytes, f"{names.channel(level.name)} {at_least}{units.size(level.bytes)}")
    below = seen["size"].min()
    for index, plateau in enumerate(plateaus(seen, info)):
        end = min(plateau.level.bytes, seen["size"].max())
        look = {"color": theme.MEMORY, "width": 1.6, "dash": "dash"}
        about = {"name": "plateau", "legendgroup": "plateau", "showlegend": not index, "hoverinfo": "skip"}
        fig.add_trace(theme.scatter(x=[below, end], y=[plateau.seconds] * 2, mode="lines", line=look, **about))
        cycles = f", {plateau.cycles:.0f} cycles" if plateau.cycles else ""
        text = f"<b>{_level(plateau)} {units.seconds(plateau.seconds)}{cycles}</b>"
        look = {"xanchor": "center", "yshift": 4, "font": {"size": 12, "color": theme.MEMORY}, "name": "level label"}
        fig.add_annotation(theme.note(text, theme.log((below * end) ** 0.5), theme.log(plateau.seconds), **look))
        below = end
    caption = "One thread follows a random cycle over 128-byte lines. Dashed: median far inside a level. ≥: at least."
    yield from plot("latency-0", "Latency over the working set", fig.made(), caption)
