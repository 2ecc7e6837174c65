"""How far the measurements of a Run may be believed, whatever they say of the machine."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.fit import Fit
from bench.schema import Measurement, Run

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
    what else makes the Run less than valid.
    suspect_share: of the time that was measured, what is suspect or invalid.
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
    elif (
        not run.complete
        or counts[INVALID]
        or counts[SUSPECT]
        or any(roof.caution for fit in fits for roof in fit.roofline.roofs)
    ):
        status = SUSPECT
    else:
        status = VALID
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
