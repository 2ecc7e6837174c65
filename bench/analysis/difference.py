"""One Run beside another: what differs, by how much, and whether their repetitions show it.

A ratio is always the other over the reference, of rates: above 1 the other is faster (of a ridge or a knee: higher).
Its interval is Welch's t over the logarithms of the repetition medians, because repetitions of different Runs share no
moment and cannot be paired, nor need they scatter alike.

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
from functools import cached_property
from statistics import variance
from typing import Any

from bench.analysis.contrast import LEVEL, Contrast, Spread, discoveries, recovered, spread
from bench.analysis.fit import Fit, RoofFit, fit
from bench.analysis.summary import Summary, counting
from bench.schema import SUSTAINED, Run
from bench.stats import mad

# Ratios within this of 1 hardly matter: clocks, rooms and placements of memory move a roof by as much.
EQUIVALENT = 0.02
# Judged one by one, in either regime: what a reader looks at first. The headline roof of the device and its ridge join.
HEADLINES = ("dram", "vector.float32.loop", "link")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One quantity of two devices. kind: "roof", "ridge", "knee" or "case".

    key: of the roof, "compute/memory" of a ridge, the ladder's dtype, the case's probe. reference, other: FLOP/s, B/s,
    FLOP/B, or a case's seconds. level: at which it is judged. reason: why it is not comparable. doubts: what weakens
    it.
    """

    kind: str
    key: str
    regime: str
    headline: bool = False
    params: Mapping[str, Any] | None = None
    reference: float | None = None
    other: float | None = None
    contrast: Contrast | None = None
    level: float = LEVEL
    reason: str = ""
    doubts: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Above 1 the other is faster, or its ridge or knee higher."""
        return math.exp(self.contrast.centre) if self.contrast else None

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        return self.contrast.interval(self.level) if self.contrast and not self.reason else None

    @property
    def judged(self) -> bool:
        return self.interval is not None

    @property
    def differs(self) -> bool:
        return self.interval is not None and not self.interval[0] <= 1 <= self.interval[1]

    @property
    def equivalent(self) -> bool:
        """Whether the whole interval is too near to 1 to matter."""
        return self.interval is not None and 1 / (1 + EQUIVALENT) <= self.interval[0] <= self.interval[1] <= (
            1 + EQUIVALENT
        )

    @property
    def visible(self) -> float | None:
        """The smallest difference that could have been seen, as a share: half of the interval's width."""
        return math.sqrt(self.interval[1] / self.interval[0]) - 1 if self.interval else None

    @property
    def verdict(self) -> str:
        if self.interval is None:
            return "not comparable"
        if not self.differs:
            return "no difference seen"
        up, down = ("faster", "slower") if self.kind in ("roof", "case") else ("higher", "lower")
        perhaps = "perhaps " if self.contrast and self.contrast.borrowed else ""
        return perhaps + (up if self.interval[0] > 1 else down)

    @property
    def basis(self) -> str:
        """What the interval rests on."""
        if self.interval is None or self.contrast is None:
            return ""
        if self.contrast.borrowed:
            return "measured once: scatter of other cases"
        if self.contrast.few:
            return f"range of {self.contrast.reference.n} and {self.contrast.other.n}"
        return f"{100 * (1 - self.level):.4g} % interval"


@dataclass(frozen=True)
class Pair:
    """A device of the reference, one of the other Run, and why these two."""

    reference: Fit
    other: Fit
    matched: str
    differences: tuple[Difference, ...]

    def of(self, *kinds: str) -> tuple[Difference, ...]:
        return tuple(found for found in self.differences if found.kind in kinds)


@dataclass(frozen=True)
class Against:
    """The reference and one other Run. kinship: what the machines are to one another.

    unmatched: devices of the reference that no device of the other was compared with. regression: whether a difference
    would be one in time of the same machine, and not one between machines. ours, theirs: every device of either.
    """

    reference: Run
    other: Run
    ours: tuple[Fit, ...]
    theirs: tuple[Fit, ...]
    kinship: str
    regression: bool
    pairs: tuple[Pair, ...]
    unmatched: tuple[str, ...]

    def of(self, *kinds: str) -> tuple[Difference, ...]:
        return tuple(found for pair in self.pairs for found in pair.of(*kinds))


def differences(runs: Sequence[Run]) -> tuple[Against, ...]:
    """The first Run, the reference, beside each of the others."""
    reference, *others = runs
    fits = fit(reference)
    return tuple(_against(reference, fits, other) for other in others)


def _against(reference: Run, fits: tuple[Fit, ...], other: Run) -> Against:
    others = fit(other)
    matched = _matched(fits, others)
    made = [Pair(ours, theirs, why, tuple(_compared(ours, theirs))) for ours, theirs, why in matched]
    used = {id(ours) for ours, _, _ in matched}
    left = tuple(ours.info.id for ours in fits if id(ours) not in used)
    return Against(reference, other, fits, others, *_kinship(reference, other, matched), _judged(made), left)


