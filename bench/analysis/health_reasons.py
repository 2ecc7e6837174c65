"""Why a device's health is in doubt: by its driver's counters, its siblings, a baseline and its datasheet.

Facts only, each as one Reason. What a device is compared with is decided where it always is (bench.analysis.siblings,
run_comparison, datasheet); here is only what it means for its health.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.datasheet import RoofRatio, at_clock, compare, datasheet
from bench.analysis.fit import Fit
from bench.analysis.quality import kind
from bench.analysis.quantities import EQUIVALENT, Difference
from bench.analysis.run_comparison import RunComparison
from bench.analysis.siblings import LEVEL, SiblingRoof, sibling_key
from bench.analysis.summary import Summary
from bench.analysis.telemetry import MOST_CORRECTED, THROTTLES, DeviceTelemetry
from bench.roofline import Roof
from bench.schema import SUSTAINED, Measurement, Run

WARN, FAIL = "warn", "fail"
SIBLINGS, BASELINE, DATASHEET = "siblings", "baseline", "datasheet"
THROTTLED, POWER_LIMIT, CLOCK_SETTING, CLOCK = "throttled", "power limit", "clock setting", "clock"
LOST, NOT_MEASURABLE = "lost", "not measurable"
# Siblings differ and none of them is the one that is off.
SPREAD = "spread"
MEMORY_ERRORS, CORRECTED_ERRORS, ROW_REMAP = "memory errors", "corrected memory errors", "row remap"
PCIE, NVLINK, OTHERS = "PCIe", "NVLink", "other processes"

# Of its datasheet. The best GEMM of a healthy GPU comes near its claim; where it does not, the clock was held below the
# one that the claim assumes, and by what is worth knowing. Of DRAM, refresh and turning the bus between reading and
# writing take their part from every GPU: 90 to 93 % is what vendors' own tools reach of most.
LOW_COMPUTE, LOW_DRAM = 0.90, 0.85
# Of the time that heat, a power brake or the power limit took: the driver's counters step, so less is nothing.
LEAST_SHARE = 0.01
# A clock explains a low roof if it explains at least this much of what is missing (as logarithms).
EXPLAINED = 0.5
# From three others on siblings say what is usual; one or two can only disagree.
FEWEST_SIBLINGS = 3
# A "range of n" is no interval: two of them that do not meet may still be chance, unless they are this far apart.
SURE = 0.001
# What is known of a device of which nothing is.
NOTHING = "nothing was measured"
# Of what is broken, the gravest first.
_BROKEN = (LOST, MEMORY_ERRORS, ROW_REMAP, NOT_MEASURABLE)
# What holds a clock by design: how a GPU works at full load, or in step with its group. Everything else is a throttle.
_CLOCK_CAUSES = {THROTTLES["throttled_power_cap_s"]: POWER_LIMIT, THROTTLES["throttled_sync_boost_s"]: CLOCK_SETTING}


@dataclass(frozen=True)
class Reason:
    """One fact that speaks against a device. status: WARN or FAIL. cause: one of the constants of this module. key: of
    the roof, "" where it is about the whole device. value, expected: FLOP/s or B/s of a roof, else a count; ratio:
    value over expected. n: siblings or repetitions behind `expected`, or how many. share: of the time. detail: the
    driver's or a record's own words, "sustained" for a roof of that regime.
    """

    device: str
    status: str
    cause: str
    key: str = ""
    value: float | None = None
    expected: float | None = None
    ratio: float | None = None
    n: int = 0
    share: float | None = None
    detail: str = ""

    @property
    def stays(self) -> bool:
        """Whether no repetition on an idle machine cures it: a lost or hot device, bad memory."""
        bad = self.cause in (*_BROKEN, THROTTLED) and not self.key
        return bad and not self.detail.startswith("other processes")

    @property
    def weight(self) -> tuple[int, float, int]:
        """For sorting, gravest first: FAIL before WARN, what is broken before what deviates, then by how much."""
        broken = self.cause in _BROKEN and not self.key
        off = math.inf if broken else abs(self.ratio - 1) if self.ratio is not None else self.share or 0.0
        return (self.status != FAIL, -off, _BROKEN.index(self.cause) if broken else len(_BROKEN))


def by_driver(seen: DeviceTelemetry, fit: Fit, most_links: int) -> Iterator[Reason]:
    """What its driver counted. most_links: NVLinks that the best connected of its siblings has up."""
    who = fit.info.id
    if lost := seen.ever("lost"):
        yield Reason(who, FAIL, LOST, detail=str(lost))
    if errors := seen.grown("ecc_double_bit"):
        yield Reason(who, FAIL, MEMORY_ERRORS, value=errors, expected=0.0)
    if seen.ever("remap_failed"):
        yield Reason(who, FAIL, ROW_REMAP, detail="failed")
    elif seen.ever("remap_pending"):
        yield Reason(who, WARN, ROW_REMAP, detail="pending")
    if (corrected := seen.grown("ecc_single_bit") or 0) > MOST_CORRECTED:
        yield Reason(who, WARN, CORRECTED_ERRORS, value=corrected, expected=0.0)
    for cause, share in seen.throttled_share.items():
        if cause not in _CLOCK_CAUSES and share > LEAST_SHARE:
            # a device that could show nothing for it is not only slow
            useless = not fit.roofs and bool(_lost(fit, seen.measurements))
            yield Reason(who, FAIL if useless else WARN, THROTTLED, share=share, detail=cause)
    # the generation of an idle link goes down to save power, the number of its lanes does not
    lanes = seen.info.facts.get("pcie_width_max", "")
    most_lanes = int(lanes) if lanes.isdigit() else 0
    for cause, up, most in ((PCIE, seen.last("pcie_width"), most_lanes), (NVLINK, seen.last("nvlinks"), most_links)):
        if up is not None and up < most:
            yield Reason(who, WARN, cause, value=float(up), expected=float(most), ratio=up / most)
    if seen.others:
        yield Reason(who, WARN, OTHERS, n=len(seen.others), detail=", ".join(map(str, seen.others)))


def unmeasured(
    fit: Fit, fits: Sequence[Fit], every: Sequence[DeviceTelemetry], earlier: RunComparison | None, run: Run
) -> list[Reason]:
    """What is not there to be judged, each roof once, and no roof of a device of which nothing is there."""
    found = list(_failed(fit, fits, run)) or list(_nothing_measured(fit, every))
    if any(not reason.key for reason in found):
        return found
    told = {reason.key for reason in found}
    return found + [reason for reason in _missing_roofs(fit, fits, earlier, run) if reason.key not in told]


def _failed(fit: Fit, fits: Sequence[Fit], run: Run) -> Iterator[Reason]:
    """Roofs that were lost to invalid measurements, and a device that failed: what was never able to be measured is a
    skip and no fault. A device without any roof left fails, unless it is others who kept it busy or libraries that
    refused everything.
    """
    who, mine = fit.info.id, run.of(fit.info.id)
    for failure in run.end.failures if run.end else ():
        if failure.startswith(f"{who}: "):
            yield Reason(who, FAIL, LOST, detail=failure.removeprefix(f"{who}: "))
    bad, lost = _invalid(mine), _lost(fit, mine)
    if lost and not fit.roofs:
        share, detail = _usual_cause(bad, mine)
        excused = all(m.stop_reason == "error" or _only_others(m) for m in bad)
        yield Reason(who, WARN if excused else FAIL, NOT_MEASURABLE, n=len(lost), share=share, detail=detail)
        return
    for key in lost:
        # what a library refuses on every device is the library's
        refused = all(m.stop_reason == "error" for m in bad if m.saturates == key)
        if not refused or any(key in other.roofs for other in fits):
            yield Reason(who, WARN, NOT_MEASURABLE, key, detail=fit.missing[key])


def _usual_cause(bad: Sequence[Measurement], mine: Sequence[Measurement]) -> tuple[float | None, str]:
    """(its share of the time, in the words of a usual one): what made most of the invalid measurements so."""
    kinds = Counter(name for m in bad for name in {kind(reason) for reason in m.reasons})
    if not kinds:
        return None, ""
    name = kinds.most_common(1)[0][0]
    alike = [reason for m in bad for reason in m.reasons if kind(reason) == name]
    words = sorted(alike, key=lambda reason: [float(number) for number in re.findall(r"\d+(?:\.\d+)?", reason)])
    spent = sum(m.elapsed for m in mine if not m.skip)
    taken = sum(m.elapsed for m in mine if not m.skip and name in map(kind, m.reasons))
    return (taken / spent if spent > 0 else None), words[len(words) // 2]


def _nothing_measured(fit: Fit, every: Sequence[DeviceTelemetry]) -> Iterator[Reason]:
    """A device of which there is nothing while another has something. What was skipped throughout counts only beside
    one of the same product that was not.
    """
    (own,) = (each for each in every if each.info.id == fit.info.id)
    if sum(own.counts.values()):
        return
    measured = [each for each in every if sum(each.counts.values())]
    skips = Counter(m.skip for m in own.measurements if m.skip)
    if any(not skips or sibling_key(each.info) == sibling_key(fit.info) for each in measured):
        detail = f"{NOTHING}: {skips.most_common(1)[0][0]}" if skips else NOTHING
        yield Reason(fit.info.id, FAIL, NOT_MEASURABLE, detail=detail)


def _missing_roofs(fit: Fit, fits: Sequence[Fit], earlier: RunComparison | None, run: Run) -> Iterator[Reason]:
    """Roofs that most of its siblings have, or that it had in the baseline, and that this device has not. What a Run
    never planned or did not come to is no lack.
    """
    others = [each for each in fits if each is not fit and sibling_key(each.info) == sibling_key(fit.info)]
    having = Counter(key for each in others for key in each.roofs)
    found = {key: n for key, n in having.items() if 2 * n > len(others)}
    for pair in earlier.selves if earlier else ():
        if pair.other.info.id == fit.info.id:
            # a link is one between devices, and there may be fewer of them
            fewer = {"link"} if len(earlier.theirs) < len(earlier.ours) else set()
            before = {key: roof.winner.probe for key, roof in pair.reference.roofs.items() if key not in fewer}
            asked = [key for key, probe in before.items() if probe in run.environment.probes or key in fit.missing]
            found = dict.fromkeys(asked, 1) | found
    for key, n in found.items():
        if key not in fit.roofs and (run.complete or key in fit.missing):
            yield Reason(fit.info.id, WARN, NOT_MEASURABLE, key, n=n, detail=fit.missing.get(key, "not measured"))


def _only_others(m: Measurement) -> bool:
    return bool(m.reasons) and all(kind(reason).startswith("other processes") for reason in m.reasons)


def _invalid(mine: Sequence[Measurement]) -> list[Measurement]:
    return [m for m in mine if m.validity == "invalid" and not m.skip]


def _lost(fit: Fit, mine: Sequence[Measurement]) -> list[str]:
    return [key for key in fit.missing if any(m.saturates == key for m in _invalid(mine))]


def by_siblings(burst: Sequence[SiblingRoof], lasting: Sequence[SiblingRoof]) -> Iterator[Reason]:
    """Outliers of both regimes, a roof once; a faster one makes its siblings worth a look, and so does a spread."""
    told = {(row.device, row.key) for row in burst if row.outlier or row.behind}
    new = [row for row in lasting if (row.device, row.key) not in told]
    for rows, regime in ((burst, ""), (new, SUSTAINED)):
        for row in (row for row in rows if row.outlier):
            # Its siblings' repetitions together say what noise is, so that few of each are enough; but one of each
            # says nothing, and then a lone value may be a bad moment.
            status = FAIL if row.ratio < 1 and row.siblings >= FEWEST_SIBLINGS and row.n > 1 else WARN
            rates = row.rate, row.median, row.ratio
            yield Reason(row.device, status, SIBLINGS, row.key, *rates, n=row.siblings, detail=regime)
        for row in (row for row in rows if row.behind):
            rates = row.rate, row.faster, row.rate / row.faster
            yield Reason(row.device, WARN, SPREAD, row.key, *rates, n=row.siblings, detail=regime)


def by_baseline(earlier: RunComparison) -> Iterator[Reason]:
    """Roofs that are slower than in the baseline by more than machines are from day to day, each once: the surest, and
    lasting load last. Sure is what chance would not show in any device, roof or regime of a healthy node.
    """
    roofs = [(pair.other.info.id, roof) for pair in earlier.selves for roof in pair.of("roof")]
    level = LEVEL / max(1, sum(roof.judged for _, roof in roofs))
    slower = [(device, roof) for device, roof in roofs if roof.differs and roof.ratio < 1 / (1 + EQUIVALENT)]
    told: set[tuple[str, str]] = set()
    for device, roof in sorted(slower, key=lambda each: (not _sure(each[1], level), each[1].regime == SUSTAINED)):
        if (device, roof.key) in told:
            continue
        told.add((device, roof.key))
        # chips of one product differ: another unit that is slower is no regression
        status = FAIL if earlier.regression and _sure(roof, level) else WARN
        details = [SUSTAINED] * (roof.regime == SUSTAINED) + [earlier.relation] * (not earlier.regression)
        rates = roof.other, roof.reference, roof.ratio
        yield Reason(device, status, BASELINE, roof.key, *rates, n=roof.n_reference or 0, detail="; ".join(details))


def judged_by_baseline(earlier: RunComparison, device: str) -> bool:
    mine = (pair for pair in earlier.selves if pair.other.info.id == device)
    return any(found.judged for pair in mine for found in pair.of("roof"))


def _sure(found: Difference, level: float) -> bool:
    """Whether the difference shows at a level, or ranges of few repetitions hardly lie so far apart by chance. What was
    measured once borrows its scatter and is only "perhaps slower".
    """
    return found.verdict == "slower" and found.p < (min(level, SURE) if found.few else level)


def claims(fit: Fit) -> tuple[RoofRatio, ...]:
    """Its roofs beside what its vendor prints; none where that is only assumed, which judges nothing."""
    theory = datasheet(fit.info)
    return tuple(each for each in compare(fit.roofline, theory) if not each.assumed) if theory else ()


def judged_by_datasheet(fit: Fit) -> bool:
    return any(_least(each.ours) for each in claims(fit))


def _least(roof: Roof) -> float:
    """The share of its claim below which a roof is low; 0 for one whose claim nobody should expect to reach."""
    if roof.key == "dram":
        return LOW_DRAM
    return LOW_COMPUTE if roof.is_compute and roof.method == "library" else 0.0


def by_datasheet(fit: Fit, seen: DeviceTelemetry) -> Iterator[Reason]:
    """Roofs that are low by their value, not by the end of their interval: a whole GPU at 84 % once went unnoticed."""
    for each in claims(fit):
        if each.ratio < _least(each.ours):
            cause, share, detail = _held(fit, each, seen) if each.ours.is_compute else (DATASHEET, None, "")
            rates = each.ours.rate, each.theirs.rate, each.ratio
            yield Reason(fit.info.id, WARN, cause, each.ours.key, *rates, share=share, detail=detail)


def _held(fit: Fit, each: RoofRatio, seen: DeviceTelemetry) -> tuple[str, float | None, str]:
    """(cause, its share of the time, in the driver's words): what held the clock, if a clock explains a low roof."""
    winner = fit.roofs[each.ours.key].winner
    reached = at_clock(fit.info, each.ours.key, winner.clock_hz)
    if reached and math.log(each.theirs.rate / reached) < EXPLAINED * math.log(1 / each.ratio):
        return DATASHEET, None, ""
    # without a clock, what held it half of the time or more probably did it
    least = LEAST_SHARE if reached else 0.5
    shares = {cause: _share(winner, key) for key, cause in THROTTLES.items()}
    shares = {c: seen.throttled_share.get(c, 0.0) if share is None else share for c, share in shares.items()}
    most = max(shares, key=shares.get)
    if shares[most] > least:
        return _CLOCK_CAUSES.get(most, THROTTLED), shares[most], most
    held = next((words for words in winner.causes if words.startswith("clocks held by")), "")
    if held:
        return POWER_LIMIT if "power limit" in held else CLOCK_SETTING, None, held
    return (CLOCK if reached else DATASHEET), None, ""


def _share(case: Summary, key: str) -> float | None:
    """Of the time of a case's own repetitions, what a throttle counter gained; None where it was not read."""
    pairs = [(each.get("before") or {}, each.get("after") or {}) for each in case.telemetry]
    pairs = [pair for pair in pairs if all(key in reading and "at_s" in reading for reading in pair)]
    seconds = sum(after["at_s"] - before["at_s"] for before, after in pairs)
    return min(sum(after[key] - before[key] for before, after in pairs) / seconds, 1.0) if seconds > 0 else None
