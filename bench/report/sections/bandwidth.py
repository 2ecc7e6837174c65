"""Memory bandwidth over the working set: a plateau per cache level, and the DRAM roof."""

from bench import units
from bench.analysis import names
from bench.analysis.selections import cold_copies, mixes, plain_copy, streams
from bench.report.phrases import listed
from bench.report.plots import sweep
from bench.report.sections import Plots, RunView, Sentences, missing, of_roof, plot, reached, sustained

GROUP = "Memory"


def findings(view: RunView) -> Sentences:
    if dram := view.roof("dram"):
        yield f"DRAM delivers {reached(view, dram)}."
        yield from sustained(view, "dram")
    yield from missing(view, ["dram"])
    inner = [cache.name for cache in view.fit.info.caches]
    if caches := [roof for roof in view.fit.roofline.roofs if roof.key in inner]:
        rates = listed([f"{names.channel(roof.key)} {units.bandwidth(roof.rate)}" for roof in caches])
        times = f", the innermost {units.digits(caches[0].rate / dram.rate, 2)} times DRAM" if dram else ""
        yield f"Cached sets are faster: {rates}{times}."


def notes(view: RunView) -> Sentences:
    fit, dram = view.fit, view.fit.roofs.get("dram")
    if dram and len(found := mixes(dram)) > 1:
        rate, worst = min((rate, mix) for mix, rate in found.items())
        share = of_roof(rate / dram.roof.rate, "dram")
        yield f"Best mix: {dram.winner.params.get('mix')}; slowest: {worst}, {share}."
    yield from missing(view, [cache.name for cache in fit.info.caches])
    yield from _enough(view)
    if share := plain_copy(view.rows):
        why = ": a plain store first fetches the line that it overwrites" if share < 0.97 else ""
        yield f"A copy with plain stores moves {units.percent(share)} of one with streaming stores{why}."
    if fit.roofline.overhead:
        yield f"A launch costs {units.seconds(fit.roofline.overhead)} beyond its bytes; fitted rates leave that out."


def _enough(view: RunView) -> Sentences:
    """How large a cold copy must be before it sees the roof."""
    roof, cold = view.roof("dram"), cold_copies(view.rows)
    if roof is None or len(cold) < 4:
        return
    slow, fastest = cold.loc[cold["byte_rate"] < 0.9 * roof.rate, "bytes"].max(), cold["byte_rate"].max() / roof.rate
    if fastest > 1.1:
        yield f"Smaller cold copies go beyond the DRAM roof, up to {units.percent(fastest)} of it."
        yield "Either the roof was taken at a slower moment, or part of those copies stayed in a cache."
    elif slow != slow:
        yield f"Every cold copy, from {units.size(cold['bytes'].min())} on, comes within 10 % of the DRAM roof."
    elif slow < cold["bytes"].max():
        first = cold.loc[cold["bytes"] > slow, "bytes"].min()
        yield f"A cold copy stays within 10 % of the DRAM roof from {units.size(first)} on."


def plots(view: RunView) -> Plots:
    """Bytes per second over the working set, with the roofs, the claim, and where each cache ends."""
    seen, caches = streams(view.rows), view.fit.info.caches
    if seen.empty:
        return
    # colour and marker say the mix; crosses, plain stores; dots, a hot set
    traces, mixes = [], list(seen["mix"].unique())
    for (cache, mix, plain), part in seen.groupby(["cache", "mix", "plain"], sort=False):
        crossed = plain and cache == "cold"
        look = {"dash": "dot" if cache == "hot" else "solid", "marker": "x" if crossed else ""}
        look["mode"] = "lines+markers" if len(part) > 2 else "markers"
        name, part = f"{cache} {mix}{', plain stores' * crossed}", part.sort_values("bytes")
        traces.append(sweep.curve(name, part, "bytes", "byte_rate", mixes.index(mix), **look))
    # other channels have sections of their own
    levels = {"dram", *(cache.name for cache in caches)}
    roofs = [(names.channel(roof.key), roof) for roof in view.fit.roofline.roofs if roof.key in levels]
    claims = [(names.claim(claim.evidence), claim)] if (claim := view.claim("dram")) else []
    fig = sweep.over_size("Working set or bytes per launch", "Bandwidth (B/s)", traces, roofs, claims)
    for cache in caches:
        sweep.boundary(fig, cache.bytes, f"{names.channel(cache.name)} {units.size(cache.bytes)}")
    caption = "Open: suspect. Cold cases touch more than the last cache holds; hot ones re-read a set in place."
    yield from plot("bandwidth-0", "Bandwidth over the working set", fig.made(), caption)