def _judged(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    """Each with its differences at their level: headlines as they are, other roofs and cases a family each."""
    everything = [found for pair in pairs for found in pair.differences if found.contrast and not found.headline]
    families = {kind: [d.contrast.p for d in everything if (d.kind == "case") == kind] for kind in (True, False)}
    levels = {kind: discoveries(ps) for kind, ps in families.items()}
    return tuple(
        replace(
            pair,
            differences=tuple(
                found if found.headline else replace(found, level=levels[found.kind == "case"])
                for found in pair.differences
            ),
        )
        for pair in pairs
    )


def _matched(ours: Sequence[Fit], theirs: Sequence[Fit]) -> list[tuple[Fit, Fit, str]]:
    """By UUID; what is left by its index within the node; what is still left against the reference's first."""
    if not ours:
        return []
    by_uuid = {each.info.uuid: each for each in ours if each.info.uuid}
    known = {id(each) for each in theirs if each.info.uuid in by_uuid}
    taken = {each.info.uuid for each in theirs if id(each) in known}
    by_index = {_index(each): each for each in reversed(ours) if not each.info.uuid or each.info.uuid not in taken}
    found = []
    for each in theirs:
        if id(each) in known:
            found.append((by_uuid[each.info.uuid], each, "same UUID"))
        elif _index(each) in by_index:
            found.append((by_index[_index(each)], each, "same index"))
        else:
            found.append((ours[0], each, "against the first"))
    return found


def _index(fit: Fit) -> str:
    last = fit.info.id.rpartition(":")[2]
    return last if last.isdigit() else "0"


def _kinship(ours: Run, theirs: Run, matched: Sequence[tuple[Fit, Fit, str]]) -> tuple[str, bool]:
    """(what the machines are to one another, whether a difference would be one in time)."""
    a, b = ours.environment, theirs.environment
    if a == b and ours.measurements == theirs.measurements:
        return "the same Run", False
    if a.simulated != b.simulated:
        return "a simulated Run beside a measured one", False
    if any(x.info.name != y.info.name for x, y, _ in matched):
        return "different machines", False
    if matched and all(why == "same UUID" for _, _, why in matched):
        return ("the same simulated devices" if a.simulated else "the same devices"), True
    if any(x.info.uuid and y.info.uuid and x.info.uuid != y.info.uuid for x, y, _ in matched):
        return "other units of the same product", False
    if a.host and a.host == b.host:
        return "the same host", True
    return "the same product, perhaps another unit", False


def _compared(ours: Fit, theirs: Fit) -> Iterator[Difference]:
    leading = {*HEADLINES, ours.info.headline}
    yield from _roofs(ours.roofs, theirs.roofs, ours.missing, theirs.missing, ours.info.regime, leading)
    none: Mapping[str, str] = {}
    lasting = [each.sustained.roofs if each.sustained else {} for each in (ours, theirs)]
    yield from _roofs(*lasting, none, none, SUSTAINED, leading)
    for dtype in dict.fromkeys([*ours.knees, *theirs.knees]):
        yield _knee(dtype, ours, theirs)
    yield from _cases(ours, theirs)


def _roofs(
    ours: Mapping[str, RoofFit],
    theirs: Mapping[str, RoofFit],
    our_missing: Mapping[str, str],
    their_missing: Mapping[str, str],
    regime: str,
    leading: set[str],
) -> Iterator[Difference]:
    """Every roof of either, then one ridge over DRAM: the reference's headline, or what both can state."""
    for key in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(key), theirs.get(key)
        found = Difference(
            kind="roof",
            key=key,
            regime=regime,
            headline=key in leading,
            reference=a.roof.rate if a else None,
            other=b.roof.rate if b else None,
        )
        if a is None or b is None:
            yield replace(found, reason=_only(a is None, (our_missing if a is None else their_missing).get(key, "")))
        else:
            contrast = Contrast(spread(a.rates.values()), spread(b.rates.values()))
            yield _sealed(found, contrast, _methods(a.winner, b.winner), _doubts(a, b))
    shared = [
        key for key in (*sorted(leading - {*HEADLINES}), *HEADLINES) if "." in key and key in ours and key in theirs
    ]
    if shared and "dram" in ours and "dram" in theirs:
        yield from _ridge(shared[0], ours, theirs, regime)


def _ridge(key: str, ours: Mapping[str, RoofFit], theirs: Mapping[str, RoofFit], regime: str) -> Iterator[Difference]:
    sides = []
    for each in (ours, theirs):
        both = sorted(each[key].rates.keys() & each["dram"].rates.keys())
        sides.append([each[key].rates[r] / each["dram"].rates[r] for r in both])
    if not all(sides):
        return
    reason = _methods(ours[key].winner, theirs[key].winner) or _methods(ours["dram"].winner, theirs["dram"].winner)
    a, b = (spread(side) for side in sides)
    found = Difference(
        kind="ridge",
        key=f"{key}/dram",
        regime=regime,
        headline=True,
        reference=math.exp(a.centre),
        other=math.exp(b.centre),
    )
    yield _sealed(found, Contrast(a, b), reason, ())


def _knee(dtype: str, ours: Fit, theirs: Fit) -> Difference:
    a, b = ours.knees.get(dtype), theirs.knees.get(dtype)
    found = Difference(
        kind="knee",
        key=dtype,
        regime=ours.info.regime,
        reference=a.intensity.value if a else None,
        other=b.intensity.value if b else None,
    )
    if a is None or b is None:
        return replace(found, reason=_only(a is None, ""))
    first, second = (next(case for case in each.cases if case.probe == "intensity") for each in (ours, theirs))
    return _sealed(found, Contrast(recovered(a.intensity), recovered(b.intensity)), _methods(first, second), ())


def _cases(ours: Fit, theirs: Fit) -> Iterator[Difference]:
    """Every case that both measured, whatever the version of its probe."""
    lent = [_scatter(each) for each in (ours, theirs)]
    known = {_question(case): case for case in theirs.cases if case.seconds}
    for case in ours.cases:
        twin = known.get(_question(case))
        if case.seconds is None or twin is None:
            continue
        found = Difference(
            kind="case",
            key=case.probe,
            regime=case.regime,
            params=case.params,
            reference=case.seconds.value,
            other=twin.seconds.value,
        )
        reason = _methods(case, twin)
        if not math.isclose(case.work.intensity, twin.work.intensity, rel_tol=1e-6):
            reason = reason or "the case does other work there"
        sides = [_speeds(each, scatter) for each, scatter in zip((case, twin), lent, strict=True)]
        doubts = [
            f"{name}: {each.validity}{f' ({each.causes[0]})' if each.causes else ''}"
            for name, each in (("reference", case), ("other", twin))
            if each.validity != "valid"
        ]
        yield _sealed(found, Contrast(*sides), reason, tuple(doubts))


def _question(case: Summary) -> tuple:
    return case.probe, tuple(case.params.items()), case.regime == SUSTAINED


def _speeds(case: Summary, scatter: tuple[float, float] | None) -> Spread:
    """Work per second of each repetition; where nothing is worked (a latency), launches per second."""
    amount = case.work.flops or case.work.bytes or 1.0
    if scatter:
        # a case that jitters within a repetition jitters at least as much between two
        within = mad([math.log(seconds) for seconds in case.samples]) ** 2 if len(case.samples) > 2 else 0.0
        scatter = max(scatter[0], within), scatter[1]
    return spread([amount / seconds for seconds in counting(case.medians).values()], scatter)


def _scatter(fit: Fit) -> tuple[float, float] | None:
    """(pooled variance, degrees of freedom) of one repetition's logarithm, over the cases that were repeated."""
    repeated = [list(counting(case.medians).values()) for case in fit.cases if len(counting(case.medians)) > 1]
    degrees = sum(len(values) - 1 for values in repeated)
    if not degrees:
        return None
    squares = sum((len(values) - 1) * variance([math.log(v) for v in values]) for values in repeated)
    return squares / degrees, degrees


def _sealed(found: Difference, contrast: Contrast, reason: str, doubts: tuple[str, ...]) -> Difference:
    if not reason and None in (contrast.reference.variance, contrast.other.variance):
        reason = "one repetition, and nothing in its Run was repeated: its scatter is unknown"
    return replace(found, contrast=None if reason else contrast, reason=reason, doubts=doubts)


def _methods(ours: Summary, theirs: Summary) -> str:
    """Why two measurements of one quantity may not be compared, or ""."""
    if ours.probe != theirs.probe:
        return f"measured by other probes: {ours.probe} and {theirs.probe}"
    if ours.version != theirs.version:
        return f"other versions of the probe {ours.probe}: {ours.version} and {theirs.version}"
    return ""


def _only(there: bool, cause: str) -> str:
    return f"only in the {'other Run' if there else 'reference'}{f': {cause}' if cause else ''}"


def _doubts(a: RoofFit, b: RoofFit) -> tuple[str, ...]:
    found = [f"{name}: {each.roof.caution}" for name, each in (("reference", a), ("other", b)) if each.roof.caution]
    mine, theirs = a.winner.params, b.winner.params
    if mine != theirs:
        apart = [name for name in dict.fromkeys([*mine, *theirs]) if mine.get(name) != theirs.get(name)]
        words = [", ".join(f"{name} {params.get(name, '–')}" for name in apart) for params in (mine, theirs)]
        found.append(f"reached by other cases: {words[0]} and {words[1]}")
    return tuple(found)
