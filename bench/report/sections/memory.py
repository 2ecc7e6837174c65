"""Memory: the bandwidth of every level, that inside the multiprocessors, and what fits into it."""

from collections.abc import Callable, Iterator
from functools import cached_property

import pandas as pd
import plotly.graph_objects as go

from bench import units
from bench.analysis import names, tidy
from bench.analysis.datasheet import at_clock
from bench.analysis.selections import cold_copies, held, mixes, plain_copy, streams
from bench.report.document import has
from bench.report.phrases import listed, many, sentence
from bench.report.plots import rows, sweep, theme
from bench.report.sections import Plots, ProbeSection, Sentences, of_roof, plot
from bench.roofline import Roof


class BandwidthSection(ProbeSection):
    """Memory bandwidth over the working set: a plateau per cache level, and the DRAM roof."""

    probe, group = "bandwidth", "Memory"

    @property
    def caches(self) -> list[str]:
        return [cache.name for cache in self.fit.info.caches]

    def findings(self) -> Sentences:
        if dram := self.view.roof("dram"):
            yield f"DRAM delivers {self.reached(dram)}."
            yield from self.sustained("dram")
        yield from self.missing(["dram"])
        if inner := [roof for roof in self.fit.roofline.roofs if roof.key in self.caches]:
            rates = listed([f"{names.channel(roof.key)} {units.bandwidth(roof.rate)}" for roof in inner])
            times = f", the innermost {units.digits(inner[0].rate / dram.rate, 2)} times DRAM" if dram else ""
            yield f"Cached sets are faster: {rates}{times}."

    def notes(self) -> Sentences:
        dram, overhead = self.fit.roofs.get("dram"), self.fit.roofline.overhead
        if dram and len(found := mixes(dram)) > 1:
            rate, worst = min((rate, mix) for mix, rate in found.items())
            share = of_roof(rate / dram.roof.rate, "dram")
            yield f"Best mix: {dram.winner.params.get('mix')}; slowest: {worst}, {share}."
        yield from self.missing(self.caches)
        yield from self._enough()
        if share := plain_copy(self.rows):
            why = ": a plain store first fetches the line that it overwrites" if share < 0.97 else ""
            yield f"A copy with plain stores moves {units.percent(share)} of one with streaming stores{why}."
        if overhead:
            yield f"A launch costs {units.seconds(overhead)} beyond its bytes; fitted rates leave that out."

    def _enough(self) -> Sentences:
        """How large a cold copy must be before it sees the roof."""
        roof, cold = self.view.roof("dram"), cold_copies(self.rows)
        if roof is None or len(cold) < 4:
            return
        slow, fastest = cold.loc[cold["byte_rate"] < 0.9 * roof.rate, "bytes"].max(), cold["byte_rate"].max()
        if fastest > 1.1 * roof.rate:
            yield f"Smaller cold copies go beyond the DRAM roof, up to {units.percent(fastest / roof.rate)} of it."
            yield "Either the roof was taken at a slower moment, or part of those copies stayed in a cache."
        elif slow != slow:
            yield f"Every cold copy, from {units.size(cold['bytes'].min())} on, comes within 10 % of the DRAM roof."
        elif slow < cold["bytes"].max():
            first = cold.loc[cold["bytes"] > slow, "bytes"].min()
            yield f"A cold copy stays within 10 % of the DRAM roof from {units.size(first)} on."

    def plots(self) -> Plots:
        """Bytes per second over the working set, with the roofs, the claim, and where each cache ends."""
        seen, traces = streams(self.rows), []
        if seen.empty:
            return
        # colour and marker say the mix; crosses, plain stores; dots, a hot set
        known = list(seen["mix"].unique())
        for (cache, mix, plain), part in seen.groupby(["cache", "mix", "plain"], sort=False):
            crossed = plain and cache == "cold"
            look = {"dash": "dot" if cache == "hot" else "solid", "marker": "x" if crossed else ""}
            look["mode"] = "lines+markers" if len(part) > 2 else "markers"
            name, part = f"{cache} {mix}{', plain stores' * crossed}", part.sort_values("bytes")
            traces.append(sweep.curve(name, part, "bytes", "byte_rate", known.index(mix), **look))
        # other channels have sections of their own
        levels = {"dram", *self.caches}
        roofs = [(names.channel(roof.key), roof) for roof in self.fit.roofline.roofs if roof.key in levels]
        claims = [(names.claim(claim.evidence), claim)] if (claim := self.view.claim("dram")) else []
        fig = sweep.over_size("Working set or bytes per launch", "Bandwidth (B/s)", traces, roofs, claims)
        for cache in self.fit.info.caches:
            sweep.boundary(fig, cache.bytes, f"{names.channel(cache.name)} {units.size(cache.bytes)}")
        caption = "Open: suspect. Cold cases touch more than the last cache holds; hot ones re-read a set in place."
        yield from plot("bandwidth-0", "Bandwidth over the working set", fig.made(), caption)


