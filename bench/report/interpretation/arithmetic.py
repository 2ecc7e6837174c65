"""What arithmetic reaches: loops, libraries, the ladder and a weight matrix over its batch."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bench import units
from bench.analysis.fit import Fit, Knee
from bench.report import frame, names
from bench.report.interpretation.claims import of_theory, settled
from bench.report.knee import GemmKnee
from bench.report.selections import climbed, cubes, side_loops
from bench.report.words import listed, many, rate_spread, spread
from bench.roofline import Roofline


def peak(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    compute = [roof for roof in fit.roofline.roofs if roof.is_compute]
    lead = fit.roofline.find(fit.info.headline)
    if lead:
        yield (
            f"{names.roof(lead.key)} reaches {units.rate_text(lead.rate, lead.key)} ({rate_spread(lead)})"
            f"{of_theory(lead.key, lead.rate, theory)}."
        )
    best = max((roof for roof in compute if units.rate(roof.key) == "FLOP/s"), key=lambda roof: roof.rate, default=None)
    if lead and best and best.key != lead.key:
        yield (
            f"The highest rate is {names.roof(best.key)}: {units.rate_text(best.rate, best.key)},"
            f" {units.digits(best.rate / lead.rate, 3)} times that."
        )
    if lead:
        yield from settled(lead.key, fit)
    shares = [
        f"{names.quantity(roof.key)} {units.percent(roof.rate / fit.roofs[loop].roof.rate)}"
        for roof in compute
        if roof.method == "library" and (loop := f"{roof.quantity}.loop") in fit.roofs
    ]
    if shares:
        yield f"Of what the instruction loop shows the same pipes can do, the best GEMM reaches: {'; '.join(shares)}."
    yield from _shapes(rows, fit)
    for roof in compute:
        plain = fit.roofs.get(roof.key.replace(".fast_accum", ""))
        if ".fast_accum" in roof.key and plain:
            yield (
                f"{names.dtype(roof.key.split('.')[1])} with fast accumulation, whose sums are kept less precisely,"
                f" reaches {units.digits(roof.rate / plain.roof.rate)} times the rate without."
            )
    yield from _loops(rows, fit)
    lost = [key for key in fit.missing if "." in key]
    if lost:
        yield f"No roof for {listed([names.roof(key) for key in lost])}: {fit.missing[lost[0]]}."


def _shapes(rows: pd.DataFrame, fit: Fit) -> Iterator[str]:
    """The headline's winning shape by name, beside the cubes that everyone quotes."""
    fitted = fit.roofs.get(fit.info.headline)
    winner = fitted.winner.params.get("shape") if fitted else None
    if not (fitted and winner):
        return
    dtype = fitted.winner.params.get("dtype")
    quoted = [
        f"{names.shape(row.params['shape'])} {units.rate_text(row.flop_rate, fitted.roof.key)}"
        for row in cubes(rows)
        if row.params.get("dtype") == dtype and not row.params.get("variant") and row.params["shape"] != winner
    ]
    size = "×".join(str(fitted.winner.params.get(name, "?")) for name in ("m", "n", "k"))
    beside = f"; beside it {listed(quoted)}" if quoted else ""
    yield f"Its best {names.dtype(str(dtype))} shape is {winner} ({size}){beside}."


def _loops(rows: pd.DataFrame, fit: Fit) -> Iterator[str]:
    """Loops beside the roofs, and dtypes without a loop, each cause once."""
    parts = []
    for row in side_loops(rows):
        full = fit.roofs.get(f"tensor.{row.params.get('dtype')}.loop")
        share = f", {units.percent(row.flop_rate / full.roof.rate)} of the full-rate loop" if full else ""
        parts.append(
            f"{row.params.get('instruction')} {units.rate_text(row.flop_rate, f'{row.work.compute}.x')}{share}"
        )
    if parts:
        yield f"Instructions that are not this chip's full-rate path, and claim no roof: {'; '.join(parts)}."
    reasons: dict[str, list[str]] = {}
    for row in frame.each(rows[rows["probe"] == "peak"]):
        if row.skip and row.params.get("kind") == "tensor loop":
            reasons.setdefault(row.skip, []).append(names.dtype(str(row.params.get("dtype"))))
    for reason, dtypes in reasons.items():
        yield f"{listed(dtypes)}: {reason}."


