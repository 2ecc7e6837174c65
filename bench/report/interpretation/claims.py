"""What every paragraph may need: a value beside its claim, a probe without numbers, a probe that nobody knows."""

from collections.abc import Iterator

import pandas as pd

from bench import units
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.report.words import many
from bench.roofline import Roofline


def of_theory(key: str, rate: float, theory: Roofline | None) -> str:
    claim = theory.find(key) or theory.find(key.rsplit(".", 1)[0]) if theory else None
    return (
        f", {units.percent(rate / claim.rate)} of the {names.claim(claim.evidence)}'s"
        f" {units.rate_text(claim.rate, claim.key)}"
        if claim
        else ""
    )


def settled(key: str, fit: Fit) -> Iterator[str]:
    """What lasting load leaves of a roof, and of its clock."""
    lasting = fit.sustained.roofs.get(key) if fit.sustained else None
    if lasting is None or key not in fit.roofs:
        return
    before, after = fit.roofs[key].winner.clock_hz, lasting.winner.clock_hz
    clocks = ""
    if before and after:
        moved = abs(after / before - 1) > 0.01
        clocks = f", at {units.hertz(after)}" + (f" instead of {units.hertz(before)}" if moved else " as before")
    yield (
        f"Under lasting load {names.roof(key)} keeps {units.rate_text(lasting.roof.rate, key)},"
        f" {units.percent(lasting.roof.rate / fit.roofs[key].roof.rate)} of its burst{clocks}."
    )


def nothing(rows: pd.DataFrame, probe: str) -> str:
    """Why a probe has no numbers, for a section that then has no figure."""
    part = rows[rows["probe"] == probe]
    reasons = list(dict.fromkeys(filter(None, [*part.loc[part["seconds"].isna(), "causes"], *part["skip"]])))
    if part.empty:
        return "No case of this probe is in the Run."
    if len(part) == 1 and part["skip"].iloc[0]:
        return f"Not measured: {part['skip'].iloc[0]}."
    return (
        f"Nothing was measured: {many(len(part), 'case')}, {'all ' if len(part) > 1 else ''}without a sound time."
        f" Why: {'; '.join(reasons[:2]) or 'no reason was recorded'}."
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
