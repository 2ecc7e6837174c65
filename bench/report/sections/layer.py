"""One transformer layer: the whole beside the sum of its parts, and where its time goes."""

from collections import Counter

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis import names, tidy
from bench.analysis import transformer_cases as cases
from bench.analysis.rows import ends
from bench.report.phrases import many
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, RunView, Sentences, lines, plot, span

GROUP = "Transformer layer"
REST = "all others"
_PHASES = {"decode": ("batch", "Sequences in the batch"), "prefill": ("tokens", "Tokens of the prompt")}
_MOST = 24  # bars
_SIDES = {-1: "below 1", 1: "above 1"}
# What could explain a whole that is not the sum of its parts; a simulated device has no cache to explain it by.
_WHY = {
    -1: "a part may find its input in the cache, or launches overlap; alone buffers are cold",
    1: "parts may evict each other's data, or the clock falls",
}
_WHY_SIMULATED = {-1: "simulated, a whole is bound once, by memory or arithmetic, and each part by its own"}


def _wholes(view: RunView) -> pd.DataFrame:
    """Whole layers, with `line` and `point` in words."""
    seen = cases.layers(view.rows)
    line, point = (list(map(words, tidy.each(seen))) for words in (_line, _point))
    return seen.assign(line=line, point=point)


def _line(row) -> str:
    ranks = f", 1 of {row.ranks:.0f} ranks" if row.ranks > 1 else ""
    return f"{row.model}{ranks}" + (f", {row.context:,.0f} tokens of context" if row.phase == "decode" else "")


def _point(row) -> str:
    what = f"batch {row.batch:.0f}, {row.context:,.0f} tokens" if row.phase == "decode" else f"{row.tokens:,.0f} tokens"
    return f"{row.model.rsplit('-', 1)[-1]}, {what}"


def plots(view: RunView) -> Plots:
    seen = _wholes(view)
    caption = "Solid: the layer. Dotted, crosses: the sum of its parts, each measured alone on cold buffers."
    for phase, (over, title) in _PHASES.items():
        groups, sums = {}, []
        for line, part in seen[seen["phase"] == phase].groupby("line", sort=False):
            sums.append(f"{line}: its parts")
            groups |= {line: part, sums[-1]: part.assign(seconds=part["parts"]).drop(columns="params")}
        axes, look = (over, "seconds", sweep.SECONDS, title, "Time of one layer"), {"dashed": sums}
        yield from lines(f"layer-{phase}", phase.capitalize(), caption, groups, *axes, **look)
    groups = {f"{line}, {phase}": part for (line, phase), part in seen.groupby(["line", "phase"], sort=False)}
    axes = "tokens", "factor", sweep.FACTOR, "Tokens in the step", "Whole over parts"
    caption = "Time of the whole over the sum of its parts."
    yield from lines("layer-composition", "Composition", caption, groups, *axes, even="sum of the parts")
    drawn = _shares(seen[seen["parts"].notna()])
    yield from plot("layer-parts", "Where a layer's time goes", drawn, "Shares of the sum of its parts.")


def _shares(known: pd.DataFrame) -> go.Figure | None:
    """The points from the smallest to the largest, as many as can be told apart; the smallest parts as one, where
    there are more than colours.
    """
    spent = cases.shares_of_layers(known, _MOST, len(theme.SERIES), REST)
    places, whole = [f"{row.phase} {row.point}" for row in tidy.each(known.loc[spent.index])], spent.sum(axis=1)
    traces = {}
    for name in spent.columns:
        shares, head = spent[name] / whole, f"<b>{theme.safe(name)}</b><br>"
        times = [f"{units.seconds(s)}, {units.percent(share, 2)}" for s, share in zip(spent[name], shares, strict=True)]
        hover = [f"{head}{theme.safe(place)}<br>{time}" for place, time in zip(places, times, strict=True)]
        traces[name] = list(100 * shares), hover
    return sweep.bars(places, traces, "Share of the parts", stacked=True)


def findings(view: RunView) -> Sentences:
    seen = _wholes(view)
    known = seen[seen["parts"].notna()]
    if len(known):
        sides = Counter(filter(None, known["side"]))
        factors = span(known["factor"], units.digits)
        counted = ", ".join([many(len(known), "point"), *(f"{n} clearly {_SIDES[side]}" for side, n in sides.items())])
        yield f"A layer takes {factors} times its parts' sum ({counted})."
    for phase, mine in known.groupby("phase"):
        rows = tidy.each(ends(mine.sort_values("seconds")))
        shares = [units.percent(row.split[row.largest] / row.parts, 2) for row in rows]
        said = [f"{row.largest} {share} ({row.point})" for row, share in zip(rows, shares, strict=True)]
        yield f"{phase.capitalize()}'s largest part: {' to '.join(said)}."


def notes(view: RunView) -> Sentences:
    seen, why = _wholes(view), _WHY_SIMULATED if view.simulated else _WHY
    sides = sorted(seen.loc[seen["parts"].notna(), "side"].unique())
    if sides == [0]:
        yield f"No point is clearly more than {units.percent(cases.CLOSE, 1)} from 1: the parts predict the layer."
    yield from (f"{_SIDES[side].capitalize()}: {why[side]}." for side in sides if side in why)
    rated = seen[seen["share"].notna()].sort_values("share", ascending=False)
    for word, row in zip(("Best", "Worst"), tidy.each(ends(rated)), strict=False):
        yield f"{word}: {units.percent(row.share)} of {names.roof(row.limiter)}, {row.phase} {row.point}."
    if len(rated):
        yield "A layer's roof counts only weights, cache, inputs and outputs."
