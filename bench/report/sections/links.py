"""Links: the host link over the size of a copy, and all-reduce over that of an array."""

from functools import partial

import plotly.graph_objects as go

from bench import stats, units
from bench.analysis import names, tidy
from bench.analysis import selections as cases
from bench.report.phrases import listed
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, ProbeSection, Sentences, plot

# A tail quantile needs this many samples before it means anything.
TAIL = 100
_PATHS = ("h2d", "d2h", "duplex")
_QUANTILES = {"p50": lambda s: stats.quantile(s, 0.5), "p99": lambda s: stats.quantile(s, 0.99), "max": max}


class HostcopySection(ProbeSection):
    """Bandwidth over the size of a copy, from pinned and pageable memory, and the wait for a small one."""

    probe, group = "hostcopy", "Links"

    def findings(self) -> Sentences:
        for roof in filter(None, map(self.view.roof, _PATHS)):
            yield f"{names.channel(roof.key)}, pinned: {self.reached(roof)}."

    def notes(self) -> Sentences:
        roofs, every = {path: self.view.roof(path) for path in _PATHS}, cases.copies(self.rows)
        if all(roofs.values()):
            one = (roofs["h2d"].rate + roofs["d2h"].rate) / 2
            yield f"Both ways at once move {units.digits(roofs['duplex'].rate / one)} times what one way moves."
        kept = []
        for row in tidy.each(every[every["kind"] == "company"]):
            if roof := roofs.get(row.path):
                share = units.percent(row.byte_rate / roof.rate, 2)
                kept.append(f"{names.channel(roof.key)} {units.bandwidth(row.byte_rate)} ({share})")
        if kept:
            yield f"While every device copies at once, this one keeps {listed(kept)}."
        pageable = cases.from_pageable(every)
        if shares := [f"{units.percent(pageable[at])} {names.channel(at)}" for at in _PATHS if at in pageable]:
            yield f"Of pinned memory's bandwidth pageable memory reaches {listed(shares)}."
        down = every[(every["kind"] == "alone") & (every["memory"] == "pinned") & (every["path"] == "h2d")]
        if half := cases.half_from(down, "byte_rate", down["byte_rate"].max()):
            yield f"Half the bandwidth to the device needs copies of {units.size(half)}."
        small = tidy.each(every[every["kind"] == "waited"])
        if waited := [f"{units.seconds(row.seconds)} {names.channel(row.path)} ({row.memory})" for row in small]:
            yield f"A copy of {units.size(small[0].bytes)} that is waited for takes {listed(waited)}."

    def plots(self) -> Plots:
        """Bytes per second over the size of a copy: colour and marker say the path, the dash the kind of memory."""
        seen, traces = cases.copies(self.rows), []
        seen = seen[(seen["kind"] == "alone") & seen["byte_rate"].notna()]
        for (path, memory), part in seen.groupby(["path", "memory"], sort=False):
            number = _PATHS.index(path) if path in _PATHS else len(_PATHS)
            look = {"dash": "solid" if memory == "pinned" else "dot"}
            traces.append(sweep.curve(f"{names.channel(path)}, {memory}", part, "bytes", "byte_rate", number, **look))
        if not traces:
            return
        ways = {"h2d": "link, one way", "duplex": "link, both ways"}
        claims = [(name, claim) for path, name in ways.items() if (claim := self.view.claim(path))]
        caption = "Payload, each direction counted once. Solid: pinned host memory. Dotted: pageable. Dashed: the link."
        drawn = sweep.over_size("Bytes per copy and direction", "Bandwidth (B/s)", traces, (), claims).made()
        yield from plot("hostcopy-0", "Host link bandwidth over the size of a copy", drawn, caption)


