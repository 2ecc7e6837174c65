"""The comparison as plain values, SI base units: what `compare --json` prints and what the page lets be downloaded."""

from collections.abc import Sequence
from typing import Any

from bench import units
from bench.analysis.difference import EQUIVALENT, LEVEL, Against, Difference
from bench.analysis.fit import Fit
from bench.report.comparison.conditions import conditions
from bench.report.comparison.words import Label, labels
from bench.report.words import validity
from bench.schema import Run


def plain(runs: Sequence[Run], found: Sequence[Against]) -> dict[str, Any]:
    named = labels(runs)
    fits = [found[0].ours, *(each.theirs for each in found)]
    around = conditions(runs, fits)
    return {
        "level": LEVEL,
        "equivalent": EQUIVALENT,
        "runs": [_run(run, these, label) for run, these, label in zip(runs, fits, named, strict=True)],
        "conditions": [{"what": row.what, "values": list(row.values)} for row in around],
        "comparisons": [_against(each, label) for each, label in zip(found, named[1:], strict=True)],
    }


def _run(run: Run, fits: Sequence[Fit], label: Label) -> dict[str, Any]:
    about = run.environment
    return {
        "label": label.letter,
        "source": run.source,
        "run_id": about.run_id,
        "started": about.started,
        "product": about.product,
        "devices": [device.id for device in about.devices],
        "simulated": about.simulated,
        "complete": run.complete,
        "validity": validity(run, fits).word,
        "budget": about.budget,
    }


def _against(each: Against, label: Label) -> dict[str, Any]:
    return {
        "reference": "A",
        "other": label.letter,
        "kinship": each.kinship,
        "regression": each.regression,
        "unmatched": list(each.unmatched),
        "pairs": [
            {
                "reference": pair.reference.info.id,
                "other": pair.other.info.id,
                "matched": pair.matched,
                "differences": [_difference(found) for found in pair.differences],
            }
            for pair in each.pairs
        ],
    }


def _difference(each: Difference) -> dict[str, Any]:
    low, high = each.interval or (None, None)
    sides = (each.contrast.reference.n, each.contrast.other.n) if each.contrast else (None, None)
    unit = {"case": "s", "roof": units.rate(each.key)}.get(each.kind, "FLOP/B")
    return {
        "kind": each.kind,
        "key": each.key,
        "regime": each.regime,
        **({"params": dict(each.params)} if each.params is not None else {}),
        "headline": each.headline,
        "unit": unit,
        "reference": each.reference,
        "other": each.other,
        "ratio": each.ratio,
        "low": low,
        "high": high,
        "level": each.level if each.judged else None,
        "p": each.contrast.p if each.contrast else None,
        "n_reference": sides[0],
        "n_other": sides[1],
        "interval": each.basis,
        "visible": each.visible,
        "verdict": each.verdict,
        "reason": each.reason,
        "doubts": list(each.doubts),
    }
