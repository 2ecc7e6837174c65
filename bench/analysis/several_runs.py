"""Several Runs beside the first: what each of them is, what differs, and which rooflines to lay over one another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.analysis.fit import Fit
from bench.analysis.quality import Quality, quality
from bench.analysis.run_comparison import EQUIVALENT, HEADLINES, LEVEL, RunComparison, comparisons, to_json
from bench.analysis.run_conditions import Condition, RunFacts, conditions, run_facts
from bench.analysis.viewport import Viewport, ceilings, viewport
from bench.roofline import Roof
from bench.schema import Run
from bench.store import RunError

# More cannot be told apart in one figure.
MOST = 6
# Cases of a group that are named.
_NAMED = 4
# What is said of every Run: heading -> its name in RunFacts.
_ABOUT = {"devices": "machine", "started": "started", "budget": "budget", "validity": "validity", "host": "host"}
_ABOUT |= {"measurements": "measurements", "run id": "run_id"}


@dataclass(frozen=True)
class Overlay:
    """One roofline per Run in one frame: DRAM and the headline compute roofs, burst; none of a Run without both.

    device: of the reference.
    """

    device: str
    frame: Viewport
    roofs: tuple[tuple[Roof, ...], ...]


@dataclass(frozen=True)
class SeveralRuns:
    """The first Run is the reference; found: it beside each of the others; around: what differs around them all."""

    runs: tuple[Run, ...]
    facts: tuple[RunFacts, ...]
    qualities: tuple[Quality, ...]
    found: tuple[RunComparison, ...]
    around: tuple[Condition, ...]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What each Run is, then what is not the same everywhere."""
        about = [
            Condition(what, tuple(str(getattr(each, name)) for each in self.facts)) for what, name in _ABOUT.items()
        ]
        return (*about, *(each for each in self.around if each.what not in _ABOUT))

    @property
    def overlays(self) -> list[Overlay]:
        """Of every device of the reference with what it is paired with; first the device that differs most."""
        drawn = []
        for ours in self.found[0].ours:
            pairs = [next((pair for pair in each.pairs if pair.reference is ours), None) for each in self.found]
            if made := overlay([ours, *(pair and pair.other for pair in pairs)]):
                drawn.append((max((pair.deviation for pair in pairs if pair), default=0.0), len(ours.roofs), made))
        return [made for *_, made in sorted(drawn, key=lambda each: each[:2], reverse=True)]


def several(runs: Sequence[Run]) -> SeveralRuns:
    """Raises RunError for too few or too many."""
    if not 2 <= len(runs) <= MOST:
        raise RunError(f"a comparison takes 2 to {MOST} Runs, the reference first, not {len(runs)}")
    found = comparisons(runs)
    fits = found[0].ours, *(each.theirs for each in found)
    qualities = tuple(map(quality, runs, fits))
    return SeveralRuns(tuple(runs), tuple(map(run_facts, runs, qualities)), qualities, found, conditions(runs, fits))


def overlay(fits: Sequence[Fit | None]) -> Overlay | None:
    """None where no Run has a memory roof and a compute roof."""
    own = [viewport(fit, None) if fit else None for fit in fits]
    frames = [frame for frame in own if frame]
    if not frames:
        return None
    left, bottom = (min(getattr(frame, side) for frame in frames) for side in ("left", "bottom"))
    right, top = (max(getattr(frame, side) for frame in frames) for side in ("right", "top"))
    wanted = {*HEADLINES, *(fit.info.headline for fit, frame in zip(fits, own, strict=True) if frame)}
    roofs = tuple(_leading(fit, wanted) if frame else () for fit, frame in zip(fits, own, strict=True))
    return Overlay(next(fit.info.id for fit in fits if fit), Viewport(left, right, bottom, top), roofs)


def _leading(fit: Fit, wanted: set[str]) -> tuple[Roof, ...]:
    memory, compute = ceilings(fit.roofline)
    slopes = [roof for roof in memory if roof.key == "dram"] or memory[:1]
    return (*slopes, *([roof for roof in compute if roof.key in wanted] or compute[-1:]))


def letter(number: int) -> str:
    """What the Runs are called, in their order."""
    return chr(ord("A") + number)


def facts(several: SeveralRuns) -> dict[str, Any]:
    """As plain values, SI base units."""
    told = {"level": LEVEL, "equivalent": EQUIVALENT}
    told |= {"runs": [{"label": letter(k)} | vars(each) for k, each in enumerate(several.facts)]}
    found = [{"reference": "A", "other": letter(k)} | to_json(each) for k, each in enumerate(several.found, 1)]
    return msgspec.to_builtins(told | {"conditions": several.around}, enc_hook=str) | {"comparisons": found}


def grouped(found: Sequence[Mapping[str, str]], *by: str) -> list[dict[str, Any]]:
    """A record for what has all these in common: the number of different `which`, the first few, and the first why."""
    groups: dict[tuple[str, ...], dict[str, str]] = {}
    for each in found:
        groups.setdefault(tuple(each[name] for name in by), {}).setdefault(each["which"], each["why"])
    made = []
    for key, whys in groups.items():
        which, more = list(whys), [f"and {len(whys) - _NAMED} more"] * (len(whys) > _NAMED)
        about = {"number": len(whys), "why": whys[which[0]], "which": "; ".join([*which[:_NAMED], *more])}
        made.append(dict(zip(by, key, strict=True)) | about)
    return made
