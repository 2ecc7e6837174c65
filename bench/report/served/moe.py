"""A mixture of experts: how many of them a step touches, and what that takes."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame
from bench.report.served import drawn
from bench.roofline import Roofline

TITLE = "A mixture of experts"
QUESTION = "How many experts does a step really read, and how does its time follow them?"
EXPECTED = "expected of uniform routing"


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    seen = experts(rows)
    groups = {f"{routing} routing": part for routing, part in seen.groupby("routing", sort=False)}
    yield (
        "Time", "The routed experts of one layer; router, gather and weighted sum are not in it.",
        drawn.sweep(groups, "tokens", "seconds", drawn.SECONDS, "Tokens in the step"),
    )  # fmt: skip
    if groups:
        some = seen.drop_duplicates("tokens")
        groups = groups | {EXPECTED: some.assign(distinct=some["expected"], validity="valid").drop(columns="params")}
    caption = "Dotted: E (1 − (1 − k/E)^T), what independent and uniform routing expects."
    yield (
        "Experts touched", caption,
        drawn.sweep(
            groups, "tokens", "distinct", drawn.COUNT, "Tokens in the step", "Distinct experts", dashed=[EXPECTED]
        ),
    )  # fmt: skip


def experts(rows: pd.DataFrame) -> pd.DataFrame:
    """The measured steps, with `tokens`, `experts`, `active`, `distinct`, `routing`, `expected` and `fullest`."""
    seen = drawn.numbered(frame.sound(rows, "moe"), "tokens", "experts", "active", "distinct")
    expected = seen["experts"] * (1 - (1 - seen["active"] / seen["experts"]) ** seen["tokens"])
    fullest = [_whole(notes.get("fullest")) for notes in seen["notes"]]
    return seen.assign(routing=list(map(str, frame.param(seen, "routing"))), expected=expected, fullest=fullest)


def _whole(text: str | None) -> float:
    return float(text) if text and text.isdigit() else float("nan")


def words(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    seen = experts(rows)
    if seen.empty:
        return
    most = seen.loc[seen["experts"].idxmax()]
    yield f"{most['experts']:.0f} experts, of which a token takes {most['active']:.0f}."
    uniform, skewed = (seen[seen["routing"] == routing] for routing in ("uniform", "skewed"))
    if len(uniform) > 1:
        first, last = uniform.loc[uniform["tokens"].idxmin()], uniform.loc[uniform["tokens"].idxmax()]
        yield (
            f"From {first['tokens']:.0f} to {last['tokens']:.0f} tokens a step touches {first['distinct']:.0f} to"
            f" {last['distinct']:.0f} experts and takes {units.seconds(first['seconds'])} to"
            f" {units.seconds(last['seconds'])}."
        )
    off = ((uniform["distinct"] / uniform["expected"]) - 1).abs() if len(uniform) else uniform["distinct"]
    if len(off):
        yield f"The number touched is within {units.percent(off.max(), 2)} of the expected one."
    both = drawn.ratio(skewed, uniform, ("tokens",))
    if len(both):
        worst = both.loc[both["tokens"].idxmax()]
        partner = uniform[uniform["tokens"] == worst["tokens"]].iloc[0]
        text = (
            f"Skewed routing of {worst['tokens']:.0f} tokens touches {worst['distinct']:.0f} experts, uniform"
            f" {partner['distinct']:.0f}, and takes {units.digits(1 / worst['times'])} times as long"
        )
        if frame.has(worst["fullest"]) and frame.has(partner["fullest"]):
            text += f"; its fullest expert has {worst['fullest']:.0f} rows, the other's {partner['fullest']:.0f}"
        yield f"{text}."
    methods = list(dict.fromkeys(notes["method"] for notes in seen["notes"] if "method" in notes))
    if methods:
        yield f"Method: {'; '.join(methods)}."