class OnchipSection(ProbeSection):
    """The memory of each multiprocessor, added up and per clock, beside what its data path could do."""

    probe, group = "onchip", "Memory"

    @cached_property
    def fitted(self) -> list[rows.Row]:
        roofs = self.fit.roofs
        return [(names.channel(channel), roofs[channel]) for channel in self.fit.info.onchip if channel in roofs]

    def findings(self) -> Sentences:
        info, per_clock = self.fit.info, []
        for name, each in self.fitted:
            clock = each.winner.clock_hz
            yield sentence(f"{name} delivers {self.reached(each.roof)}")
            if clock and info.sms:
                claim, own = at_clock(info, each.roof.key, clock), units.digits(each.roof.rate / clock / info.sms)
                of = f" of {units.digits(claim / clock / info.sms)}" if claim else ""
                per_clock.append(f"{name} {own}{of} B at {units.hertz(clock)}")
        if per_clock:
            yield f"Per clock and multiprocessor: {listed(per_clock)}."

    def notes(self) -> Sentences:
        if self.fitted and not any(each.winner.clock_hz for _, each in self.fitted):
            yield "No clock was read, so bytes per clock are not known."
        yield from self.missing(self.fit.info.onchip)

    def plots(self) -> Plots:
        """A row per memory: measured in a burst and sustained, the claim, and the claim at the clock that was seen."""
        if not self.fitted:
            return
        traces = [
            *rows.claimed(self.view.theory, self.fitted),
            *self._at_clock(),
            *rows.sustained(self.fit, self.fitted),
            *rows.measured("measured", self.fitted, "circle", theme.MEMORY, self.view.theory),
        ]
        top, title = max(x for trace in traces for x in trace["x"]), "Bandwidth over all multiprocessors (B/s)"
        axis = theme.axis(title, range=[0, top * 1.08], tickformat="~s")
        drawn = rows.figure(axis, [name for name, _ in self.fitted][::-1], traces)
        caption = f"Every block re-reads a tile of its own; rates are sums over {self.fit.info.sms} multiprocessors."
        yield from plot("onchip-0", "Bandwidth inside the multiprocessors", drawn, caption)

    def _at_clock(self) -> Iterator[dict]:
        name, places = "datasheet at the clock seen", []
        for row, each in self.fitted:
            if rate := at_clock(self.fit.info, each.roof.key, each.winner.clock_hz):
                text = f"<br>at {units.hertz(each.winner.clock_hz or 0.0)}"
                places.append(rows.place(row, Roof(each.roof.key, rate), name, text))
        if places:
            yield rows.stroke(name, places, 12, theme.MUTED)


class CapacitySection(ProbeSection):
    """What fits: the batch that sizes predict, the one that was really allocated, and what reading it costs."""

    probe, group = "capacity", "Memory"

    @cached_property
    def held(self) -> pd.DataFrame:
        seen = held(self.rows)
        return seen.assign(place=[f"{row.model}, {row.context:,.0f} tokens" for row in tidy.each(seen)])

    def findings(self) -> Sentences:
        for row in tidy.each(self.held):
            expected = f"{row.predicted:.0f} predicted" if has(row.predicted) else ""
            if has(row.confirmed):
                expected = "as predicted" if row.confirmed == row.predicted else expected
                found = ", ".join(filter(None, [f"{many(round(row.confirmed), 'sequence')} allocated", expected]))
                yield f"{row.place}: {found}; reading all of them takes {units.seconds(row.all)} a step."
            elif expected:
                yield f"{row.place}: {many(round(row.predicted), 'sequence')} predicted, none allocated."

    def notes(self) -> Sentences:
        seen, stopped = self.held, {}
        for row in tidy.each(seen[seen["confirmed"] != seen["predicted"]]):
            if why := row.notes.get("stopped"):
                stopped.setdefault(why, []).append(row.place)
        yield from (f"{listed(places, 2)}: {why}." for why, places in stopped.items())
        for row in tidy.each(seen):
            # less than their sizes is counted where an allocator hands out again what it had kept
            if row.counted_bytes > 1.02 * row.sizes_bytes > 0:
                times = units.digits(row.counted_bytes / row.sizes_bytes)
                yield f"{row.place}: counted from outside, they take {times} times their size."
        for row in tidy.each(seen[seen["largest"].notna()].head(1)):
            share = f"{many(round(row.largest), 'sequence')} of {row.context:,.0f} tokens"
            yield f"In the share of memory that engines take, {share} would fit: predicted, not confirmed."
        for row in tidy.each(seen[seen["total_bytes"] > seen["free_bytes"]].head(1)):
            yield f"{units.size(row.total_bytes - row.free_bytes)} of {units.size(row.total_bytes)} were in use before."

    def plots(self) -> Plots:
        seen, columns = self.held, {"predicted": "predicted", "really allocated": "confirmed"}
        drawn = _bars(seen, columns, "Sequences", sweep.COUNT, "{:.0f}".format)
        caption = "Within the share of the free memory that the probe may take."
        yield from plot("capacity-0", "The largest batch", drawn, caption)
        seen, title = seen[seen["all"].notna()], "Time to read every sequence once"
        drawn = _bars(seen, {"read": "all"}, title, sweep.SECONDS, units.seconds)
        yield from plot("capacity-1", "Reading all of it", drawn, "What a full memory adds to each step.")


def _bars(
    seen: pd.DataFrame, columns: dict[str, str], title: str, kind: str, text: Callable[[float], str]
) -> go.Figure | None:
    traces = {}
    for name, key in columns.items():
        if seen[key].notna().any():
            heads = [f"<b>{name}</b><br>{theme.safe(place)}<br>" for place in seen["place"]]
            traces[name] = list(seen[key]), [head + text(value) for head, value in zip(heads, seen[key], strict=True)]
    return sweep.bars(list(seen["place"]), traces, title, stacked=False, kind=kind) if traces else None
