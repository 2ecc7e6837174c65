"""Several Runs beside the first: what each of them is, what differs around them, which rooflines to lay over one
another, and how their ratios are laid out.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from bench import units
from bench.analysis.fit import Fit
from bench.analysis.quality import Quality, quality
from bench.analysis.quantities import EQUIVALENT, HEADLINES
from bench.analysis.run_comparison import RunComparison, comparisons, to_json
from bench.analysis.viewport import Viewport, ceilings, viewport
from bench.analysis.welch import LEVEL
from bench.roofline import Roof
from bench.schema import Run
from bench.store import RunError

# More cannot be told apart in one figure.
MOST = 6
# Cases of a group that are named.
_NAMED = 4
# What is said of every Run: heading -> its name in `facts`.
_ABOUT = {"devices": "machine", "started": "started", "budget": "budget", "validity": "validity", "host": "host"}
_ABOUT |= {"measurements": "measurements", "run id": "run_id"}
# Clocks nearer than this are one clock.
_CLOCK = 0.01
# Facts that say the same thing elsewhere, or nothing of the numbers.
_IDLE_FACTS = {"unknown", "numa_node", "options", "simulated"}
# What names a Run, or is said of it elsewhere: no explanation of a number.
_NO_CAUSE = {"kind", "devices", "validity", "complete", "probes", "commit", "host"}
# A ratio of a forest plot: what (its row), headline, differs, ratio, low, high; crowded: others share its row.
Ratio = Mapping[str, Any]
# Ratios further apart than this need a logarithmic axis.
FAR = 3.0
# A bound further out than this factor, or an interval that spans more, says nothing.
LOST = 100.0
# More rows than this are thinned to headlines and to what differs.
MOST_ROWS = 16


@dataclass(frozen=True)
class Condition:
    """One thing that is not the same everywhere: a value per Run, "" where a Run does not say."""

    what: str
    values: tuple[str, ...]

    @property
    def stated(self) -> int:
        """How many different values are known."""
        return len({*self.values} - {""})

    @property
    def may_explain(self) -> bool:
        """Whether a difference of numbers may come from it."""
        return self.what not in _NO_CAUSE and self.stated > 1


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
    facts: tuple[dict[str, Any], ...]
    qualities: tuple[Quality, ...]
    found: tuple[RunComparison, ...]
    around: tuple[Condition, ...]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What each Run is, then what is not the same everywhere."""
        about = [Condition(what, tuple(str(about[name]) for about in self.facts)) for what, name in _ABOUT.items()]
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
    return SeveralRuns(tuple(runs), tuple(map(_about, runs, qualities)), qualities, found, conditions(runs, fits))


def _about(run: Run, quality: Quality) -> dict[str, Any]:
    """What a Run is, for whoever compares several."""
    about = run.environment
    kinds = Counter(device.name for device in about.devices)
    machine = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in kinds.items())
    found = {"source": run.source, "run_id": about.run_id, "started": about.started}
    found |= {"machine": machine or about.product, "product": about.product}
    found |= {"devices": tuple(device.id for device in about.devices), "simulated": about.simulated}
    found |= {"complete": run.complete, "validity": quality.status, "budget": about.budget, "host": about.host}
    return found | {"measurements": len(run.measurements)}


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
    told |= {"runs": [{"label": letter(k)} | each for k, each in enumerate(several.facts)]}
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


# what differs around them

_RunFits = tuple[Run, Sequence[Fit]]


def conditions(runs: Sequence[Run], fits: Sequence[Sequence[Fit]]) -> tuple[Condition, ...]:
    """In the order in which they may explain a difference."""
    both = list(zip(runs, fits, strict=True))

    def row(what: str, value: Callable[[Run, Sequence[Fit]], str]) -> Condition:
        return Condition(what, tuple(value(run, these) for run, these in both))

    rows = [
        row("kind", lambda run, _: "simulated" if run.environment.simulated else "measured"),
        row("devices", lambda run, _: _joined(d.name for d in run.environment.devices)),
        row("number of devices", lambda run, _: str(len(run.environment.devices))),
        row("validity", lambda run, these: quality(run, these).status),
        row("complete", lambda run, _: "yes" if run.complete else "no"),
        row("budget", lambda run, _: run.environment.budget),
        row("regimes", lambda _, these: _joined(c.regime for fit in these for c in fit.cases)),
        *(each for each in _each("probe version ", runs, _versions) if each.stated > 1),
        row("probes", lambda run, _: _joined(sorted(_versions(run)))),
        *_clocks(both),
        row("clocks", lambda _, these: _joined(sorted(_limits(these))) or "not limited"),
        *_each("", runs, _facts),
        *_each("", runs, lambda run: run.environment.libraries),
        *_each("", runs, lambda run: run.environment.system),
        row("suite", lambda run, _: run.environment.suite),
        row("commit", lambda run, _: run.environment.commit[:10]),
        row("simulator options", lambda run, _: _joined(d.facts.get("options", "") for d in run.environment.devices)),
        row("host", lambda run, _: run.environment.host),
    ]
    return tuple(each for each in rows if len(set(each.values)) > 1)


