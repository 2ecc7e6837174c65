"""What two devices have in common, and what their repetitions say of it: roofs, ridges, knees and cases.

What would make a verdict wrong, and what is done about it:
- A method that changed: only equal probe versions are compared.
- Too few repetitions to know their distribution: below five a difference also needs ranges that do not overlap.
- A case that was measured once: its scatter is borrowed from the cases that the same Run repeated, or taken from its
  own samples where these scatter more; the verdict then only says "perhaps".
- Many comparisons: headline roofs are judged at 95 % each. Everything else is judged by Benjamini and Hochberg (1995),
  which keeps the expected share of false alarms among all alarms at 5 %, and the chance of any alarm at 5 % where
  nothing differs; Holm, which keeps that chance whatever differs, would hide most of a real change. Intervals are
  widened to the level that this arrives at (Benjamini and Yekutieli, 2005), so that verdict and interval agree.
- Another day, room or neighbour: both intervals are about their own Run, and no statistics of two Runs mends that.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import variance
from typing import Any

from bench import units
from bench.analysis.fit import Fit, RoofFit
from bench.analysis.summary import Summary, counting
from bench.analysis.welch import LEVEL, LogSample, WelchTest, discoveries, log_sample, recovered
from bench.schema import SUSTAINED
from bench.stats import mad
from bench.work import RoofKey

# Ratios within this of 1 hardly matter: clocks, rooms and placements of memory move a roof by as much.
EQUIVALENT = 0.02
# Judged one by one, in either regime: what a reader looks at first. The headline roof of the device and its ridge join.
HEADLINES = ("dram", "vector.float32.loop", "link")


@dataclass(frozen=True)
class Difference:
    """One quantity of two devices. kind: "roof", "ridge", "knee" or "case". key: of the roof, "compute/memory" of a
    ridge, the FMA sweep's dtype of a knee, the case's probe. reference, other: in `unit`. ratio: above 1 the other is
    faster, or its ridge or knee higher; low, high: its interval, what it rests on is its basis; level: at which it is
    judged. visible: the smallest difference that could have been seen, as a share: half of the interval's width.
    reason: why it is not comparable. doubts: what weakens it.
    """

    kind: str
    key: str
    regime: str
    unit: str
    headline: bool = False
    params: Mapping[str, Any] | None = None
    reference: float | None = None
    other: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    p: float | None = None
    n_reference: int | None = None
    n_other: int | None = None
    basis: str = ""
    few: bool = False
    visible: float | None = None
    verdict: str = "not comparable"
    reason: str = ""
    doubts: tuple[str, ...] = ()

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def judged(self) -> bool:
        return self.interval is not None

    @property
    def differs(self) -> bool:
        return self.interval is not None and not self.interval[0] <= 1 <= self.interval[1]

    @property
    def size(self) -> float:
        """How far the two differ, as a logarithm."""
        return abs(math.log(self.ratio)) if self.ratio else 0.0

    @property
    def equivalent(self) -> bool:
        """Whether the whole interval is too near to 1 to matter."""
        near = 1 + EQUIVALENT
        return self.interval is not None and 1 / near <= self.interval[0] <= self.interval[1] <= near


_Roofs = Mapping[str, RoofFit]
_SIDES = ("reference", "other")
# A quantity before it is judged, and the test of it; None where the two cannot be compared.
Asked = tuple[Difference, WelchTest | None]


def asked(ours: Fit, theirs: Fit) -> Iterator[Asked]:
    """Every quantity that either device has."""
    leading = {*HEADLINES, ours.info.headline}
    missing = ours.missing, theirs.missing
    yield from _roofs(ours.roofs, theirs.roofs, missing, ours.info.regime, leading)
    lasting = [fit.sustained.roofs if fit.sustained else {} for fit in (ours, theirs)]
    yield from _roofs(*lasting, ({}, {}), SUSTAINED, leading)
    for dtype in dict.fromkeys([*ours.knees, *theirs.knees]):
        yield _knee(dtype, ours, theirs)
    yield from _cases(ours, theirs)


def _roofs(
    ours: _Roofs, theirs: _Roofs, missing: Sequence[Mapping[str, str]], regime: str, leading: set[str]
) -> Iterator[Asked]:
    """Every roof of either, then one ridge over DRAM: the reference's headline, or what both can state."""
    for key in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(key), theirs.get(key)
        about = Difference(
            "roof", key, regime, units.rate(key), key in leading, None, a and a.roof.rate, b and b.roof.rate
        )
        if a is None or b is None:
            yield _one_sided(about, missing[0 if a is None else 1].get(key, ""))
        else:
            test = WelchTest(log_sample(a.rates.values()), log_sample(b.rates.values()))
            yield _asked(about, test, _methods(a.winner, b.winner), _doubts(a, b))
    preferred = [*sorted(leading - {*HEADLINES}), *HEADLINES]
    shared = [key for key in preferred if RoofKey(key).is_compute and key in ours and key in theirs]
    if shared and "dram" in ours and "dram" in theirs:
        yield from _ridge(shared[0], ours, theirs, regime)


