"""How near attention comes to its roofs, and which backend gets there."""

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.selections import PHASES, backend, default, rivals
from bench.report.words import listed

# Times that differ by less are one: no interval stands behind a case measured once.
_ALIKE = 1.03


def attention(rows: pd.DataFrame, fit: Fit) -> Iterator[str]:
    chosen = default(rows)
    decode = frame.sound(chosen, "attention", phase="decode")
    roof = fit.roofline.find("dram")
    if len(decode):
        best = decode.loc[decode["byte_rate"].idxmax()]
        share = f", {units.percent(best['byte_rate'] / roof.rate)} of the DRAM roof" if roof else ""
        yield f"Decode moves at most {units.bandwidth(best['byte_rate'])}{share} ({_decode(best['params'])})."
        if roof:
            yield from _from_on(decode, roof.rate)
    prefill = frame.sound(chosen, "attention", phase="prefill")
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
    yield from _choices(chosen)
    for phase in PHASES:
        yield from _fastest(rows, phase)
    yield from _refused(rows)
    yield from _fusion(rows)


def _choices(chosen: pd.DataFrame) -> Iterator[str]:
    counts = Counter(notes["backend"] for notes in frame.sound(chosen, "attention")["notes"] if "backend" in notes)
    if counts:
        yield f"Left alone, torch chose {listed([f'{name} in {n} cases' for name, n in counts.most_common()])}."


def _fastest(rows: pd.DataFrame, phase: str) -> Iterator[str]:
    """Which backend is fastest over which lengths, and where torch's own choice is not."""
    seen = rivals(rows, phase)
    spans: list[tuple[set[str], int, int]] = []
    worst = (1.0, 0, "")
    for length, part in seen.groupby("length", sort=True):
        named = part[part["backend"] != "default"]
        if named.empty:
            continue
        best = named.loc[named["seconds"].idxmin()]
        alike = set(named.loc[named["seconds"] <= _ALIKE * best["seconds"], "backend"])
        if spans and spans[-1][0] & alike:
            spans[-1] = (spans[-1][0] & alike, spans[-1][1], length)
        else:
            spans.append((alike, length, length))
        own = part[part["backend"] == "default"]
        if len(own):
            worst = max(worst, (own["seconds"].iloc[0] / best["seconds"], length, best["backend"]))
    if not spans:
        return
    where = f"{phase} ({'GQA, batch 8' if phase == 'decode' else 'causal, batch 1'})"
    if len(spans) == 1 and len(spans[0][0]) == seen["backend"].nunique() - 1 > 1:
        text = f"Named one by one, no backend is clearly faster than another for {where}"
    else:
        words = [
            f"{' or '.join(sorted(found))} at {first if first == last else f'{first} to {last}'}"
            for found, first, last in spans
        ]
        text = f"Of the backends named one by one, the fastest for {where} is {listed(words)}"
    ratio, length, name = worst
    if ratio > 1.05:
        text += f"; torch's own choice takes up to {units.digits(ratio)} times as long ({name} at {length})"
    yield f"{text}."


def _refused(rows: pd.DataFrame) -> Iterator[str]:
    part = rows[rows["probe"] == "attention"]
    refused: dict[tuple[str, str], int] = {}
    for row in frame.each(part):
        if row.skip and "refuses" in row.skip:
            key = row.params.get("phase", ""), row.skip
            refused[key] = refused.get(key, 0) + 1
    for (phase, why), count in refused.items():
        yield f"{phase[:1].upper()}{phase[1:]}, {count} {'case' if count == 1 else 'cases'}: {why}."


def _fusion(rows: pd.DataFrame) -> Iterator[str]:
    """What it buys that scores never go through memory: the unfused case beside torch's choice at its shape."""
    seen = frame.sound(rows, "attention")
    for bare in frame.each(seen):
        if backend(bare.params) != "unfused":
            continue
        shape = {name: value for name, value in bare.params.items() if name != "backend"}
        fused = frame.sound(default(seen), **shape)
        if len(fused):
            times = bare.seconds / fused["seconds"].iloc[0]
            yield (
                f"Without fusion, scores going through memory, the prefill of {bare.params.get('keys')} takes"
                f" {units.digits(times)} times as long."
            )


def _decode(params) -> str:
    return f"{str(params.get('layout')).upper()}, batch {params.get('batch')}, KV {params.get('keys')}"


def _from_on(decode: pd.DataFrame, roof: float) -> Iterator[str]:
    """From which KV length on decode stays above 80 % of the roof, for the smallest batch of each layout."""
    for layout in dict.fromkeys(frame.param(decode, "layout")):
        part = frame.sound(decode, layout=layout)
        batch = min(frame.param(part, "batch"))
        curve = sorted((row.params["keys"], row.byte_rate / roof) for row in frame.each(frame.sound(part, batch=batch)))
        who = f"{str(layout).upper()} at batch {batch}"
        start = next((keys for i, (keys, _) in enumerate(curve) if all(share >= 0.8 for _, share in curve[i:])), None)
        if start is None:
            top = max(share for _, share in curve)
            yield f"{who} never stays at four fifths of it; its best is {units.percent(top)}."
        elif start == curve[0][0]:
            yield f"{who} stays above four fifths of it at every length."
        else:
            yield f"{who} stays above four fifths of it from KV {start} on."