def _each(what: str, runs: Sequence[Run], values: Callable[[Run], Mapping[str, str]]) -> list[Condition]:
    """A row per key of a mapping that each Run has."""
    found = [values(run) for run in runs]
    keys = dict.fromkeys(key for each in found for key in each)
    return [Condition(f"{what}{key}".replace("_", " "), tuple(str(run.get(key, "")) for run in found)) for key in keys]


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(text for text in texts if text))


def _versions(run: Run) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for m in run.measurements:
        found.setdefault(m.probe, []).append(str(m.version))
    return {probe: _joined(versions) for probe, versions in found.items()}


def _facts(run: Run) -> dict[str, str]:
    told: dict[str, list[str]] = {}
    for device in run.environment.devices:
        for key, text in device.facts.items():
            if key not in _IDLE_FACTS:
                told.setdefault(key.removesuffix("_hz"), []).append(_fact(key, text))
    return {key: _joined(texts) for key, texts in told.items()}


def _fact(key: str, text: str) -> str:
    """A clock in GHz; one that was measured at the start differs by a hair every time."""
    is_clock = key.endswith("_hz") and text.replace(".", "", 1).isdecimal()
    return units.hertz(float(text), 2 if key == "clock_hz" else 4) if is_clock else text


def _clocks(both: Sequence[_RunFits]) -> list[Condition]:
    """The clock that was seen at the headline roof, in a burst and under sustained load, where it is not the same."""
    rows = []
    for what, lasting in (("clock at the headline roof", False), ("clock under sustained load", True)):
        seen = []
        for _, these in both:
            found = [fit.lasting(fit.info.headline) if lasting else fit.roofs.get(fit.info.headline) for fit in these]
            clocks = [fitted.winner.clock_hz for fitted in found if fitted and fitted.winner.clock_hz]
            seen.append(sum(clocks) / len(clocks) if clocks else 0.0)
        known = [clock for clock in seen if clock]
        if known and (len(known) < len(seen) or max(known) > min(known) * (1 + _CLOCK)):
            rows.append(Condition(what, tuple(units.hertz(clock) if clock else "" for clock in seen)))
    return rows


def _limits(fits: Sequence[Fit]) -> set[str]:
    """What the driver said limited the clocks while a roof was measured."""
    regimes = [regime for fit in fits for regime in (fit, fit.sustained) if regime]
    roofs = [fitted for regime in regimes for fitted in regime.roofs.values()]
    held = [cause for fitted in roofs for cause in fitted.winner.causes if cause.startswith("clocks held")]
    return {cause.split(" for ")[0].removeprefix("clocks ") for cause in held}


# their ratios as a forest plot


def rows(ratios: Sequence[Ratio]) -> list[str]:
    """All of them, or of many headlines and whatever differs in some Run; headlines first."""
    names = list(dict.fromkeys(each["what"] for each in sorted(ratios, key=lambda each: not each["headline"])))
    keep = {each["what"] for each in ratios if each["headline"] or each["differs"]}
    return names if len(names) <= MOST_ROWS else [name for name in names if name in keep]


def edges(ratios: Sequence[Ratio], near: float) -> tuple[float, float]:
    """Of the axis: it holds every ratio and what is near to 1; an interval that knows nothing may leave it, or nothing
    could be read.
    """
    low = min([1 / (1 + 2 * near), *(max(each["low"], each["ratio"] / 1.5) for each in ratios)])
    high = max([1 + 2 * near, *(min(each["high"], each["ratio"] * 1.5) for each in ratios)])
    room = 0.04 * (high - low)
    return (low / 1.1, high * 1.1) if high / low > FAR else (low - room, high + room)


def bounds(each: Ratio) -> tuple[float, float]:
    """The interval; of several in a row only those that say something, or they would cover one another."""
    return (each["ratio"],) * 2 if each["crowded"] and not each["differs"] else (each["low"], each["high"])


def beyond(each: Ratio, low: float, high: float) -> Iterator[tuple[float, float]]:
    """(bound, edge) where the interval leaves the axis."""
    first, last = bounds(each)
    if first < low:
        yield first, low
    if last > high:
        yield last, high