def _ridge(key: str, ours: _Roofs, theirs: _Roofs, regime: str) -> Iterator[Asked]:
    sides = [roofs[key].over(roofs["dram"]) for roofs in (ours, theirs)]
    if not all(sides):
        return
    reason = _methods(ours[key].winner, theirs[key].winner) or _methods(ours["dram"].winner, theirs["dram"].winner)
    a, b = map(log_sample, sides)
    centres = {"reference": math.exp(a.centre), "other": math.exp(b.centre)}
    about = Difference("ridge", f"{key}/dram", regime, "FLOP/B", headline=True, **centres)
    yield _asked(about, WelchTest(a, b), reason)


def _knee(dtype: str, ours: Fit, theirs: Fit) -> Asked:
    a, b = (fit.knees[dtype].intensity if dtype in fit.knees else None for fit in (ours, theirs))
    values = {"reference": a and a.value, "other": b and b.value}
    about = Difference("knee", dtype, ours.info.regime, "FLOP/B", **values)
    if a is None or b is None:
        return _one_sided(about, "")
    first, second = (next(case for case in fit.cases if case.probe == "intensity") for fit in (ours, theirs))
    return _asked(about, WelchTest(recovered(a), recovered(b)), _methods(first, second))


def _cases(ours: Fit, theirs: Fit) -> Iterator[Asked]:
    """Every case that both measured, whatever the version of its probe."""
    lent = [_scatter(fit) for fit in (ours, theirs)]
    known = {question(case): case for case in theirs.cases if case.seconds}
    for case in ours.cases:
        twin = known.get(question(case))
        if case.seconds is None or twin is None:
            continue
        both, seconds = (case, twin), {"reference": case.seconds.value, "other": twin.seconds.value}
        about = Difference("case", case.probe, case.regime, "s", params=case.params, **seconds)
        reason = _methods(case, twin)
        if not math.isclose(case.work.intensity, twin.work.intensity, rel_tol=1e-6):
            reason = reason or "the case does other work there"
        test = WelchTest(*(_speeds(side, scatter) for side, scatter in zip(both, lent, strict=True)))
        doubts = [
            f"{name}: {side.validity}{f' ({side.causes[0]})' if side.causes else ''}"
            for name, side in zip(_SIDES, both, strict=True)
            if side.validity != "valid"
        ]
        yield _asked(about, test, reason, tuple(doubts))


def question(case: Summary) -> tuple:
    """What makes two cases of two Runs one."""
    return case.probe, tuple(case.params.items()), case.regime == SUSTAINED


