"""How near decode and prefill attention come to their roofs, and which backend gets there."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench import units
from bench.analysis import attention as facts
from bench.analysis import names, tidy
from bench.report.phrases import listed, many
from bench.report.plots import sweep
from bench.report.sections import Plots, RunView, Sentences, lines, of_roof

GROUP = "Attention"
OWN = "torch's choice"
_SLOWER = 1.05


@dataclass(frozen=True)
class Phase:
    """What attention does for a token, in which words its rate and its length are told, and where backends compare."""

    name: str
    does: str
    text: Callable[[float], str]
    keys: str
    axis: str
    shape: Mapping[str, Any]

    def curve(self, params: Mapping[str, Any]) -> str:
        if self.name == facts.PREFILL:
            return "causal" if params.get("causal") else "full"
        return f"{str(params.get('layout')).upper()}, batch {params.get('batch')}"

    def cases(self, view: RunView) -> pd.DataFrame:
        """With the name of each one's curve."""
        seen = facts.attention(view.rows, view.fit, self.name)
        return seen.assign(curve=list(map(self.curve, seen["params"])))


_GQA, _CAUSAL = {"layout": "gqa", "batch": 8}, {"layout": "mha", "batch": 1, "causal": True}
PHASES = (
    Phase(facts.DECODE, "moves", units.bandwidth, "KV", "Keys and values in the cache", _GQA),
    Phase(facts.PREFILL, "computes", units.flops, "prompt", "Prompt length", _CAUSAL),
)


def plots(view: RunView) -> Plots:
    for phase in PHASES:
        seen, name, title = phase.cases(view), f"attention-{phase.name}", phase.name.capitalize()
        yield from _shares(name, title, "Backend: torch's choice.", facts.own(seen), "curve", phase)
        caption = f"{phase.curve(phase.shape)}; the same demand for every backend, so that a share compares."
        name, title, seen = f"{name}-backends", f"{title} by backend", facts.rivals(seen, **phase.shape)
        yield from _shares(name, title, caption, seen, "backend", phase)


def _shares(id: str, title: str, caption: str, seen: pd.DataFrame, by: str, phase: Phase) -> Plots:
    """A line per group, torch's own choice first."""
    found = sorted(seen.groupby(by, sort=False), key=lambda group: group[0] != facts.OWN)
    groups = {OWN if name == facts.OWN else name: part for name, part in found}
    roof = f"measured {names.roof(next(filter(None, seen['roof']), ''))} roof"
    axes = "keys", "attained", sweep.PERCENT, phase.axis, f"Percent of {roof}"
    return lines(id, title, caption, groups, *axes, even=roof)


def findings(view: RunView) -> Sentences:
    for phase in PHASES:
        seen, rate = phase.cases(view), facts.RATES[phase.name]
        for best in tidy.each(facts.own(seen).nlargest(1, rate)):
            share = f", {of_roof(best.attained, best.roof)}" if best.roof else ""
            most = f"{phase.text(getattr(best, rate))}{share} ({best.curve}, {phase.keys} {best.keys:,.0f})"
            yield f"{phase.name.capitalize()} {phase.does} at most {most}."
        worst = max(facts.fastest(facts.rivals(seen, **phase.shape)), default=None)
        if worst and worst.times > _SLOWER:
            times, at = units.digits(worst.times), f"{phase.name}, {phase.keys} {worst.keys:,.0f}"
            yield f"torch's own choice takes up to {times} times as long as {worst.name} ({at})."


def notes(view: RunView) -> Sentences:
    found = [phase.cases(view) for phase in PHASES]
    decode, prefill = map(facts.own, found)
    if len(decode) and prefill.empty:
        yield "No prefill was measured."
    yield from _near(decode[decode["attained"].notna()])
    ran = Counter(given["backend"] for given in [*decode["notes"], *prefill["notes"]] if "backend" in given)
    if said := [f"{name} in {many(count, 'case')}" for name, count in ran.most_common()]:
        yield f"Left alone, torch chose {listed(said, 3)}."
    for phase, seen in zip(PHASES, found, strict=True):
        yield from _fastest(facts.rivals(seen, **phase.shape), f"{phase.name} ({phase.curve(phase.shape)})")
    rows = tidy.each(view.rows[view.rows["probe"] == "attention"])
    refused = Counter((str(row.params.get("phase")), row.skip) for row in rows if row.skip and "refuses" in row.skip)
    for (phase, why), count in refused.items():
        yield f"{phase.capitalize()}, {many(count, 'case')}: {why}."
    for keys, times in facts.unfused(found[1]):
        took = f"{units.digits(times)} times as long"
        yield f"Unfused, with its scores in memory, prefill of {keys:,.0f} takes {took}."


def _near(seen: pd.DataFrame) -> Sentences:
    """From which length on decode stays near the roof, for the smallest batch of each layout."""
    for _, part in seen.groupby([str(params.get("layout")) for params in seen["params"]], sort=False):
        part = part[part["batch"] == part["batch"].min()]
        slow, later = facts.slow_until(part)
        where = f"from KV {later:,.0f} on" if tidy.has(later) else "at every length"
        if tidy.has(slow) and not tidy.has(later):
            where = f"from no length on; best {units.percent(part['attained'].max())}"
        of = f"{units.percent(facts.NEAR, 2)} of the {names.roof(part['roof'].iloc[0])} roof"
        yield f"{part['curve'].iloc[0]}: above {of} {where}."


def _fastest(rivals: pd.DataFrame, where: str) -> Sentences:
    """Which backend is fastest over which lengths."""
    spans = facts.spans(rivals)
    if len(spans) == 1 and len(spans[0][0]) == rivals["backend"].nunique() - 1 > 1:
        yield f"No backend is clearly faster than another for {where}."
    elif spans:
        said = [
            f"{'/'.join(sorted(alike))} at {first:,.0f}" + f"–{last:,.0f}" * (last > first)
            for alike, first, last in spans
        ]
        yield f"Fastest for {where}: {listed(said, 3)}."
