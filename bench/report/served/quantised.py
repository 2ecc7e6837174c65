"""Narrow weights: what a product with them takes beside the same product unquantised."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame
from bench.report.served import drawn
from bench.report.words import listed, many
from bench.roofline import Roofline

TITLE = "Narrow weights"
QUESTION = "From which batch on do INT8, FP8 or INT4 weights pay here, and how much?"


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    seen = gains(rows)
    groups = dict(iter(seen.groupby("what", sort=False)))
    caption = "Time of the unquantised product over that of the narrow one, at the same batch and shape."
    yield "", caption, drawn.sweep(groups, "batch", "times", drawn.TIMES, "Rows (batch)", even="as fast as unquantised")


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """The narrow products, with `batch`, `what` they are, `times` as fast as unquantised, and `lighter` in bytes."""
    seen = drawn.numbered(frame.sound(rows, "quantised"), "batch", "n", "k")
    plain = [params.get("quantised") == "unquantised" for params in seen["params"]]
    base = seen[plain] if len(seen) else seen
    found = drawn.ratio(seen[[not each for each in plain]] if len(seen) else seen, base, ("batch", "n", "k"))
    what = [
        f"{_format(params)} {'weights' if params.get('quantised') == 'weights' else 'weights and activations'}"
        for params in found["params"]
    ]
    return found.assign(what=what, lighter=pd.Series(drawn.lighter(found), index=found.index, dtype=float))


def _format(params) -> str:
    return str(params.get("weights", "")).split("-")[0].upper()


def words(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    seen = gains(rows)
    for what, part in seen.groupby("what", sort=False):
        small, best = part.loc[part["batch"].idxmin()], part.loc[part["times"].idxmax()]
        text = f"With {what} a product {drawn.faster(small['times'])} unquantised at" + (
            f" {many(round(small['batch']), 'row')}"
            + (f", where the bytes alone would give {units.digits(small['lighter'])}" if small["lighter"] > 0 else "")
        )
        own, plain = small["share"], small["share_base"]
        if frame.has(own) and frame.has(plain) and max(own, plain) > 1.1 * min(own, plain):
            text += f" ({units.percent(own)} of its roof, the unquantised {units.percent(plain)})"
        if best["batch"] != small["batch"]:
            text += f"; best at {best['batch']:.0f}, {units.digits(best['times'])} times the unquantised speed"
        slow = part[part["times"] < 0.97]
        if len(slow) == len(part):
            text += "; it pays nowhere"
        elif len(slow):
            text += f"; slower than unquantised at {listed([f'{b:.0f}' for b in sorted(slow['batch'])])} rows"
        yield f"{text}."
    methods = dict.fromkeys(
        (what, notes["method"]) for what, notes in zip(seen["what"], seen["notes"], strict=True) if "method" in notes
    )
    if methods:
        yield (
            "A serving engine's kernels may be faster than these: "
            f"{listed([f'{method} for {what}' for what, method in methods])}."
        )