def _speeds(case: Summary, scatter: tuple[float, float] | None) -> LogSample:
    """Work per second of each repetition; where nothing is worked (a latency), launches per second."""
    amount = case.work.flops or case.work.bytes or 1.0
    if scatter:
        # a case that jitters within a repetition jitters at least as much between two
        within = mad([math.log(seconds) for seconds in case.samples]) ** 2 if len(case.samples) > 2 else 0.0
        scatter = max(scatter[0], within), scatter[1]
    return log_sample([amount / seconds for seconds in counting(case.medians).values()], scatter)


def _scatter(fit: Fit) -> tuple[float, float] | None:
    """(pooled variance, degrees of freedom) of one repetition's logarithm, over the cases that were repeated."""
    repeated = [list(counting(case.medians).values()) for case in fit.cases if len(counting(case.medians)) > 1]
    degrees = sum(len(values) - 1 for values in repeated)
    if not degrees:
        return None
    squares = sum((len(values) - 1) * variance([math.log(v) for v in values]) for values in repeated)
    return squares / degrees, degrees


def _asked(about: Difference, test: WelchTest, reason: str, doubts: tuple[str, ...] = ()) -> Asked:
    if not reason and None in (test.reference.variance, test.other.variance):
        reason = "one repetition, and nothing in its Run was repeated: its scatter is unknown"
    return replace(about, reason=reason, doubts=doubts), None if reason else test


def _one_sided(about: Difference, cause: str) -> Asked:
    where = "other Run" if about.reference is None else "reference"
    return replace(about, reason=f"only in the {where}{f': {cause}' if cause else ''}"), None


def _methods(ours: Summary, theirs: Summary) -> str:
    """Why two measurements of one quantity may not be compared, or ""."""
    if ours.probe != theirs.probe:
        return f"measured by other probes: {ours.probe} and {theirs.probe}"
    if ours.version != theirs.version:
        return f"other versions of the probe {ours.probe}: {ours.version} and {theirs.version}"
    return ""


def _doubts(a: RoofFit, b: RoofFit) -> tuple[str, ...]:
    found = [f"{name}: {each.roof.caution}" for name, each in zip(_SIDES, (a, b), strict=True) if each.roof.caution]
    mine, theirs = a.winner.params, b.winner.params
    if mine != theirs:
        changed = [name for name in dict.fromkeys([*mine, *theirs]) if mine.get(name) != theirs.get(name)]
        words = [", ".join(f"{name} {params.get(name, '–')}" for name in changed) for params in (mine, theirs)]
        found.append(f"reached by other cases: {words[0]} and {words[1]}")
    return tuple(found)


def judged(pairs: Sequence[Sequence[Asked]]) -> list[tuple[Difference, ...]]:
    """Of every pair of devices: headlines one by one, other roofs and cases of all pairs as a family each."""
    families: dict[bool, list[float]] = {True: [], False: []}
    for about, test in (asked for pair in pairs for asked in pair):
        if test and not about.headline:
            families[about.kind == "case"].append(test.p)
    levels = {is_case: discoveries(ps) for is_case, ps in families.items()}

    def verdict(about: Difference, test: WelchTest | None) -> Difference:
        level = LEVEL if about.headline else levels[about.kind == "case"]
        return _judged(about, test, level) if test else about

    return [tuple(verdict(*asked) for asked in pair) for pair in pairs]


def _judged(about: Difference, test: WelchTest, level: float) -> Difference:
    low, high = test.interval(level)
    n, m = test.reference.n, test.other.n
    basis = f"range of {n} and {m}" if test.few else f"{100 * (1 - level):.4g} % interval"
    verdict = "no difference seen"
    if not low <= 1 <= high:
        up, down = ("faster", "slower") if about.kind in ("roof", "case") else ("higher", "lower")
        verdict = "perhaps " * test.borrowed + (up if low > 1 else down)
    found = {"ratio": math.exp(test.centre), "low": low, "high": high, "level": level, "p": test.p}
    found |= {"n_reference": n, "n_other": m, "few": test.few, "visible": math.sqrt(high / low) - 1}
    basis = "measured once: scatter of other cases" if test.borrowed else basis
    return replace(about, **found, basis=basis, verdict=verdict)