def intensity(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    rungs = frame.sound(rows, "intensity")
    if not fit.knees:
        yield (
            "No knee could be fitted: it needs six rungs measured in the same repetition, and"
            f" {many(len(rungs), 'rung')} have a time."
        )
        return
    for dtype, knee in fit.knees.items():
        yield from _bend(dtype, knee, fit)
    missing = [dtype for dtype in dict.fromkeys(map(climbed, rungs["params"])) if dtype not in fit.knees]
    if missing:
        yield f"Too few rungs for a knee: {listed([names.dtype(dtype) for dtype in missing])}."


def _bend(dtype: str, knee: Knee, fit: Fit) -> Iterator[str]:
    value, who = knee.intensity, f"The {names.dtype(dtype)} ladder"
    width = (
        f"a corner rounded with p = {units.digits(knee.sharpness, 2)}"
        if knee.sharpness < 1e3
        else "a corner as sharp as the textbook's"
    )
    yield (
        f"{who} bends at {units.intensity(value.value)} ({spread(value, units.digits)}), {width}: below it memory binds"
        f" ({units.bandwidth(knee.memory)}), above it arithmetic ({units.flops(knee.compute)})."
    )
    ridge = next((ridge for ridge in fit.ridges if ridge.compute == f"vector.{dtype}.loop"), None)
    if ridge:
        off = value.value / ridge.estimate.value - 1
        apart = value.low > ridge.estimate.high or value.high < ridge.estimate.low
        yield (
            f"Peak over bandwidth, measured separately, says {units.intensity(ridge.estimate.value)}; the two differ by"
            f" {units.percent(abs(off), 2)} and their intervals {'do not meet' if apart else 'overlap'}."
        )


def gemm(rows: pd.DataFrame, fit: Fit, knees: Sequence[GemmKnee]) -> Iterator[str]:
    lead = next(iter(knees), None)
    if lead is None:
        return
    seen = frame.sound(rows, "gemm", dtype=lead.dtype, n=lead.n, k=lead.k, strided=0)
    ordered = seen.assign(batch=frame.param(seen, "batch")).sort_values("batch")
    what = f"{names.dtype(lead.dtype)}, weights {lead.n}×{lead.k}"
    if len(ordered):
        first, last = ordered.iloc[0], ordered.iloc[-1]
        roof = fit.roofline.find("dram")
        share = f", {units.percent(first['byte_rate'] / roof.rate)} of the DRAM roof" if roof else ""
        yield f"{what}: at batch {first['batch']} the weights stream at {units.bandwidth(first['byte_rate'])}{share}."
        compute = fit.roofline.find(last["work"].compute)
        if compute and last["batch"] > first["batch"]:
            yield (
                f"At batch {last['batch']} it computes {units.rate_text(last['flop_rate'], compute.key)}, "
                f"{units.percent(last['flop_rate'] / compute.rate)} of the {names.roof(compute.key)} roof."
            )
    if lead.predicted:
        text = (
            f"By the fitted roofs it turns from memory-bound to compute-bound at batch {units.digits(lead.predicted)}"
        )
        if lead.measured:
            yield f"{text}; the measured curve bends at {units.digits(lead.measured)}."
        else:
            yield f"{text}; the measured curve is too short or too flat to show a bend of its own."
    elif len(ordered):
        yield (
            "Within the batches measured, the fitted roofs do not cross: one side binds throughout, or a roof is"
            " missing."
        )
    others = [
        f"{names.dtype(k.dtype)} {units.digits(k.predicted)}"
        for k in knees
        if k.predicted and (k.n, k.k) == (lead.n, lead.k) and k != lead
    ]
    if others:
        yield f"Other dtypes on the same weights, by the roofs: batch {listed(others)}."
