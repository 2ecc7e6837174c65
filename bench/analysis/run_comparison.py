"""One Run beside another: which device is compared with which, what the machines are to one another, what differs.

A ratio is always the other over the reference, of rates: above 1 the other is faster (of a ridge or a knee: higher).
How a quantity is compared and judged stands in bench.analysis.quantities.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.analysis.fit import Fit, fit
from bench.analysis.quantities import Difference, asked, judged, question
from bench.analysis.summary import Summary
from bench.schema import Run

SAME_RUN = "the same Run"
SIMULATED_BESIDE_MEASURED = "a simulated Run beside a measured one"
OTHER_MACHINES = "different machines"
PERHAPS = "the same product, perhaps another unit"
# What two Runs' headline roofs say.
DIFFERS, SAME, NOT_COMPARABLE = "differs", "same within the intervals", "not comparable"
# How a pair is matched that has nothing but its product in common.
AGAINST_FIRST = "against the first"


@dataclass(frozen=True)
class Pair:
    """A device of the reference, one of the other Run, and why these two."""

    reference: Fit
    other: Fit
    matched: str
    differences: tuple[Difference, ...]

    def of(self, *kinds: str) -> tuple[Difference, ...]:
        return tuple(found for found in self.differences if found.kind in kinds)

    @property
    def headlines(self) -> list[Difference]:
        """Of roofs and ridges."""
        return [found for found in self.of("roof", "ridge") if found.headline]

    @property
    def changed(self) -> list[Difference]:
        """The headlines that differ, the most first; ridges last, because they move with their roofs."""
        return sorted((d for d in self.headlines if d.differs), key=lambda d: (d.kind == "ridge", -d.size))

    @property
    def deviation(self) -> float:
        """How far its headline roofs differ at most, as a logarithm."""
        return max((d.size for d in self.of("roof") if d.headline and d.differs), default=0.0)


@dataclass(frozen=True)
class Cases:
    """The common cases. judged: how many; verdicts: of those that differ; probe: the one with most of these."""

    judged: int
    verdicts: Counter
    probe: str


@dataclass(frozen=True)
class RunComparison:
    """The reference and one other Run. relation: what the machines are to one another. unmatched: devices of the
    reference that no device of the other was compared with. regression: whether a difference would be one in time of
    the same machine, and not one between machines. ours, theirs: every device of either.
    """

    reference: Run
    other: Run
    ours: tuple[Fit, ...]
    theirs: tuple[Fit, ...]
    relation: str
    regression: bool
    pairs: tuple[Pair, ...]
    unmatched: tuple[str, ...]

    def of(self, *kinds: str) -> tuple[Difference, ...]:
        return tuple(found for pair in self.pairs for found in pair.of(*kinds))

    @property
    def headlines(self) -> tuple[Difference, ...]:
        """Of roofs, in either regime: what a reader looks at first."""
        return tuple(found for found in self.of("roof") if found.headline)

    @property
    def cases(self) -> Cases:
        judged = [found for found in self.of("case") if found.judged]
        differ = [found for found in judged if found.differs]
        probes = Counter(found.key for found in differ).most_common(1)
        return Cases(len(judged), Counter(found.verdict for found in differ), probes[0][0] if probes else "")

    @property
    def heads(self) -> list[tuple[Pair, Difference]]:
        """The headlines that could be judged, with their devices: first those that differ, the most first."""
        found = [(pair, d) for pair in self.pairs for d in pair.of("roof") if d.headline and d.judged]
        return sorted(found, key=lambda each: (not each[1].differs, -each[1].size * each[1].differs))

    @property
    def outcome(self) -> str:
        seen = {d.differs for _, d in self.heads}
        return DIFFERS if True in seen else SAME if seen else NOT_COMPARABLE

    @property
    def matched(self) -> dict[str, list[Pair]]:
        """Which devices were compared, by why these."""
        found: dict[str, list[Pair]] = {}
        for pair in self.pairs:
            found.setdefault(pair.matched, []).append(pair)
        return found

    @property
    def selves(self) -> list[Pair]:
        """Devices that are one another's earlier selves, or of one product at least: a change may be their own."""
        return [pair for pair in self.pairs if pair.matched != AGAINST_FIRST] if self.comparable else []

    def earlier(self, fit: Fit | None) -> Pair | None:
        """What a device of the other Run was before."""
        return next((pair for pair in self.selves if pair.other is fit), None)

    @property
    def comparable(self) -> bool:
        """Whether a change may be the machine's own: not beside a simulation, nor between products."""
        return self.relation not in (SAME_RUN, SIMULATED_BESIDE_MEASURED, OTHER_MACHINES)


def comparisons(runs: Sequence[Run]) -> tuple[RunComparison, ...]:
    """The first Run, the reference, beside each of the others."""
    reference, *others = runs
    fits = fit(reference)
    return tuple(_comparison(reference, fits, other) for other in others)


def _comparison(reference: Run, fits: tuple[Fit, ...], other: Run) -> RunComparison:
    others = fit(other)
    matched = _matched(fits, others)
    found = judged([list(asked(ours, theirs)) for ours, theirs, _ in matched])
    pairs = tuple(Pair(*each, differences) for each, differences in zip(matched, found, strict=True))
    used = {id(ours) for ours, _, _ in matched}
    left = tuple(ours.info.id for ours in fits if id(ours) not in used)
    return RunComparison(reference, other, fits, others, *_relation(reference, other, matched), pairs, left)


def one_sided(pair: Pair) -> Iterator[tuple[bool, Summary, str]]:
    """Cases that one of two devices measured alone: (whether the reference did, the case, the other's reason)."""
    for mine, ours, theirs in ((True, pair.reference, pair.other), (False, pair.other, pair.reference)):
        known = {question(case): case for case in theirs.cases}
        for case in ours.cases:
            twin = known.get(question(case))
            if case.seconds and twin is None:
                yield mine, case, "not in its plan"
            elif case.seconds and twin.seconds is None:
                yield mine, case, twin.skip or "; ".join(twin.causes) or "invalid"


def to_json(comparison: RunComparison) -> dict[str, Any]:
    """As plain values, SI base units, every device by its id."""
    found = {name: getattr(comparison, name) for name in ("relation", "regression", "unmatched")}
    pairs = [
        {"reference": pair.reference.info.id, "other": pair.other.info.id, "matched": pair.matched}
        | {"differences": pair.differences}
        for pair in comparison.pairs
    ]
    return msgspec.to_builtins(found | {"pairs": pairs}, enc_hook=str)


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
            found.append((ours[0], each, AGAINST_FIRST))
    return found


def _index(fit: Fit) -> str:
    last = fit.info.id.rpartition(":")[2]
    return last if last.isdigit() else "0"


def _relation(ours: Run, theirs: Run, matched: Sequence[tuple[Fit, Fit, str]]) -> tuple[str, bool]:
    """(what the machines are to one another, whether a difference would be one in time)."""
    a, b = ours.environment, theirs.environment
    if a == b and ours.measurements == theirs.measurements:
        return SAME_RUN, False
    if a.simulated != b.simulated:
        return SIMULATED_BESIDE_MEASURED, False
    if any(x.info.name != y.info.name for x, y, _ in matched):
        return OTHER_MACHINES, False
    if matched and all(why == "same UUID" for _, _, why in matched):
        return ("the same simulated devices" if a.simulated else "the same devices"), True
    if any(x.info.uuid and y.info.uuid and x.info.uuid != y.info.uuid for x, y, _ in matched):
        return "other units of the same product", False
    if a.host and a.host == b.host:
        return "the same host", True
    return PERHAPS, False
