"""The host link: bandwidth over the size of a copy, from pinned and pageable memory, and the wait for a small one."""

from bench import units
from bench.analysis import names, tidy
from bench.analysis.selections import copies, from_pageable, half_from
from bench.report.phrases import listed
from bench.report.plots import sweep
from bench.report.sections import Plots, RunView, Sentences, plot, reached

GROUP = "Links"
_PATHS = ("h2d", "d2h", "duplex")


def findings(view: RunView) -> Sentences:
    for roof in filter(None, map(view.roof, _PATHS)):
        yield f"{names.channel(roof.key)}, pinned: {reached(view, roof)}."


def notes(view: RunView) -> Sentences:
    roofs, every = {path: view.roof(path) for path in _PATHS}, copies(view.rows)
    if all(roofs.values()):
        one = (roofs["h2d"].rate + roofs["d2h"].rate) / 2
        yield f"Both ways at once move {units.digits(roofs['duplex'].rate / one)} times what one way moves."
    kept = [
        f"{names.channel(roof.key)} {units.bandwidth(row.byte_rate)} ({units.percent(row.byte_rate / roof.rate, 2)})"
        for row in tidy.each(every[every["kind"] == "company"])
        if (roof := roofs.get(row.path))
    ]
    if kept:
        yield f"While every device copies at once, this one keeps {listed(kept)}."
    pageable = from_pageable(every)
    if shares := [f"{units.percent(pageable[at])} {names.channel(at)}" for at in _PATHS if at in pageable]:
        yield f"Of pinned memory's bandwidth pageable memory reaches {listed(shares)}."
    down = every[(every["kind"] == "alone") & (every["memory"] == "pinned") & (every["path"] == "h2d")]
    if half := half_from(down, "byte_rate", down["byte_rate"].max()):
        yield f"Half the bandwidth to the device needs copies of {units.size(half)}."
    small = tidy.each(every[every["kind"] == "waited"])
    if waited := [f"{units.seconds(row.seconds)} {names.channel(row.path)} ({row.memory})" for row in small]:
        yield f"A copy of {units.size(small[0].bytes)} that is waited for takes {listed(waited)}."


def plots(view: RunView) -> Plots:
    """Bytes per second over the size of a copy: colour and marker say the path, the dash the kind of host memory."""
    seen, traces = copies(view.rows), []
    seen = seen[(seen["kind"] == "alone") & seen["byte_rate"].notna()]
    for (path, memory), part in seen.groupby(["path", "memory"], sort=False):
        number, dash = _PATHS.index(path) if path in _PATHS else len(_PATHS), "solid" if memory == "pinned" else "dot"
        traces.append(sweep.curve(f"{names.channel(path)}, {memory}", part, "bytes", "byte_rate", number, dash=dash))
    if not traces:
        return
    ways = {"h2d": "link, one way", "duplex": "link, both ways"}
    claims = [(name, claim) for path, name in ways.items() if (claim := view.claim(path))]
    caption = "Payload, each direction counted once. Solid: pinned host memory. Dotted: pageable. Dashed: the link."
    yield from plot(
        "hostcopy-0",
        "Host link bandwidth over the size of a copy",
        sweep.over_size("Bytes per copy and direction", "Bandwidth (B/s)", traces, (), claims).made(),
        caption,
    )
