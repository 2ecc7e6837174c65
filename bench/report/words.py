"""What the data says, in sentences: computed from the Run, true of it, and silent where there is nothing to say."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bench import units
from bench.analysis.compare import Gap, at_clock
from bench.analysis.fit import Fit
from bench.report import frame, names
from bench.roofline import Roof, Roofline
from bench.schema import Run, Unreached
from bench.stats import Estimate

# A roof below this share of its claim is worth a look; vendors' own tools reach 90 % and more of most of them.
LOW = 0.85
# A ratio this near to 1 is 1, rounded.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Validity:
    """How far a Run may be believed: a word (valid, suspect, invalid, empty), counts, and the causes by weight."""

    word: str
    counts: Counter
    causes: tuple[tuple[str, int], ...]


def unreached(run: Run) -> str:
    """What the budget had no time for, once per probe; "" where it reached everything."""
    most: dict[str, Unreached] = {}
    for each in run.end.unreached if run.end else ():
        most[each.probe] = max(each, most.get(each.probe, each), key=lambda one: one.cases)
    if not most:
        return ""
    said = (
        f"{each.cases} of {each.of} roofs under lasting load"
        if name == "sustained"
        else f"{each.cases} of {each.of} cases of {name}"
        for name, each in most.items()
    )
    return f"Not reached within the budget ({run.environment.budget}): {', '.join(said)}."


def validity(run: Run, fits: Sequence[Fit]) -> Validity:
    """By measurements; skips are not counted. Invalid when a device lost every roof it claimed, or half is invalid."""
    done = [m for m in run.measurements if not m.skip]
    counts = Counter(m.validity for m in done)
    causes = Counter(kind(reason) for m in done if m.validity != "valid" for reason in m.reasons)
    if not done:
        word = "empty"
    elif any(fit.missing and not fit.roofs for fit in fits) or counts["invalid"] * 2 > len(done):
        word = "invalid"
    elif (
        not run.complete
        or counts["invalid"]
        or counts["suspect"]
        or any(roof.caution for fit in fits for roof in fit.roofline.roofs)
    ):
        word = "suspect"
    else:
        word = "valid"
    return Validity(word, counts, tuple(causes.most_common(5)))


def kind(reason: str) -> str:
    """A reason without its numbers, so that like counts with like."""
    reason = re.sub(r"\brank \d+: ", "", reason)
    reason = re.sub(r"\b\d+(\.\d+)? ?% of ", "part of ", reason)
    return re.sub(r"\b\d+(\.\d+)?\b( [µmnkMGT]?i?[sB]\b)?", "…", reason)


def spread(value: Estimate | Roof, text) -> str:
    """ "95 % interval 4.75–4.85 TB/s", or "range of 3 …"."""
    kind = value.kind if isinstance(value, Estimate) else value.estimate.kind
    return f"{kind}{':' * kind.startswith('range')} {units.between(value.low, value.high, text)}"


def rate_spread(roof: Roof) -> str:
    return spread(roof, lambda value: units.rate_text(value, roof.key))


def many(count: int, noun: str, plural: str = "") -> str:
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def verdict(run: Run, fits: Sequence[Fit], theory: Roofline | None) -> str:
    """One sentence: what this machine reaches."""
    fit = frame.shown(fits)
    if fit is None or not fit.roofs:
        reason = next(iter(fit.missing.values()), "") if fit else ""
        if fit and not fit.missing and any(case.seconds for case in fit.cases):
            probes = listed(list(dict.fromkeys(case.probe for case in fit.cases)))
            return f"This Run measured {probes}, which claim no roof: the points are below, without a ceiling."
        return f"No roof rests on a sound measurement{f': {reason}' if reason else ''}."
    memory, compute = fit.roofline.find("dram"), fit.roofline.find(fit.info.headline)
    parts = []
    for roof, verb in ((memory, "moves"), (compute, "computes")):
        if roof:
            claim = theory.find(roof.key) or theory.find(roof.quantity) if theory else None
            share = f", {units.percent(roof.rate / claim.rate)} of its {names.claim(claim.evidence)}" if claim else ""
            what = f"{names.channel(roof.key)}" if not roof.is_compute else names.roof(roof.key)
            parts.append(f"{verb} {regimes(fit, roof)} ({what}{share})")
    who = f"{names.device(fit.info.id)} of {len(fits)}" if len(fits) > 1 else "This machine"
    if run.environment.simulated:
        who = f"Simulated: {who[0].lower() + who[1:] if who.startswith('This') else who}"
    if not parts:
        return (
            f"{who} has {many(len(fit.roofs), 'measured roof')}, but neither its DRAM nor its"
            f" {names.roof(fit.info.headline)}."
        )
    text = f"{who} {' and '.join(parts)}"
    if fit.headline:
        text += f"; a kernel needs {units.intensity(fit.headline.estimate.value)} to be compute-bound"
    return text + "."


def regimes(fit: Fit, roof: Roof) -> str:
    """ "788 TFLOP/s", or "788 TFLOP/s in a burst and 701 TFLOP/s sustained" where lasting load was measured."""
    burst = units.rate_text(roof.rate, roof.key)
    lasting = fit.sustained.roofs.get(roof.key) if fit.sustained else None
    return f"{burst} in a burst and {units.rate_text(lasting.roof.rate, roof.key)} sustained" if lasting else burst


def look_first(
    run: Run, fits: Sequence[Fit], rows: pd.DataFrame, gaps: Sequence[Gap], news: Sequence[str] = ()
) -> list[str]:
    """What deserves attention, gravest first; one reassuring sentence where nothing does. news: what goes before."""
    found = [
        *news,
        *_broken(run, fits),
        *_handicaps(fits),
        *_apart(fits),
        *_doubts(run, fits),
        *_above(rows),
        *_low(gaps, run),
    ]
    if found:
        return found
    if gaps:
        worst = min(gaps, key=lambda gap: gap.ratio)
        return [
            f"Nothing stands out: every measurement is valid and the lowest roof, {names.roof(worst.ours.key)}, reaches"
            f" {units.percent(worst.ratio)} of its {names.claim(worst.theirs.evidence)}."
        ]
    return ["Nothing stands out: every measurement is valid. There is no claim to compare with."]


def _broken(run: Run, fits: Sequence[Fit]) -> list[str]:
    found = []
    if not run.complete:
        status = run.end.status if run.end else "cut short without an end line"
        found.append(f"The Run is incomplete ({status}): what was not measured is missing, not slow.")
    found += [f"Failed: {failure}" for failure in (run.end.failures if run.end else ())]
    for fit in fits:
        # a level that the device was never able to measure is a skip; a roof lost to invalid measurements is news
        lost = [key for key in fit.missing if any(c.saturates == key and c.validity == "invalid" for c in fit.cases)]
        if lost:
            who = f" of {names.device(fit.info.id)}" if len(fits) > 1 else ""
            more = [many(len(lost) - 3, "other roof")] if len(lost) > 3 else []
            which = listed([names.quantity(key) for key in lost[:3]] + more)
            found.append(f"No valid measurement supports {which}{who}: {fit.missing[lost[0]]}.")
    return found


def _handicaps(fits: Sequence[Fit]) -> list[str]:
    """What kept a device from showing what it can do."""
    return [
        f"{text[0].upper()}{text[1:]}."
        for text in dict.fromkeys(fit.info.facts.get("caution", "") for fit in fits)
        if text
    ]


def _apart(fits: Sequence[Fit]) -> list[str]:
    siblings = frame.siblings(fits)
    found = []
    for device, part in siblings[siblings["apart"]].groupby("device", sort=False):
        worst = part.loc[(part["ratio"] - 1).abs().idxmax()]
        others = f" (and {many(len(part) - 1, 'other roof')})" if len(part) > 1 else ""
        side = "slower" if worst["ratio"] < 1 else "faster"
        found.append(
            f"{names.device(str(device))} stands apart from its siblings: {names.roof(worst['key'])} is"
            f" {units.percent(abs(worst['ratio'] - 1), 2)} {side} than the median,"
            f" {units.rate_text(worst['rate'], worst['key'])} against"
            f" {units.rate_text(worst['median'], worst['key'])}{others}."
        )
    return found


def _doubts(run: Run, fits: Sequence[Fit]) -> list[str]:
    judged = validity(run, fits)
    doubtful = judged.counts["suspect"] + judged.counts["invalid"]
    found = []
    if doubtful:
        total = sum(judged.counts.values())
        advice = "Repeat on an idle machine before believing small differences."
        if judged.word == "invalid":
            advice = "Remove the cause and measure again: what is missing here says nothing of the machine."
        cause = f", most often because {judged.causes[0][0]}" if judged.causes else ""
        found.append(
            f"{doubtful} of {many(total, 'measurement')} are not fully valid ({judged.counts['suspect']} suspect, "
            f"{judged.counts['invalid']} invalid){cause}. {advice}"
        )
    weak = [roof.key for fit in fits[:1] for roof in fit.roofline.roofs if roof.n < 3]
    if weak:
        found.append(f"{listed([names.roof(key) for key in weak[:3]])} rest on fewer than three repetitions.")
    return found


def _above(rows: pd.DataFrame) -> list[str]:
    above = rows[rows["above"].astype(bool)] if len(rows) else rows
    if above.empty:
        return []
    worst = above.loc[above["share"].idxmax()]
    return [
        f"{many(len(above), 'case lies', 'cases lie')} above the measured roof, {worst['probe']} ({worst['case']})"
        f" most: {units.percent(worst['share'])}. The roof was under-measured (taken at a slower moment, say), its data"
        " stayed in a cache, or a formula is wrong."
    ]


def _low(gaps: Sequence[Gap], run: Run) -> list[str]:
    low = sorted((gap for gap in gaps if gap.high < LOW), key=lambda gap: gap.ratio)
    if not low:
        return []
    gap = low[0]
    more = f"; {many(len(low) - 1, 'other roof')} also below {units.percent(LOW)}" if len(low) > 1 else ""
    return [
        f"{names.roof(gap.ours.key)} reaches only {units.percent(gap.ratio)} of its {names.claim(gap.theirs.evidence)} "
        f"({units.rate_text(gap.ours.rate, gap.ours.key)} of {units.rate_text(gap.theirs.rate, gap.theirs.key)}){more}."
    ]


def against_theory(gaps: Sequence[Gap], ridge: float | None, fit: Fit, simulated: bool, known: bool = False) -> str:
    """The comparison in a paragraph."""
    if not gaps and known:
        return "A datasheet is known for this product, but no roof that it states rests on a sound measurement here."
    if not gaps:
        return (
            "No datasheet is known for this product, so measured values stand alone: there is no percentage of theory"
            " to give."
        )
    best, worst = max(gaps, key=lambda gap: gap.ratio), min(gaps, key=lambda gap: gap.ratio)
    text = (
        f"Of {many(len(gaps), 'roof')} with a claimed value, {names.roof(best.ours.key)} is highest"
        f" ({units.percent(best.ratio)}) and {names.roof(worst.ours.key)} lowest ({units.percent(worst.ratio)})."
    )
    over = [gap for gap in gaps if gap.low > 1 + _ROUNDING]
    which = listed([names.roof(gap.ours.key) for gap in over]) if over else ""
    if over:
        text += (
            f" {which[0].upper()}{which[1:]} "
            f"{'lies' if len(over) == 1 else 'lie'} above the claim with the whole interval: "
            + (
                "that is the noise that was asked for."
                if simulated
                else "the clock ran above the one that the claim assumes, or the claim is low."
                if any(gap.ours.is_compute for gap in over)
                else "the claim is low."
            )
        )
    text += "".join(f" {sentence}" for sentence in _clocks(gaps, fit))
    if ridge and fit.headline:
        value = fit.headline.estimate
        text += (
            f" The headline ridge is {units.intensity(value.value)} ({spread(value, units.digits)}) where the datasheet"
            f" gives {units.intensity(ridge)}, {units.percent(value.value / ridge)}."
        )
    if "dram" not in {gap.ours.key for gap in gaps}:
        text += " No memory bandwidth is claimed for this product, so the ridge has no theoretical counterpart."
    if any(gap.theirs.evidence.startswith("assumed") for gap in gaps):
        text += " The claims are assumed from the core's width and clock, not printed by a vendor."
    return text


def _clocks(gaps: Sequence[Gap], fit: Fit) -> list[str]:
    """How far the clock that was seen explains what the headline and the lowest roof lack, and what held it."""
    found = []
    known = [gap for gap in gaps if at_clock(fit.info, gap.ours.key, fit.roofs[gap.ours.key].winner.clock_hz)]
    lowest = min(known, key=lambda gap: gap.ratio, default=None)
    for gap in known:
        if gap.ours.key == fit.info.headline or gap is lowest:
            found.append(_clock(gap, fit))
    return found


def _clock(gap: Gap, fit: Fit) -> str:
    case = fit.roofs[gap.ours.key].winner
    claim = at_clock(fit.info, gap.ours.key, case.clock_hz) or gap.theirs.rate
    text = (
        f"{names.roof(gap.ours.key)} ran at {units.hertz(case.clock_hz or 0.0)}, where the datasheet's machine would"
        f" reach {units.rate_text(claim, gap.ours.key)}: at the observed clock that is"
        f" {units.percent(gap.ours.rate / claim)}"
    )
    if gap.ours.rate > 1.02 * claim:
        text += ", more than such a clock allows, so it was faster than that while the work was done"
    elif gap.ratio < 0.98:
        part = math.log(gap.theirs.rate / claim) / math.log(1 / gap.ratio)
        text += (
            ", so the clock explains nearly all that is missing"
            if part > 0.9
            else f", so the clock explains {units.percent(part, 2)} of what is missing"
            if part > 0.1
            else ", so the clock does not explain what is missing"
        )
    held = next((cause for cause in case.causes if cause.startswith("clocks held")), "")
    return f"{text}{f' ({held})' if held else ''}."


def several(fits: Sequence[Fit]) -> str:
    """What the siblings say of one another."""
    siblings = frame.siblings(fits)
    if siblings.empty:
        return f"{many(len(fits), 'device')}, but no roof that two of them share."
    apart = _apart(fits)
    spreads = siblings.groupby("key", sort=False)["ratio"].agg(lambda ratios: ratios.max() - ratios.min())
    text = f"{len(fits)} devices, {many(len(spreads), 'shared roof')}. "
    if apart:
        return text + " ".join(apart)
    key = spreads.idxmax()
    return (
        text
        + f"No device stands apart; the widest spread is {units.percent(spreads[key], 2)}, in {names.roof(str(key))}."
    )
