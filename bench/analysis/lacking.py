"""What a Run has no number for: what was skipped or does not count, and what the budget had no time for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.analysis.quality import INVALID, kind
from bench.schema import Measurement, Run, Unreached


@dataclass(frozen=True)
class Lack:
    """Measurements of a probe that were skipped, or are invalid, for reasons that differ only in their numbers.

    reason, params: of the first of them; others: how many reasons there are beside it.
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
    return [
        Lack(
            probe,
            skipped,
            _reason(group[0]),
            len(set(map(_reason, group))) - 1,
            len(group),
            len({m.device for m in group}),
            group[0].params,
        )
        for (probe, skipped, _), group in grouped.items()
    ]


def _reason(m: Measurement) -> str:
    return m.skip or "; ".join(m.reasons) or "no reason given"


def unreached(run: Run) -> list[Unreached]:
    """What the budget had no time for, once per probe: the most of any device."""
    most: dict[str, Unreached] = {}
    for each in run.end.unreached if run.end else ():
        most[each.probe] = max(each, most.get(each.probe, each), key=lambda one: one.cases)
    return list(most.values())
