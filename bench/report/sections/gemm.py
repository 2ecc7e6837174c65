"""Matrix products: over the batch, with quantised weights, and with a mixture of experts."""

from functools import cached_property, partial

import pandas as pd

from bench import units
from bench.analysis import names, tidy
from bench.analysis import transformer_cases as cases
from bench.analysis.selections import gemm_knees, products
from bench.analysis.tidy import LOSS, ends, methods, texts
from bench.report.phrases import listed, many
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, ProbeSection, Sentences, lines, of_roof, plot

EXPECTED = "expected of uniform routing"


class GemmSection(ProbeSection):
    """GEMM over the batch: from a weight matrix that is only read to one that is only multiplied."""

    probe, group = "gemm", "GEMM"

    @cached_property
    def seen(self) -> pd.DataFrame:
        return products(self.rows)

    @cached_property
    def knees(self) -> list:
        """The headline's first."""
        return list(gemm_knees(self.seen, self.fit))

    def findings(self) -> Sentences:
        if not self.knees:
            return
        seen, lead = self.seen, self.knees[0]
        seen = seen[(seen["dtype"] == lead.dtype) & (seen["n"] == lead.n) & (seen["k"] == lead.k)]
        first, last = seen.iloc[0], seen.iloc[-1]
        dram, compute = self.view.roof("dram"), self.view.roof(last["work"].compute)
        share = f", {of_roof(first['byte_rate'] / dram.rate, 'dram')}" if dram else ""
        what = f"{names.dtype(lead.dtype)}, weights {lead.n}×{lead.k}: at batch {first['batch']:.0f}"
        yield f"{what} the weights stream at {units.bandwidth(first['byte_rate'])}{share}."
        if compute and last["batch"] > first["batch"]:
            rate, share = units.rate_text(last["flop_rate"], compute.key), last["flop_rate"] / compute.rate
            yield f"At batch {last['batch']:.0f} it computes {rate}, {of_roof(share, compute.key)}."
        if lead.predicted:
            curve = f"the curve bends at {units.digits(lead.measured)}" if lead.measured else "the curve shows no bend"
            yield f"By the roofs it turns compute-bound at batch {units.digits(lead.predicted)}; {curve}."
        else:
            yield "Over these batches the roofs do not cross: one side binds throughout, or a roof is missing."

    def notes(self) -> Sentences:
        lead, *others = self.knees or (None,)
        same = [knee for knee in others if knee.predicted and (knee.n, knee.k) == (lead.n, lead.k)]
        if batches := [f"{names.dtype(knee.dtype)} {units.digits(knee.predicted)}" for knee in same]:
            yield f"Compute-bound on the same weights, by the roofs, from batch: {listed(batches)}."

    def plots(self) -> Plots:
        """FLOP/s over the batch, a line per dtype and weight matrix; dotted: where the fitted roofs meet."""
        seen, traces = self.seen, []
        if seen.empty:
            return
        # colour and marker say the dtype, the dash the matrix
        dtypes, weights = list(seen["dtype"].unique()), list(dict.fromkeys(zip(seen["n"], seen["k"], strict=True)))
        for (dtype, n, k), part in seen.groupby(["dtype", "n", "k"], sort=False):
            dash = theme.DASHES[weights.index((n, k)) % len(theme.DASHES)]
            name = f"{names.dtype(dtype)} {n:.0f}×{k:.0f}"
            traces.append(sweep.curve(name, part, "batch", "flop_rate", dtypes.index(dtype), dash=dash))
        over = partial(theme.log_axis, "Batch (rows against one weight matrix)", text=theme.plain, base=4)
        rates = partial(theme.log_axis, "Performance (FLOP/s; OP/s for integers)")
        fig = sweep.figure(traces, over, rates, height=440)
        for lead in (knee for knee in self.knees[:1] if knee.predicted):
            fig.add_vline(x=lead.predicted, line={"color": theme.INK, "width": 1.2, "dash": "dot"})
            text = theme.safe(f"{names.dtype(lead.dtype)} knee {units.digits(lead.predicted)}")
            fig.add_note(text, theme.log(lead.predicted), 0.02, yref="paper", xshift=6, name="knee")
        caption = "Dotted: the batch where the fitted roofs of the headline dtype meet."
        yield from plot("gemm-0", "GEMM performance over the batch", fig.made(), caption)


