"""GEMM over the batch: from a weight matrix that is only read to one that is only multiplied."""

from functools import partial

from bench import units
from bench.analysis import names
from bench.analysis.knee import gemm_knees
from bench.analysis.selections import products
from bench.report.phrases import listed
from bench.report.plots import sweep, theme
from bench.report.sections import Plots, RunView, Sentences, of_roof, plot

GROUP = "GEMM"


def findings(view: RunView) -> Sentences:
    seen = products(view.rows)
    lead = next(iter(gemm_knees(seen, view.fit)), None)
    if not lead:
        return
    seen = seen[(seen["dtype"] == lead.dtype) & (seen["n"] == lead.n) & (seen["k"] == lead.k)]
    first, last = seen.iloc[0], seen.iloc[-1]
    dram, compute = view.roof("dram"), view.roof(last["work"].compute)
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


def notes(view: RunView) -> Sentences:
    lead, *others = gemm_knees(products(view.rows), view.fit) or (None,)
    same = [knee for knee in others if knee.predicted and (knee.n, knee.k) == (lead.n, lead.k)]
    if batches := [f"{names.dtype(knee.dtype)} {units.digits(knee.predicted)}" for knee in same]:
        yield f"Compute-bound on the same weights, by the roofs, from batch: {listed(batches)}."


def plots(view: RunView) -> Plots:
    """FLOP/s over the batch, a line per dtype and weight matrix; dotted: where the fitted roofs meet."""
    seen, traces = products(view.rows), []
    if seen.empty:
        return
    # colour and marker say the dtype, the dash the matrix
    dtypes, weights = list(seen["dtype"].unique()), list(dict.fromkeys(zip(seen["n"], seen["k"], strict=True)))
    for (dtype, n, k), part in seen.groupby(["dtype", "n", "k"], sort=False):
        name, dash = f"{names.dtype(dtype)} {n:.0f}×{k:.0f}", theme.DASHES[weights.index((n, k)) % len(theme.DASHES)]
        traces.append(sweep.curve(name, part, "batch", "flop_rate", dtypes.index(dtype), dash=dash))
    over = partial(theme.log_axis, "Batch (rows against one weight matrix)", text=theme.plain, base=4)
    rates = partial(theme.log_axis, "Performance (FLOP/s; OP/s for integers)")
    fig = sweep.figure(traces, over, rates, height=440)
    lead = next(iter(gemm_knees(seen, view.fit)), None)
    if lead and lead.predicted:
        fig.add_vline(x=lead.predicted, line={"color": theme.INK, "width": 1.2, "dash": "dot"})
        text = theme.safe(f"{names.dtype(lead.dtype)} knee {units.digits(lead.predicted)}")
        fig.add_annotation(theme.note(text, theme.log(lead.predicted), 0.02, yref="paper", xshift=6, name="knee"))
    caption = "Dotted: the batch where the fitted roofs of the headline dtype meet."
    yield from plot("gemm-0", "GEMM performance over the batch", fig.made(), caption)