class AllreduceSection(ProbeSection):
    """All-reduce: bus bandwidth of large arrays, and the latency of small ones with its tail."""

    probe, group = "allreduce", "Links"

    def findings(self) -> Sentences:
        seen = cases.reductions(self.rows)
        if seen.empty:
            return
        (best, half), small = cases.plateau(seen), seen.iloc[0]
        how = f"{units.bandwidth(best['bus'])} ({best['algorithm']}, {units.size(best['bytes'])})"
        share = self.of_claim("link", best["bus"])
        yield f"{best['ranks']:.0f} ranks reach a bus bandwidth of {how}{share}."
        if len(small["samples"]) >= TAIL:
            p50, p99, worst = (units.seconds(of(small["samples"])) for of in _QUANTILES.values())
            what = f"{units.size(small['bytes'])} by {small['algorithm']}"
            yield f"{what} takes {p50} at p50, {p99} at p99, {worst} at worst of {len(small['samples']):,} samples."
        if half:
            yield f"Half of that bandwidth needs arrays of {units.size(half)}."

    def notes(self) -> Sentences:
        found = cases.reduction_lines(self.rows)
        if found and not self.view.roof("link"):
            yield "No algorithm here claims a link roof."
        for name, part, fitted in found:
            if not fitted:
                continue
            rate = units.bandwidth(cases.bus_bandwidth(1.0, part["ranks"].iloc[0], 1 / fitted.beta))
            alpha, half = "no measurable latency", ""
            if fitted.alpha > 0:
                alpha, half = f"α = {units.seconds(fitted.alpha)}", f"; half of it from {units.size(fitted.half)} on"
            yield f"Line through all sizes of {name}: {alpha}, β = {rate} of bus bandwidth{half}."
            if fitted.misfit > 0.1:
                yield f"Sizes of {name} lie {units.percent(fitted.misfit, 2)} off that line: take it roughly."

    def plots(self) -> Plots:
        caption = "2 (n−1)/n · size / time, for every algorithm alike. Thin dots: α + size / β."
        yield from plot("allreduce-0", "Bus bandwidth over the size of the array", self._bandwidth(), caption)
        caption = "Over all samples of the last repetition."
        yield from plot("allreduce-1", "Latency of small all-reduces", self._latency(), caption)

    def _bandwidth(self) -> go.Figure | None:
        """Bus bandwidth over the size of the array, a line per algorithm beside the one through its sizes."""
        traces = []
        for index, (name, part, fitted) in enumerate(cases.reduction_lines(self.rows)):
            curve = sweep.curve(name, part, "bytes", "bus", index, dash=theme.DASHES[index % len(theme.DASHES)])
            if fitted:
                look = {"color": curve["line"]["color"], "width": 1, "dash": "dot"}
                bus = cases.bus_bandwidth(part["bytes"], part["ranks"], part["bytes"].map(fitted.seconds))
                about = {"name": f"{theme.safe(name)}: α + size / β", "mode": "lines", "hoverinfo": "skip"}
                traces.append(theme.scatter(x=part["bytes"], y=bus, line=look, **about))
            traces.append(curve)
        if not traces:
            return None
        roofs = [("link, measured", roof)] if (roof := self.view.roof("link")) else []
        claims = [("datasheet, one direction", claim)] if (claim := self.view.claim("link")) else []
        return sweep.over_size("Array size", "Bus bandwidth (B/s)", traces, roofs, claims).made()

    def _latency(self) -> go.Figure | None:
        """Time of small all-reduces: median, 99th percentile where there are samples for it, and the slowest."""
        seen, traces = cases.reductions(self.rows), []
        for index, (name, part) in enumerate(seen[seen["samples"].map(len) >= TAIL].groupby("algorithm")):
            for which, (word, of) in enumerate(_QUANTILES.items()):
                part, head = part.assign(time=part["samples"].map(of)), f"<b>{theme.safe(name)} {word}</b>"
                hover = [
                    f"{head} {units.size(row.bytes)}<br>{units.seconds(row.time)}, {len(row.samples)} samples"
                    for row in tidy.each(part)
                ]
                look = {"dash": theme.DASHES[which], "marker": theme.MARKERS[which], "opacity": 1 - 0.25 * which}
                traces.append(sweep.curve(f"{name} {word}", part, "bytes", "time", index, hover=hover, **look))
        if not traces:
            return None
        times = partial(theme.log_axis, "Time per all-reduce", text=partial(units.seconds, significant=1))
        return sweep.figure(traces, partial(theme.size_axis, "Array size"), times, height=360).made()
