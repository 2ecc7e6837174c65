"""Measured against datasheet: every roof and ridge, those below their limit first, and what the clock explains."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bench import units
from bench.analysis import names
from bench.analysis.datasheet import RoofRatio, clocked, explained
from bench.analysis.fit import Ridge
from bench.analysis.health_reasons import Reason
from bench.report.document import SKIP, WARN, Column, Finding, Section, Table, table
from bench.report.phrases import interval, plain
from bench.report.plots.roofs import doubtful
from bench.report.plots.rows import datasheet
from bench.report.sections import RunView, Sentences, plot
from bench.stats import Estimate

_CAPTION = "Bars: the interval. Grey ticks: the datasheet at the clock seen. Open: suspect or few repetitions."
_QUESTION = "How much of what its vendor claims does this device deliver, and does the clock explain the rest?"
_FORMULA = "share = measured / datasheet; datasheet at the clock seen = datasheet × clock seen / its own clock."
# A ratio this near to 1 is 1, rounded.
_ROUNDING = 1e-9
_TOP = 6


def section(view: RunView) -> Section | None:
    """None for a Run whose probes claim no roof."""
    fit = view.fit
    if not fit.roofs and not fit.missing:
        return None
    ratios = sorted(view.gaps, key=lambda each: _rank(view, each.ours.key))
    drawn = datasheet(ratios, [key for key in fit.roofs if doubtful(fit, key)], clocked(fit))
    plots = plot("datasheet", f"Percent of {view.claimed}", drawn, _CAPTION)
    about = "datasheet", f"Measured against {view.claimed}", _QUESTION, _FORMULA
    return Section(*about, _findings(view), plots, [_table(view)], _notes(view))


def _reasons(view: RunView) -> dict[str, Reason]:
    """Roof -> why health has it below its limit."""
    device = view.health.of(view.fit.info.id)
    return device.by_roof if device else {}


def _rank(view: RunView, key: str) -> tuple[bool, float]:
    """Below its limit first, then by share; what has no claim comes last."""
    return key not in _reasons(view), min([each.ratio for each in view.gaps if each.ours.key == key], default=math.inf)


def _findings(view: RunView) -> Iterator[Finding]:
    if not view.gaps:
        known = "A datasheet is known, but no roof that it states was validly measured."
        yield Finding(known if view.theory else "No datasheet is known for this product: measured values stand alone.")
        return
    low, *_, high = sorted((*view.gaps, *view.gaps), key=lambda each: each.ratio)
    key, name = low.ours.key, names.claim(low.theirs.evidence)
    rates = f"{units.rate_text(low.ours.rate, key)} of {units.rate_text(low.theirs.rate, key)}"
    best = f"; highest: {names.roof(high.ours.key)}, {units.percent(high.ratio)}" if high is not low else ""
    text = f"Lowest: {names.roof(key)}, {units.percent(low.ratio)} of {name} ({rates}){best}."
    yield Finding(text, WARN if key in _reasons(view) else "")
    known = [each for each in view.gaps if each.ours.key in clocked(view.fit)]
    lowest = min(known, key=lambda each: each.ratio, default=None)
    for each in known:
        if each is lowest or each.ours.key == view.fit.info.headline:
            yield Finding(_explained(view, each))


def _explained(view: RunView, each: RoofRatio) -> str:
    """How far the clock that was seen explains what a roof lacks."""
    key, rate = each.ours.key, clocked(view.fit)[each.ours.key]
    clock, allowed = units.hertz(view.fit.roofs[key].winner.clock_hz or 0), units.rate_text(rate, key)
    reached = units.percent(each.ours.rate / rate)
    text = f"At {clock} the datasheet allows {names.roof(key)} {allowed}; reached: {reached}"
    if each.ours.rate > 1.02 * rate:
        return f"{text}, more than that clock allows."
    if each.ratio >= 0.98:
        return f"{text}."
    part = explained(each, rate)
    much = "nearly all" if part > 0.9 else units.percent(part, 2) if part > 0.1 else "nothing"
    return f"{text}, the clock explains {much}."


def _notes(view: RunView) -> Sentences:
    if over := [each for each in view.gaps if each.low > 1 + _ROUNDING]:
        more = f" and {len(over) - 1} more lie" if over[1:] else " lies"
        cause = "a higher clock, or a low claim" if any(each.ours.is_compute for each in over) else "the claim is low"
        cause = "the noise that was asked for" if view.simulated else cause
        whole = " with the whole interval" if over[0].ours.n > 1 else ", measured once"
        yield f"{names.roof(over[0].ours.key)}{more} above the datasheet{whole}: {cause}."
    for key in dict.fromkeys((view.fit.info.headline, *_reasons(view))):
        causes = view.fit.roofs[key].winner.causes if key in view.fit.roofs else ()
        yield from (f"{names.roof(key)}: {plain(cause)}." for cause in causes if cause.startswith("clocks held"))
    if view.theory and "dram" not in view.theory:
        yield "No memory bandwidth is claimed for this product, so its ridge has no counterpart."
    if any(each.assumed for each in view.gaps):
        yield "The peaks are assumed from cores × width × clock, not printed by a vendor."


def _amount(value: float, key: str) -> str:
    return units.intensity(value) if key.startswith("ridge ") else units.rate_text(value, key)


_AMOUNT = {"text": _amount, "by": "key", "unit": "FLOP/s, B/s or FLOP/B"}
_ROOF, _MEASURED, _INTERVAL = Column("roof", "name"), Column("measured", "rate", **_AMOUNT), Column("interval")
_SHARE = Column("% of datasheet", "ratio", units.percent, mark="low")


def _columns() -> Iterator[Column]:
    yield from (_ROOF, Column("key"), _MEASURED, _INTERVAL, Column("kind"), Column("n"))
    yield from (Column("datasheet", "claim", **_AMOUNT), _SHARE, Column("its interval", "span"))
    yield Column("clock seen", "clock_hz", units.hertz, unit="Hz")
    yield Column("datasheet at it", "clocked", _amount, by="key", unit="FLOP/s")
    yield from (Column("% of that", "clocked_share", units.percent), Column("sustained", **_AMOUNT))
    yield from (Column("% of burst", "burst_share", units.percent), Column("rests on", "evidence"))
    yield Column("doubts", mark="mark")


def _named(view: RunView, columns: Sequence[Column] | Iterator[Column]) -> Iterator[Column]:
    """What is assumed is not called a datasheet."""
    return (replace(each, name=each.name.replace("datasheet", view.claimed)) for each in columns)


def top(view: RunView) -> Table:
    """The roofs to read first: value, share of the datasheet, interval."""
    fit = view.fit
    rest = sorted(fit.roofs, key=lambda key: (key.method == "loop", -fit.roofs[key].roof.rate))
    rows = [_roof(view, key) for key in view.headlines | dict.fromkeys(rest) if key in fit.roofs][:_TOP]
    columns = _named(view, (_ROOF, _MEASURED, _SHARE, _INTERVAL))
    return table("top-roofs", "Most important roofs", rows, *columns, folded=False)


def _table(view: RunView) -> Table:
    fit = view.fit
    rows = [_roof(view, key) for key in sorted(fit.roofs, key=lambda key: _rank(view, key))]
    rows += [_ridge(view, ridge) for ridge in fit.ridges]
    for key, why in fit.missing.items():
        rows.append({"key": key, "name": names.roof(key), "doubts": f"missing: {why}", "mark": SKIP})
    return table("roofs", "Every roof and ridge, measured and claimed", rows, *_named(view, _columns()))


def _row(key: str, name: str, value: Estimate, claim: float | None, lasting: Estimate | None) -> dict[str, Any]:
    found = {"key": key, "name": name, "rate": value.value, "kind": value.kind, "n": value.n}
    found |= {"interval": interval(value, partial(_amount, key=key))}
    found |= {"sustained": lasting.value, "burst_share": lasting.value / value.value} if lasting else {}
    if claim:
        span = interval(value, lambda end: units.percent(end / claim))
        found |= {"claim": claim, "ratio": value.value / claim, "span": span}
    return found


def _roof(view: RunView, key: str) -> dict[str, Any]:
    fitted, allowed, reason = view.fit.roofs[key], clocked(view.fit).get(key), _reasons(view).get(key)
    roof, theirs, lasting = fitted.roof, view.claim(key), view.fit.lasting(key)
    claim, after = theirs.rate if theirs else None, lasting.roof.estimate if lasting else None
    return _row(key, names.roof(key), roof.estimate, claim, after) | {
        "low": reason.status if reason else "",
        "clock_hz": fitted.winner.clock_hz,
        "clocked": allowed,
        "clocked_share": roof.rate / allowed if allowed else None,
        "evidence": roof.evidence,
        "doubts": "; ".join(filter(None, (roof.caution, theirs.caution if theirs else ""))),
        "mark": WARN if roof.caution else "",
    }


def _ridge(view: RunView, ridge: Ridge) -> dict[str, Any]:
    compute, memory = view.claim(ridge.compute), view.claim(ridge.memory)
    claim = view.theory.ridge(compute.key, memory.key) if compute and memory else None
    others = view.fit.sustained.ridges if view.fit.sustained else ()
    lasting = next((other.estimate for other in others if other.compute == ridge.compute), None)
    name = f"ridge: {names.roof(ridge.compute)} / {names.channel(ridge.memory)}"
    what = {"evidence": "ratio of both roofs per repetition", "doubts": "headline ridge" if ridge.headline else ""}
    return _row(f"ridge {ridge.compute}", name, ridge.estimate, claim, lasting) | what
