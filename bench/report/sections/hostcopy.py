"""The host link: bandwidth over the size of a copy, from pinned and pageable memory, and the wait for a small one."""

from collections.abc import Iterator

from bench import units
from bench.analysis import tidy
from bench.analysis.selections import copies
from bench.report import names
from bench.report.document import Plot
from bench.report.phrases import listed
from bench.report.plots import sweep
from bench.report.sections import RunView, plot, reached

GROUP = "Links"
_PATHS = ("h2d", "d2h", "duplex")


def findings(view: RunView) -> Iterator[str]:
    for roof in filter(None, map(view.roof, _PATHS)):
        yield f"{names.channel(roof.key)}, pinned: {reached(view, roof)}."


def notes(view: RunView) -> Iterator[str]:
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
    seen = every[every["kind"] == "alone"]
    top = seen.groupby(["memory", "path"])["byte_rate"].max()
    if both := [path for path in _PATHS if ("pageable", path) in top and ("pinned", path) in top]:
        shares = [f"{units.percent(top['pageable', at] / top['pinned', at])} {names.channel(at)}" for at in both]
        yield f"Of pinned memory's bandwidth pageable memory reaches {listed(shares)}."
    down = seen[(seen["memory"] == "pinned") & (seen["path"] == "h2d")]
    if down["byte_rate"].max() > 2 * down["byte_rate"].min():
        half = down.loc[down["byte_rate"] >= down["byte_rate"].max() / 2, "bytes"].min()
        yield f"Half the bandwidth to the device needs copies of {units.size(half)}."
    small = tidy.each(every[every["kind"] == "waited"])
    if waited := [f"{units.seconds(row.seconds)} {names.channel(row.path)} ({row.memory})" for row in small]:
        yield f"A copy of {units.size(small[0].bytes)} that is waited for takes {listed(waited)}."


def plots(view: RunView) -> Iterator[Plot]:
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
