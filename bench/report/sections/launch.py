"""What an empty kernel costs, by the way it is launched."""

from bench import units
from bench.analysis import tidy
from bench.analysis.rows import texts, usable
from bench.report.phrases import listed
from bench.report.plots import rows, sweep, theme
from bench.report.sections import Plots, RunView, Sentences, plot

GROUP = "Latency and launches"
_WAYS = {"synchronous": "waited for", "back to back": "queued back to back", "graph": "in a graph"}


def findings(view: RunView) -> Sentences:
    seen = {row.way: row.seconds for row in tidy.each(texts(usable(view.rows, "launch"), "way"))}
    if parts := [f"{units.seconds(seen[way])} {words}" for way, words in _WAYS.items() if way in seen]:
        yield f"An empty kernel costs {listed(parts)}."
    queued, replayed = seen.get("back to back"), seen.get("graph")
    if queued and replayed and queued > 1.1 * replayed:
        yield f"A graph saves {units.seconds(queued - replayed)} a launch."
        yield f"Without a graph, kernels shorter than {units.seconds(queued)} leave the device idle."


def plots(view: RunView) -> Plots:
    """A row per way of launching, with its interval."""
    seen = texts(usable(view.rows, "launch"), "way")
    if seen.empty:
        return
    micro = 1e6 * seen[["seconds", "low", "high"]]
    symbols = [theme.symbol("circle", validity) for validity in seen["validity"]]
    places = list(zip(micro["seconds"], map(theme.safe, seen["way"]), sweep.hovers(seen), strict=True))
    span = theme.error(micro["seconds"], micro["low"], micro["high"], theme.SERIES[0])
    texted = {"mode": "markers+text", "text": list(map(units.seconds, seen["seconds"])), "textposition": "top right"}
    trace = rows.marks("empty kernel", places, symbols, theme.SERIES[0], error_x=span) | texted
    axis = theme.axis("Time per launch of an empty kernel (µs)", range=[0, micro["high"].max() * 1.25])
    caption = (
        "Whiskers: interval over the repetitions. Synchronous: the host's clock, from the call to the end of the wait."
        " Back to back: the slower of the host that queues and the device that starts. Graph: the device alone."
    )
    drawn = rows.figure(axis, list(seen["way"].unique())[::-1], [trace], showlegend=False)
    yield from plot("launch-0", "Time of an empty kernel", drawn, caption)
