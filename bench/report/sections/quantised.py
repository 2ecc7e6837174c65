"""Quantised weights: what a product with them takes beside the same product unquantised."""

import pandas as pd

from bench import units
from bench.analysis import tidy
from bench.analysis import transformer_cases as cases
from bench.analysis.rows import LOSS, methods, texts
from bench.report.phrases import listed, many
from bench.report.plots import sweep
from bench.report.sections import Plots, RunView, Sentences, lines

GROUP = "GEMM"


def gains(view: RunView) -> pd.DataFrame:
    """The quantised products beside unquantised ones, with `what` they are: "INT4 weights"."""
    seen = texts(cases.quantised(view.rows), "weights", "quantised")
    both = ["" if kind == "weights" else " and activations" for kind in seen["quantised"]]
    what = [f"{name.split('-')[0].upper()} weights{more}" for name, more in zip(seen["weights"], both, strict=True)]
    return seen.assign(what=what)


def plots(view: RunView) -> Plots:
    groups, axes = dict(iter(gains(view).groupby("what", sort=False))), ("batch", "times", sweep.TIMES, "Rows (batch)")
    caption = "Time of the unquantised product over that of the quantised one, at the same batch and shape."
    yield from lines("quantised-speedup", "Speedup", caption, groups, *axes, even="as fast as unquantised")


def findings(view: RunView) -> Sentences:
    """The largest gain first, then what pays at no batch."""
    seen, said = gains(view), []
    small = seen.loc[seen.groupby("what")["batch"].idxmin()].sort_values("times", ascending=False)
    for row in tidy.each(small):
        ideal = f" (bytes alone: {units.digits(row.lighter)})" if row.lighter > 0 else ""
        at = many(round(row.batch), "row")
        said.append(f"With {row.what} a product {sweep.faster(row.times)} unquantised at {at}{ideal}.")
    yield from said[:1]
    most = seen.groupby("what", sort=False)["times"].max()
    if nowhere := list(most.index[most < LOSS]):
        yield f"Slower than unquantised at every batch: {listed(nowhere, 2)}."
    yield from said[1:]


def notes(view: RunView) -> Sentences:
    for what, part in gains(view).groupby("what", sort=False):
        small, best = part.loc[part["batch"].idxmin()], part.loc[part["times"].idxmax()]
        slow = [f"{batch:,.0f}" for batch in sorted(part.loc[part["times"] < LOSS, "batch"])]
        text = f"{what}: best at {many(round(best['batch']), 'row')}, {units.digits(best['times'])} times"
        yield text + (f"; slower than unquantised at {listed(slow, 4)}." if slow else ".")
        own, plain = small["share"], small["share_base"]
        if tidy.has(own) and tidy.has(plain) and max(own, plain) > 1.1 * min(own, plain):
            at = many(round(small["batch"]), "row")
            yield f"{what} at {at}: {units.percent(own)} of the roof, unquantised {units.percent(plain)}."
        yield from (f"{what}: {method}; a serving engine's kernel may be faster." for method in methods(part))
