"""Latency and launches: a dependent load over its working set, and an empty kernel by the way it is launched."""

from functools import cached_property, partial

import pandas as pd

from bench import units
from bench.analysis import names, tidy
from bench.analysis.selections import Plateau, chases, levels, plateaus
from bench.analysis.tidy import texts, usable
from bench.report.phrases import listed
from bench.report.plots import rows, sweep, theme
from bench.report.sections import Plots, ProbeSection, Sentences, plot

_WAYS = {"synchronous": "waited for", "back to back": "queued back to back", "graph": "in a graph"}


class LatencySection(ProbeSection):
    """The latency of a dependent load over its working set, and the plateau of each memory level."""

    probe, group = "latency", "Latency and launches"

    @cached_property
    def seen(self) -> pd.DataFrame:
        return chases(self.rows)

    @cached_property
    def plateaus(self) -> list[Plateau]:
        return plateaus(self.rows, self.fit.info)

    def findings(self) -> Sentences:
        found = self.plateaus
        if not found:
            if len(self.seen):
                yield "No working set lies far enough inside a level to name its plateau."
            return
        first, last, largest = found[0], found[-1], self.seen.iloc[-1]
        yield f"A dependent load takes {', '.join(f'{units.seconds(p.seconds)} in {_level(p)}' for p in found)}."
        if len(found) > 1:
            times = units.digits(last.seconds / first.seconds)
            yield f"From {_level(first)} to {_level(last)} latency grows {times}-fold."
        if last.level.name == "dram" and largest["load"] > 1.15 * last.seconds:
            load = f"The largest set, {units.size(largest['size'])}, takes {units.seconds(largest['load'])}"
            yield f"{load}: address translation (TLB) misses too."

    def notes(self) -> Sentences:
        if cycles := [f"{_level(plateau)} {plateau.cycles:.0f}" for plateau in self.plateaus if plateau.cycles]:
            yield f"In clock cycles: {listed(cycles)}."

    def plots(self) -> Plots:
        """Time per load over the working set, with the caches and each level's plateau."""
        seen = self.seen
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
        for level in levels(self.fit.info)[:-1]:
            at_least = "≥ " if level.at_least else ""
            sweep.boundary(fig, level.bytes, f"{names.channel(level.name)} {at_least}{units.size(level.bytes)}")
        below = seen["size"].min()
        for index, plateau in enumerate(self.plateaus):
            end = min(plateau.level.bytes, seen["size"].max())
            look = {"line": {"color": theme.MEMORY, "width": 1.6, "dash": "dash"}, "mode": "lines", "name": "plateau"}
            look |= {"legendgroup": "plateau", "showlegend": not index, "hoverinfo": "skip"}
            fig.add_trace(theme.scatter(x=[below, end], y=[plateau.seconds] * 2, **look))
            cycles = f", {plateau.cycles:.0f} cycles" if plateau.cycles else ""
            text = f"<b>{_level(plateau)} {units.seconds(plateau.seconds)}{cycles}</b>"
            place = {"xanchor": "center", "yshift": 4, "name": "level label", "colour": theme.MEMORY}
            fig.add_note(text, theme.log((below * end) ** 0.5), theme.log(plateau.seconds), **place)
            below = end
        caption = "One thread follows a random cycle over 128-byte lines."
        caption += " Dashed: median far inside a level. ≥: at least."
        yield from plot("latency-0", "Latency over the working set", fig.made(), caption)


def _level(plateau: Plateau) -> str:
    return names.channel(plateau.level.name)


class LaunchSection(ProbeSection):
    """What an empty kernel costs, by the way it is launched."""

    probe, group = "launch", "Latency and launches"

    @cached_property
    def seen(self) -> pd.DataFrame:
        return texts(usable(self.rows, "launch"), "way")

    def findings(self) -> Sentences:
        seen = {row.way: row.seconds for row in tidy.each(self.seen)}
        if parts := [f"{units.seconds(seen[way])} {words}" for way, words in _WAYS.items() if way in seen]:
            yield f"An empty kernel costs {listed(parts)}."
        queued, replayed = seen.get("back to back"), seen.get("graph")
        if queued and replayed and queued > 1.1 * replayed:
            yield f"A graph saves {units.seconds(queued - replayed)} a launch."
            yield f"Without a graph, kernels shorter than {units.seconds(queued)} leave the device idle."

    def plots(self) -> Plots:
        """A row per way of launching, with its interval."""
        seen = self.seen
        if seen.empty:
            return
        micro, texted = 1e6 * seen[["seconds", "low", "high"]], list(map(units.seconds, seen["seconds"]))
        symbols = [theme.symbol("circle", validity) for validity in seen["validity"]]
        places = list(zip(micro["seconds"], map(theme.safe, seen["way"]), sweep.hovers(seen), strict=True))
        span = theme.error(micro["seconds"], micro["low"], micro["high"], theme.SERIES[0])
        look = {"error_x": span, "mode": "markers+text", "text": texted, "textposition": "top right"}
        trace = rows.marks("empty kernel", places, symbols, theme.SERIES[0], **look)
        axis = theme.axis("Time per launch of an empty kernel (µs)", range=[0, micro["high"].max() * 1.25])
        caption = (
            "Whiskers: interval over the repetitions. Synchronous: the host's clock, from the call to the end of the"
            " wait. Back to back: the slower of the host that queues and the device that starts. Graph: the device"
            " alone."
        )
        drawn = rows.figure(axis, list(seen["way"].unique())[::-1], [trace], showlegend=False)
        yield from plot("launch-0", "Time of an empty kernel", drawn, caption)
