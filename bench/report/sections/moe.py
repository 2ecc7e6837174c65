"""A mixture of experts: how many of them a step touches, and what that takes."""

from bench import units
from bench.analysis import names, tidy
from bench.analysis.rows import ends, methods
from bench.analysis.transformer_cases import experts, skewed
from bench.report.phrases import many
from bench.report.plots import sweep
from bench.report.sections import Plots, RunView, Sentences, lines

GROUP = "GEMM"
EXPECTED = "expected of uniform routing"


def plots(view: RunView) -> Plots:
    seen, x = experts(view.rows), "Tokens in the step"
    groups = {f"{routing} routing": part for routing, part in seen.groupby("routing", sort=False)}
    caption = "The routed experts of one layer; router, gather and weighted sum are not in it."
    yield from lines("moe-time", "Time", caption, groups, "tokens", "seconds", sweep.SECONDS, x)
    expected = seen.drop_duplicates("tokens").assign(validity="valid").drop(columns="params")
    # uniform routing and what is expected of it share a colour
    touched = {name: part for name, part in groups.items() if name == "uniform routing"}
    touched |= {EXPECTED: expected.assign(distinct=expected["expected"])} | groups
    caption = "Dotted: E (1 − (1 − k/E)^T), what independent and uniform routing expects."
    look = {"y_title": "Distinct experts", "dashed": [EXPECTED]}
    yield from lines("moe-experts", "Experts touched", caption, touched, "tokens", "distinct", sweep.COUNT, x, **look)
    caption, y = "Bytes of the experts that were really touched.", ("share", sweep.PERCENT)
    yield from lines("moe-share", "Share of the roof", caption, groups, "tokens", *y, x, even="the roof")


def findings(view: RunView) -> Sentences:
    seen = experts(view.rows)
    if seen.empty:
        return
    most = seen[seen["experts"] == seen["experts"].max()].sort_values("tokens")
    uniform = most[most["routing"] == "uniform"]
    of = f"{most['experts'].iloc[0]:.0f} experts ({most['active'].iloc[0]:.0f} a token)"
    if len(uniform) > 1:
        low, high = uniform.iloc[0], uniform.iloc[-1]
        tokens, touched = (f"{low[name]:,.0f} to {high[name]:,.0f}" for name in ("tokens", "distinct"))
        took = f"{units.seconds(low['seconds'])} to {units.seconds(high['seconds'])}"
        yield f"{tokens} tokens touch {touched} of {of} in {took}."
    else:
        yield f"Measured with {of}."
    both = skewed(view.rows)
    # with many tokens either touches all
    for row in tidy.each(both.assign(part=both["distinct"] / both["distinct_uniform"]).nsmallest(1, "part")):
        counts = f"{row.distinct:.0f} experts, uniform {row.distinct_uniform:.0f}"
        times = units.digits(1 / row.times)
        yield f"Skewed routing of {row.tokens:,.0f} tokens touches {counts}, and takes {times} times as long."
    said = [
        f"{units.percent(row.share)} ({many(round(row.tokens), 'token')}, {names.roof(row.limiter)})"
        for row in tidy.each(ends(seen[seen["share"].notna()].sort_values("share")))
    ]
    if said:
        yield f"It reaches {' to '.join(said)} of the roof that limits it."


def notes(view: RunView) -> Sentences:
    seen, both = experts(view.rows), skewed(view.rows)
    off = (seen["distinct"] / seen["expected"] - 1).abs()[seen["routing"] == "uniform"]
    if len(off):
        yield f"Uniform routing touches a number within {units.percent(off.max(), 2)} of the expected one."
    for row in tidy.each(both.dropna(subset=["fullest", "fullest_uniform"]).nlargest(1, "tokens")):
        counts = f"has {row.fullest:.0f}, under uniform routing {row.fullest_uniform:.0f}"
        times = units.digits(1 / row.times)
        yield f"Of {row.tokens:,.0f} tokens the fullest expert {counts}; that takes {times} times as long."
    yield from (f"Method: {method}." for method in methods(seen))
