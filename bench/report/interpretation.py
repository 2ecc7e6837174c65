"""A paragraph per probe that says what its numbers mean on this machine; a sentence per fact, each computed."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bench import stats, units
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.figures.allreduce import TAIL, bus_bandwidth
from bench.report.knee import GemmKnee
from bench.report.words import listed, many, rate_spread, spread
from bench.roofline import Roofline


def of_theory(key: str, rate: float, theory: Roofline | None) -> str:
    claim = theory.find(key) or theory.find(key.rsplit(".", 1)[0]) if theory else None
    return (
        f", {units.percent(rate / claim.rate)} of the {names.claim(claim.evidence)}'s"
        f" {units.rate_text(claim.rate, claim.key)}"
        if claim
        else ""
    )


def nothing(rows: pd.DataFrame, probe: str) -> str:
    """Why a probe has no numbers, for a section that then has no figure."""
    part = rows[rows["probe"] == probe]
    reasons = list(dict.fromkeys(filter(None, [*part.loc[part["seconds"].isna(), "causes"], *part["skip"]])))
    if part.empty:
        return "No case of this probe is in the Run."
    return (
        f"Nothing was measured: {many(len(part), 'case')}, {'all ' if len(part) > 1 else ''}without a sound time."
        f" Why: {'; '.join(reasons[:2]) or 'no reason was recorded'}."
    )


def bandwidth(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    roof = fit.roofs.get("dram")
    if roof:
        rate = roof.roof
        mix = roof.winner.params.get("mix", "")
        yield (
            f"DRAM sustains {units.bandwidth(rate.rate)} ({rate_spread(rate)}){of_theory('dram', rate.rate, theory)}; "
            f"the best mix is {mix}."
        )
        if roof.rivals:
            worst, slow = min(roof.rivals, key=lambda rival: rival[1])
            yield f"The slowest mix, {worst.params.get('mix', '')}, reaches {units.percent(slow / rate.rate)} of that."
    elif "dram" in fit.missing:
        yield f"There is no DRAM roof: {fit.missing['dram']}."
    caches = [roof for roof in fit.roofline.roofs if roof.key in {cache.name for cache in fit.info.caches}]
    if caches:
        parts = [f"{names.channel(c.key)} {units.bandwidth(c.rate)}" for c in caches]
        times = f", {units.digits(caches[0].rate / roof.roof.rate, 2)} times DRAM at the innermost" if roof else ""
        yield f"Cached working sets are served faster: {listed(parts)}{times}."
    missing = [cache.name for cache in fit.info.caches if cache.name in fit.missing]
    if missing:
        yield (
            f"{listed([names.channel(name) for name in missing])} {'has' if len(missing) == 1 else 'have'} no roof here"
            " (see skips)."
        )
    yield from _enough(rows, fit)
    plain = frame.sound(rows, "bandwidth", store="plain", cache="cold", mix="copy")
    streaming = frame.sound(rows, "bandwidth", store="streaming", cache="cold", mix="copy")
    if (
        len(plain)
        and len(streaming)
        and plain["params"].iloc[0].get("bytes") == streaming["params"].iloc[0].get("bytes")
    ):
        ratio = plain["byte_rate"].iloc[0] / streaming["byte_rate"].iloc[0]
        why = ": a plain store first fetches the line that it overwrites" if ratio < 0.97 else ""
        yield f"A copy with plain stores moves {units.percent(ratio)} of what one with streaming stores moves{why}."
    if fit.roofline.overhead:
        yield (
            f"A launch costs {units.seconds(fit.roofline.overhead)} beyond its bytes, which the fitted rates leave out."
        )


def _enough(rows: pd.DataFrame, fit: Fit) -> Iterator[str]:
    """How large a cold copy must be before it sees the roof."""
    roof = fit.roofline.find("dram")
    cold = frame.sound(rows, "bandwidth", cache="cold", mix="copy")
    cold = cold[[params.get("store") != "plain" for params in cold["params"]]] if len(cold) else cold
    if roof is None or len(cold) < 4:
        return
    ordered = sorted((row.params["bytes"], row.byte_rate) for row in cold.itertuples())
    fastest = max(rate for _, rate in ordered)
    if fastest > 1.1 * roof.rate:
        yield (
            f"Smaller cold copies go beyond the roof, up to {units.percent(fastest / roof.rate)} of it: either"
            " the roof was taken at a slower moment, or part of them stayed in a cache."
        )
        return
    reached = next(
        (size for i, (size, _) in enumerate(ordered) if all(rate >= 0.9 * roof.rate for _, rate in ordered[i:])), None
    )
    if reached == ordered[0][0]:
        yield f"Every cold copy, down to {units.size(reached)} a launch, stays within a tenth of the roof."
    elif reached:
        yield f"A cold copy needs {units.size(reached)} a launch to come within a tenth of the roof for good."


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
    for roof in compute:
        loop = fit.roofline.find(f"{roof.quantity}.loop")
        if roof.method == "library" and loop and loop.key == f"{roof.quantity}.loop":
            yield (
                f"The best {names.quantity(roof.key)} GEMM reaches {units.percent(roof.rate / loop.rate)} of what the"
                " instruction loop shows its pipes can do."
            )
    lost = [key for key in fit.missing if "." in key]
    if lost:
        yield f"No roof for {listed([names.roof(key) for key in lost])}: {fit.missing[lost[0]]}."


def intensity(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    knee = fit.knee
    rungs = frame.sound(rows, "intensity")
    if knee is None:
        yield (
            "No knee could be fitted: it needs six rungs measured in the same repetition, and"
            f" {many(len(rungs), 'rung')} have a time."
        )
        return
    value = knee.intensity
    yield (
        f"The ladder bends at {units.intensity(value.value)} ({spread(value, units.digits)}): below it memory binds"
        f" ({units.bandwidth(knee.memory)}), above it arithmetic ({units.flops(knee.compute)})."
    )
    ridge = next((ridge for ridge in fit.ridges if ridge.compute == "vector.float32.loop"), None)
    if ridge:
        off = value.value / ridge.estimate.value - 1
        apart = value.low > ridge.estimate.high or value.high < ridge.estimate.low
        yield (
            f"Peak over bandwidth, measured separately, says {units.intensity(ridge.estimate.value)}; the two differ by"
            f" {units.percent(abs(off), 2)} and their intervals {'do not meet' if apart else 'overlap'}."
        )
    width = (
        f"rounded (p = {units.digits(knee.sharpness, 2)})"
        if knee.sharpness < 1e3
        else "as sharp as the textbook's corner"
    )
    yield f"The corner is {width}."


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


def attention(rows: pd.DataFrame, fit: Fit) -> Iterator[str]:
    decode = frame.sound(rows, "attention", phase="decode")
    roof = fit.roofline.find("dram")
    if len(decode):
        best = decode.loc[decode["byte_rate"].idxmax()]
        share = f", {units.percent(best['byte_rate'] / roof.rate)} of the DRAM roof" if roof else ""
        yield f"Decode moves at most {units.bandwidth(best['byte_rate'])}{share} ({_decode(best['params'])})."
        if roof:
            yield from _from_on(decode, roof.rate)
    prefill = frame.sound(rows, "attention", phase="prefill")
    if len(prefill):
        best = prefill.loc[prefill["flop_rate"].idxmax()]
        compute = fit.roofline.find(best["work"].compute)
        share = (
            f", {units.percent(best['flop_rate'] / compute.rate)} of the {names.roof(compute.key)} roof"
            if compute
            else ""
        )
        kind = "causal" if best["params"].get("causal") else "full"
        yield (
            f"Prefill computes at most {units.flops(best['flop_rate'])}{share} ({kind}, prompt"
            f" {best['params'].get('keys')})."
        )
    elif len(decode):
        yield "No prefill was measured."


def _decode(params) -> str:
    return f"{str(params.get('layout')).upper()}, batch {params.get('batch')}, KV {params.get('keys')}"


def _from_on(decode: pd.DataFrame, roof: float) -> Iterator[str]:
    """From which KV length on decode stays above 80 % of the roof, for the smallest batch of each layout."""
    for layout in dict.fromkeys(frame.param(decode, "layout")):
        part = frame.sound(decode, layout=layout)
        batch = min(frame.param(part, "batch"))
        curve = sorted(
            (row.params["keys"], row.byte_rate / roof) for row in frame.sound(part, batch=batch).itertuples()
        )
        who = f"{str(layout).upper()} at batch {batch}"
        start = next((keys for i, (keys, _) in enumerate(curve) if all(share >= 0.8 for _, share in curve[i:])), None)
        if start is None:
            top = max(share for _, share in curve)
            yield f"{who} never stays at four fifths of it; its best is {units.percent(top)}."
        elif start == curve[0][0]:
            yield f"{who} stays above four fifths of it at every length."
        else:
            yield f"{who} stays above four fifths of it from KV {start} on."


def allreduce(rows: pd.DataFrame, fit: Fit, theory: Roofline | None) -> Iterator[str]:
    seen = [row for row in frame.sound(rows, "allreduce").itertuples() if row.params.get("ranks", 1) > 1]
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
    small = min(seen, key=lambda row: row.params["bytes"])
    if len(small.samples) >= TAIL:
        p50, p99 = stats.quantile(small.samples, 0.5), stats.quantile(small.samples, 0.99)
        yield (
            f"The smallest, {units.size(small.params['bytes'])} by {small.params.get('algorithm')}, takes"
            f" {units.seconds(p50)} in the median, {units.seconds(p99)} at p99 and {units.seconds(max(small.samples))}"
            f" at worst over {len(small.samples)} samples."
        )


def generic(rows: pd.DataFrame, probe: str) -> Iterator[str]:
    seen = frame.sound(rows, probe)
    for column, text in (("byte_rate", units.bandwidth), ("flop_rate", units.flops)):
        rated = seen[seen[column].notna()]
        if len(rated):
            best = rated.loc[rated[column].idxmax()]
            yield f"The highest rate is {text(best[column])} ({best['case']})."
    if len(seen) and seen[["byte_rate", "flop_rate"]].isna().all().all():
        quick = seen.loc[seen["seconds"].idxmin()]
        yield f"The quickest case takes {units.seconds(quick['seconds'])} ({quick['case']})."
