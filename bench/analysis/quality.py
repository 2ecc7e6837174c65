"""How far the measurements of a Run may be believed, whatever they say of the machine, and what has no number."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.analysis.fit import Fit
from bench.schema import Measurement, Run, Unreached

VALID, SUSPECT, INVALID, NOT_USABLE, EMPTY = "valid", "suspect", "invalid", "not usable", "empty"
WORST_FIRST = (NOT_USABLE, INVALID, EMPTY, SUSPECT, VALID)
INCOMPLETE = "incomplete Run"
# Beyond this share of the time a Run describes what disturbed it more than the machine: a median over repetitions
# outvotes the disturbed ones only while they are fewer. Runs on machines in ordinary use have 2 to 4 %; beside a build
# on every core it is all of the time.
MOST_SUSPECT = 0.5


@dataclass(frozen=True)
class Quality:
    """status: VALID, SUSPECT, INVALID, NOT_USABLE or EMPTY. counts: of measurements by validity; skips are none.
    causes: why measurements are suspect or invalid, without their numbers, the most frequent five; where each is valid,
    what else makes the Run less than valid. suspect_share: of the time that was measured, what is suspect or invalid.
    """

    status: str
    counts: Counter
    causes: tuple[tuple[str, int], ...]
    suspect_share: float


def quality(run: Run, fits: Sequence[Fit]) -> Quality:
    """Invalid where a device lost every roof that it claimed, or half of the measurements are."""
    done = [m for m in run.measurements if not m.skip]
    counts = Counter(m.validity for m in done)
    causes = Counter(kind(reason) for m in done if m.validity != VALID for reason in m.reasons)
    share = suspect_share(done)
    if not done:
        status = EMPTY
    elif share > MOST_SUSPECT:
        status = NOT_USABLE
    elif any(fit.missing and not fit.roofs for fit in fits) or counts[INVALID] * 2 > len(done):
        status = INVALID
    else:
        cautioned = any(roof.caution for fit in fits for roof in fit.roofline.roofs)
        status = SUSPECT if not run.complete or counts[INVALID] or counts[SUSPECT] or cautioned else VALID
    if status in (SUSPECT, INVALID) and not causes:
        causes = Counter(_beside(run, fits))
    return Quality(status, counts, tuple(causes.most_common(5)), share)


def _beside(run: Run, fits: Sequence[Fit]) -> Iterator[str]:
    """What makes a Run of valid measurements less than valid."""
    if not run.complete:
        yield INCOMPLETE
    for fit in fits:
        yield from (kind(roof.caution) for roof in fit.roofline.roofs if roof.caution)
        yield from (kind(cause) for cause in fit.missing.values() if not fit.roofs)


def suspect_share(measurements: Iterable[Measurement]) -> float:
    """Of the time spent on measurements, what is suspect or invalid; of their number where no time was kept."""
    done = [m for m in measurements if not m.skip]
    spent = [m.elapsed for m in done]
    spent = spent if sum(spent) > 0 else [1.0] * len(done)
    bad = sum(seconds for m, seconds in zip(done, spent, strict=True) if m.validity != VALID)
    return bad / sum(spent) if spent else 0.0


def kind(reason: str) -> str:
    """A reason without its numbers, so that like counts with like."""
    reason = re.sub(r"\brank \d+: ", "", reason)
    reason = re.sub(r"\b\d+(\.\d+)? ?% of ", "part of ", reason)
    return re.sub(r"\b\d+(\.\d+)?\b( [µmnkMGT]?i?[sB]\b)?", "…", reason)


@dataclass(frozen=True)
class Lack:
    """Measurements of a probe that were skipped, or are invalid, for reasons that differ only in their numbers. reason,
    params: of the first of them; others: how many reasons there are beside it.
    """

    probe: str
    skipped: bool
    reason: str
    others: int
    cases: int
    devices: int
    params: Mapping[str, Any]


def lacking(run: Run) -> list[Lack]:
    """Like with like over devices."""
    grouped: dict[tuple[str, bool, str], list[Measurement]] = {}
    for m in run.measurements:
        if m.skip or m.validity == INVALID:
            grouped.setdefault((m.probe, bool(m.skip), kind(_reason(m))), []).append(m)
    found = []
    for (probe, skipped, _), group in grouped.items():
        others, devices = len(set(map(_reason, group))) - 1, len({m.device for m in group})
        found.append(Lack(probe, skipped, _reason(group[0]), others, len(group), devices, group[0].params))
    return found


def _reason(m: Measurement) -> str:
    return m.skip or "; ".join(m.reasons) or "no reason given"


def unreached(run: Run) -> list[Unreached]:
    """What the budget had no time for, once per probe: the most of any device."""
    most: dict[str, Unreached] = {}
    for each in run.end.unreached if run.end else ():
        most[each.probe] = max(each, most.get(each.probe, each), key=lambda one: one.cases)
    return list(most.values())
