"""A mixture of experts: how many of them a step touches, and what that takes."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.served import drawn
from bench.report.words import many
from bench.roofline import Roofline

TITLE = "A mixture of experts"
QUESTION = "How many experts does a step really read, and how does its time follow them?"
EXPECTED = "expected of uniform routing"
_UNIFORM = "uniform routing"  # its colour is what is expected of it


def figures(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[tuple[str, str, go.Figure | None]]:
    seen = experts(rows)
    groups = {f"{routing} routing": part for routing, part in seen.groupby("routing", sort=False)}
    yield (
        "Time", "The routed experts of one layer; router, gather and weighted sum are not in it.",
        drawn.sweep(groups, "tokens", "seconds", drawn.SECONDS, "Tokens in the step"),
    )  # fmt: skip
    touched = {name: part for name, part in groups.items() if name == _UNIFORM}
    if groups:
        some = seen.drop_duplicates("tokens")
        touched[EXPECTED] = some.assign(distinct=some["expected"], validity="valid").drop(columns="params")
    touched |= groups
    yield (
        "Experts touched", "Dotted: E (1 − (1 − k/E)^T), what independent and uniform routing expects.",
        drawn.sweep(
            touched, "tokens", "distinct", drawn.COUNT, "Tokens in the step", "Distinct experts", dashed=[EXPECTED]
        ),
    )  # fmt: skip
    yield (
        "Share of the roof", "Bytes of the experts that were really touched.",
        drawn.sweep(groups, "tokens", "share", drawn.PERCENT, "Tokens in the step", even="the roof"),
    )  # fmt: skip


def experts(rows: pd.DataFrame) -> pd.DataFrame:
    """The measured steps, with `tokens`, `experts`, `active`, `distinct`, `routing`, `expected` and `fullest`."""
    seen = drawn.numbered(frame.sound(rows, "moe"), "tokens", "experts", "active", "distinct")
    seen = seen[seen["active"] <= seen["experts"]]
    expected = seen["experts"] * (1 - (1 - seen["active"] / seen["experts"]) ** seen["tokens"])
    fullest = [drawn.amount(notes.get("fullest")) for notes in seen["notes"]]
    return seen.assign(routing=list(map(str, frame.param(seen, "routing"))), expected=expected, fullest=fullest)


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
    if len(uniform):
        off = ((uniform["distinct"] / uniform["expected"]) - 1).abs()
        yield f"Under uniform routing the number touched is within {units.percent(off.max(), 2)} of the expected one."
    yield from _skew(skewed, uniform)
    rated = seen[seen["share"].notna()]
    if len(rated):
        low, high = rated.loc[rated["share"].idxmin()], rated.loc[rated["share"].idxmax()]
        yield (
            f"Of the roof that binds it reaches {_reached(low)} to {_reached(high)}."
            if len(rated) > 1
            else f"It reaches {units.percent(high['share'])} of {names.limiter(high['limiter'])}."
        )
    if how := drawn.methods(seen):
        yield f"Method: {'; '.join(how)}."


def _reached(row: pd.Series) -> str:
    what = f"{many(round(row['tokens']), 'token')}, {names.limiter(row['limiter'])}"
    return f"{units.percent(row['share'])} ({what})"


def _skew(skewed: pd.DataFrame, uniform: pd.DataFrame) -> Iterator[str]:
    """Where the two touch the most different numbers of experts, and where most tokens crowd into one."""
    both = drawn.ratio(skewed, uniform, ("tokens", "experts", "active"))
    if both.empty:
        return
    partners = uniform.drop_duplicates(["tokens", "experts", "active"])
    others = partners.set_index(["tokens", "experts", "active"])[["distinct", "fullest"]].add_suffix("_uniform")
    both = both.join(others, on=["tokens", "experts", "active"])
    # with many tokens either touches all
    fewest = both.loc[(both["distinct"] / both["distinct_uniform"]).idxmin()]
    yield (
        f"Skewed routing of {fewest['tokens']:.0f} tokens touches {fewest['distinct']:.0f} experts, uniform"
        f" {fewest['distinct_uniform']:.0f}, and takes {units.digits(1 / fewest['times'])} times as long."
    )
    most = both.loc[both["tokens"].idxmax()]
    if frame.has(most["fullest"]) and frame.has(most["fullest_uniform"]):
        yield (
            f"Of {most['tokens']:.0f} tokens its fullest expert has {most['fullest']:.0f} rows, uniform routing's"
            f" {most['fullest_uniform']:.0f}, and it takes {units.digits(1 / most['times'])} times as long."
        )
