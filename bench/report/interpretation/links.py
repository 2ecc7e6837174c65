"""What crosses a link means: all-reduce between ranks, copies and launches from the host."""

from collections.abc import Iterator

import pandas as pd

from bench import stats, units
from bench.analysis.fit import Fit
from bench.analysis.hockney import line
from bench.report import frame, names
from bench.report.figures.allreduce import TAIL, bus_bandwidth
from bench.report.interpretation.claims import of_theory
from bench.report.selections import copies
from bench.report.words import listed
from bench.roofline import Roofline


def allreduce(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    seen = [row for row in frame.each(frame.sound(rows, "allreduce")) if row.params.get("ranks", 1) > 1]
    if not seen:
        return
    rates = {row.Index: bus_bandwidth(row.params["bytes"], row.params["ranks"], row.seconds) for row in seen}
    # of sizes that are equal within noise the largest stands for the plateau
    best = max(
        (row for row in seen if rates[row.Index] >= 0.97 * max(rates.values())), key=lambda row: row.params["bytes"]
    )
    bus = rates[best.Index]
    roof = fit.roofline.find("link")
    if roof:
        share = f"{of_theory('link', bus, theory)}"
    else:
        share = "; no algorithm here claims a link roof" + of_theory("link", bus, theory)
    yield (
        f"{best.params['ranks']} ranks reach a bus bandwidth of {units.bandwidth(bus)} ({best.params.get('algorithm')},"
        f" {units.size(best.params['bytes'])}){share}."
    )
    same = sorted(
        (row.params["bytes"], rates[row.Index])
        for row in seen
        if row.params.get("algorithm") == best.params.get("algorithm")
    )
    half = next((size for size, rate in same if rate >= bus / 2), None)
    if half and half > same[0][0]:
        yield f"Half of it needs arrays of {units.size(half)}."
    yield from _lines(seen)
    small = min(seen, key=lambda row: row.params["bytes"])
    if len(small.samples) >= TAIL:
        p50, p99 = stats.quantile(small.samples, 0.5), stats.quantile(small.samples, 0.99)
        yield (
            f"The smallest, {units.size(small.params['bytes'])} by {small.params.get('algorithm')}, takes"
            f" {units.seconds(p50)} in the median, {units.seconds(p99)} at p99 and {units.seconds(max(small.samples))}"
            f" at worst over {len(small.samples)} samples."
        )


def _lines(seen: list) -> Iterator[str]:
    """Latency and bandwidth per algorithm, by one line through all sizes."""
    for name in dict.fromkeys(row.params.get("algorithm") for row in seen):
        mine = [row for row in seen if row.params.get("algorithm") == name]
        fitted = line([(row.params["bytes"], row.seconds) for row in mine])
        if fitted is None:
            continue
        ranks = mine[0].params["ranks"]
        reach = f"{units.bandwidth(bus_bandwidth(1.0, ranks, 1 / fitted.beta))} of bus bandwidth"
        rough = f", roughly: sizes stray by {units.percent(fitted.misfit, 2)}" if fitted.misfit > 0.1 else ""
        if fitted.alpha > 0:
            text = f"α = {units.seconds(fitted.alpha)} and β = {reach}; half of it from {units.size(fitted.half)} on"
        else:
            text = f"no latency to speak of and β = {reach}"
        yield f"One line through all sizes of {name} gives {text}{rough}."


# What is in the time of a launch, by the way it is made.
_WAYS = {
    "synchronous": "waited for, {} pass from the call to the end of the wait, by the host's clock",
    "back to back": "queued back to back, {} from one to the next, which is the slower of the host that makes them and"
    " the device that starts them",
    "graph": "as nodes of a graph, {} each, which is the device alone",
}


def launch(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    """What an empty kernel costs, and whom each way of launching it times."""
    seen = {row.params.get("way"): row for row in frame.each(frame.sound(rows, "launch"))}
    parts = [_WAYS[way].format(units.seconds(row.seconds)) for way, row in seen.items() if way in _WAYS]
    if parts:
        yield f"An empty kernel costs: {'; '.join(parts)}."
    queued, replayed = seen.get("back to back"), seen.get("graph")
    if queued is not None and replayed is not None and queued.seconds > 1.1 * replayed.seconds:
        yield (
            f"A graph saves {units.seconds(queued.seconds - replayed.seconds)} a launch; kernels shorter than"
            f" {units.seconds(queued.seconds)} leave the device idle without one."
        )


def hostcopy(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    """The host link's bandwidth, what pageable memory costs, from which size on, and the wait for a small copy."""
    streams = copies(rows)
    roofs = [fit.roofline.roof(path) for path in ("h2d", "d2h", "duplex") if path in fit.roofline]
    parts = [
        f"{names.channel(roof.key)} {units.bandwidth(roof.rate)}{of_theory(roof.key, roof.rate, theory)}"
        for roof in roofs
    ]
    if parts:
        yield f"With pinned memory: {'; '.join(parts)}."
    one = [roof.rate for roof in roofs if roof.key != "duplex"]
    both = fit.roofline.find("duplex")
    if both and len(one) == 2:
        yield f"Both ways at once move {units.digits(both.rate / sum(one) * 2)} times what one way moves on average."
    shared = [row for row in frame.each(frame.sound(rows, "hostcopy")) if row.params.get("company")]
    parts = [
        f"{names.channel(roof.key)} {units.bandwidth(row.byte_rate)} ({units.percent(row.byte_rate / roof.rate, 2)})"
        for row in shared
        for roof in roofs
        if roof.key == row.params["path"]
    ]
    if parts:
        yield f"While every device of the node copies at once, this one keeps of that: {'; '.join(parts)}."
    for path in ("h2d", "d2h"):
        fast, slow = (streams[(streams["path"] == path) & (streams["memory"] == m)] for m in ("pinned", "pageable"))
        if len(fast) and len(slow):
            share = slow["byte_rate"].max() / fast["byte_rate"].max()
            yield f"With pageable memory, {names.channel(path)} reaches {units.percent(share)} of that."
    pinned = streams[(streams["memory"] == "pinned") & (streams["path"] == "h2d")]
    if len(pinned) and pinned["byte_rate"].max() > 2 * pinned["byte_rate"].min():
        half = pinned[pinned["byte_rate"] >= pinned["byte_rate"].max() / 2]["size"].min()
        yield f"Half the bandwidth to the device needs copies of {units.size(half)}."
    small = frame.each(frame.sound(rows, "hostcopy", waited=True))
    if small:
        parts = [
            f"{units.seconds(row.seconds)} {names.channel(row.params['path'])} ({row.params['memory']})"
            for row in small
        ]
        yield f"A copy of {units.size(small[0].params['bytes'])} that is waited for takes {listed(parts)}."