class QuantisedSection(ProbeSection):
    """Quantised weights: what a product with them takes beside the same product unquantised."""

    probe, group = "quantised", "GEMM"

    @cached_property
    def gains(self) -> pd.DataFrame:
        """The quantised products beside unquantised ones, with `what` they are: "INT4 weights"."""
        seen = texts(cases.quantised(self.rows), "weights", "quantised")
        both = ["" if kind == "weights" else " and activations" for kind in seen["quantised"]]
        heads = [name.split("-")[0].upper() for name in seen["weights"]]
        return seen.assign(what=[f"{head} weights{more}" for head, more in zip(heads, both, strict=True)])

    def plots(self) -> Plots:
        groups, axes = dict(iter(self.gains.groupby("what", sort=False))), ("batch", "times", sweep.TIMES)
        caption = "Time of the unquantised product over that of the quantised one, at the same batch and shape."
        even = "as fast as unquantised"
        return lines("quantised-speedup", "Speedup", caption, groups, *axes, "Rows (batch)", even=even)

    def findings(self) -> Sentences:
        """The largest gain first, then what pays at no batch."""
        seen, said = self.gains, []
        small = seen.loc[seen.groupby("what")["batch"].idxmin()].sort_values("times", ascending=False)
        for row in tidy.each(small):
            ideal = f" (bytes alone: {units.digits(row.lighter)})" if row.lighter > 0 else ""
            at = many(round(row.batch), "row")
            said.append(f"With {row.what} a product {sweep.faster(row.times)} unquantised at {at}{ideal}.")
        yield from said[:1]
        most = seen.groupby("what", sort=False)["times"].max()
        if nowhere := list(most.index[most < LOSS]):
            yield f"Slower than unquantised at every batch: {listed(nowhere, 2)}."
        yield from said[1:]

    def notes(self) -> Sentences:
        for what, part in self.gains.groupby("what", sort=False):
            small, best = part.loc[part["batch"].idxmin()], part.loc[part["times"].idxmax()]
            slow = [f"{batch:,.0f}" for batch in sorted(part.loc[part["times"] < LOSS, "batch"])]
            text = f"{what}: best at {many(round(best['batch']), 'row')}, {units.digits(best['times'])} times"
            yield text + (f"; slower than unquantised at {listed(slow, 4)}." if slow else ".")
            own, plain = small["share"], small["share_base"]
            if tidy.has(own) and tidy.has(plain) and max(own, plain) > 1.1 * min(own, plain):
                at = many(round(small["batch"]), "row")
                yield f"{what} at {at}: {units.percent(own)} of the roof, unquantised {units.percent(plain)}."
            yield from (f"{what}: {method}; a serving engine's kernel may be faster." for method in methods(part))


class MoeSection(ProbeSection):
    """A mixture of experts: how many of them a step touches, and what that takes."""

    probe, group = "moe", "GEMM"

    @cached_property
    def seen(self) -> pd.DataFrame:
        return cases.experts(self.rows)

    def plots(self) -> Plots:
        over, seen = "Tokens in the step", self.seen
        groups = {f"{routing} routing": part for routing, part in seen.groupby("routing", sort=False)}
        caption = "The routed experts of one layer; router, gather and weighted sum are not in it."
        yield from lines("moe-time", "Time", caption, groups, "tokens", "seconds", sweep.SECONDS, over)
        expected = seen.drop_duplicates("tokens").assign(validity="valid").drop(columns="params")
        # uniform routing and what is expected of it share a colour
        touched = {name: part for name, part in groups.items() if name == "uniform routing"}
        touched |= {EXPECTED: expected.assign(distinct=expected["expected"])} | groups
        caption, y = "Dotted: E (1 − (1 − k/E)^T), what independent and uniform routing expects.", "Distinct experts"
        axes = "tokens", "distinct", sweep.COUNT, over, y
        yield from lines("moe-experts", "Experts touched", caption, touched, *axes, dashed=[EXPECTED])
        caption, axes = "Bytes of the experts that were really touched.", ("tokens", "share", sweep.PERCENT, over)
        yield from lines("moe-share", "Share of the roof", caption, groups, *axes, even="the roof")

    def findings(self) -> Sentences:
        seen, both = self.seen, cases.skewed(self.rows)
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
        # with many tokens either touches all
        for row in tidy.each(both.assign(part=both["distinct"] / both["distinct_base"]).nsmallest(1, "part")):
            counts = f"{row.distinct:.0f} experts, uniform {row.distinct_base:.0f}"
            took = f"takes {units.digits(1 / row.times)} times as long"
            yield f"Skewed routing of {row.tokens:,.0f} tokens touches {counts}, and {took}."
        said = [
            f"{units.percent(row.share)} ({many(round(row.tokens), 'token')}, {names.roof(row.limiter)})"
            for row in tidy.each(ends(seen[seen["share"].notna()].sort_values("share")))
        ]
        if said:
            yield f"It reaches {' to '.join(said)} of the roof that limits it."

    def notes(self) -> Sentences:
        off = (self.seen["distinct"] / self.seen["expected"] - 1).abs()[self.seen["routing"] == "uniform"]
        if len(off):
            yield f"Uniform routing touches a number within {units.percent(off.max(), 2)} of the expected one."
        both = cases.skewed(self.rows).dropna(subset=["fullest", "fullest_base"])
        for row in tidy.each(both.nlargest(1, "tokens")):
            counts = f"has {row.fullest:.0f}, under uniform routing {row.fullest_base:.0f}"
            times = units.digits(1 / row.times)
            yield f"Of {row.tokens:,.0f} tokens the fullest expert {counts}; that takes {times} times as long."
        yield from (f"Method: {method}." for method in methods(self.seen))
