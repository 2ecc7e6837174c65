"""What differs around several Runs, first what may explain numbers: budget, versions, clocks, driver."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench import units
from bench.analysis.fit import Fit
from bench.report import names
from bench.report.words import listed, validity
from bench.schema import Run

# Clocks nearer than this are one clock.
_CLOCK = 0.01
_UNSAID = "–"
# Facts that say the same thing elsewhere, or nothing of the numbers.
_IDLE_FACTS = {"unknown", "numa_node", "options", "simulated"}


@dataclass(frozen=True)
class Condition:
    """One thing that is not the same everywhere: a value per Run, "–" where a Run does not say."""

    what: str
    values: tuple[str, ...]


def conditions(runs: Sequence[Run], fits: Sequence[Sequence[Fit]]) -> tuple[Condition, ...]:
    """In the order in which they may explain a difference."""
    both = list(zip(runs, fits, strict=True))
    rows = [
        _row("kind", both, lambda run, _: "simulated" if run.environment.simulated else "measured"),
        _row("devices", both, lambda run, _: _joined(d.name for d in run.environment.devices)),
        _row("number of devices", both, lambda run, _: str(len(run.environment.devices))),
        _row("validity", both, lambda run, these: validity(run, these).word),
        _row("complete", both, lambda run, _: "yes" if run.complete else "no"),
        _row("budget", both, lambda run, _: run.environment.budget),
        _row("regimes", both, lambda _, these: _joined(c.regime for fit in these for c in fit.cases)),
        *(row for row in _each("probe version", both, lambda run, _: _versions(run)) if _known(row) > 1),
        _row("probes", both, lambda run, _: _joined(sorted(_versions(run)))),
        *_clocks(both),
        _row("held back", both, lambda _, these: _joined(sorted(_held(these))) or "by nothing"),
        *_each("", both, lambda run, _: _facts(run)),
        *_each("", both, lambda run, _: run.environment.libraries),
        *_each("", both, lambda run, _: run.environment.system),
        _row("suite", both, lambda run, _: run.environment.suite),
        _row("commit", both, lambda run, _: run.environment.commit[:10]),
        _row(
            "simulator's options",
            both,
            lambda run, _: _joined(d.facts.get("options", "") for d in run.environment.devices),
        ),
        _row("host", both, lambda run, _: run.environment.host),
    ]
    return tuple(row for row in rows if row and len(set(row.values)) > 1)


def _row(what: str, both: Sequence[tuple[Run, Sequence[Fit]]], value: Callable[[Run, Sequence[Fit]], str]) -> Condition:
    return Condition(what, tuple(value(run, these) or _UNSAID for run, these in both))


def _each(what: str, both: Sequence[tuple[Run, Sequence[Fit]]], values: Callable[[Run, Any], Any]) -> list[Condition]:
    """A row per key of a mapping that each Run has."""
    found = [values(run, these) for run, these in both]
    keys = dict.fromkeys(key for each in found for key in each)
    return [
        Condition(f"{what} {key}".strip().replace("_", " "), tuple(str(each.get(key, _UNSAID)) for each in found))
        for key in keys
    ]


def _known(row: Condition) -> int:
    """How many different values are stated."""
    return len({*row.values} - {_UNSAID})


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(text for text in texts if text))


def _versions(run: Run) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for m in run.measurements:
        found.setdefault(m.probe, []).append(str(m.version))
    return {probe: _joined(versions) for probe, versions in found.items()}


def _facts(run: Run) -> dict[str, str]:
    devices = run.environment.devices
    keys = dict.fromkeys(key for device in devices for key in device.facts if key not in _IDLE_FACTS)
    # a clock that was measured at the start differs by a hair every time
    return {
        key.removesuffix("_hz"): _joined(
            units.hertz(float(d.facts[key]), 2) if key == "clock_hz" else names.fact(key, d.facts.get(key, ""))
            for d in devices
            if key in d.facts
        )
        for key in keys
    }


def _clocks(both: Sequence[tuple[Run, Sequence[Fit]]]) -> list[Condition]:
    """The clock that was seen at the headline roof, in a burst and under lasting load, where it is not the same."""
    rows = []
    for what, roofs in (
        ("clock at the headline roof", lambda fit: fit.roofs),
        ("clock under lasting load", lambda fit: fit.sustained.roofs if fit.sustained else {}),
    ):
        seen = []
        for _, these in both:
            clocks = [roofs(fit)[fit.info.headline].winner.clock_hz for fit in these if fit.info.headline in roofs(fit)]
            known = [clock for clock in clocks if clock]
            seen.append(sum(known) / len(known) if known else None)
        known = [clock for clock in seen if clock]
        if known and (len(known) < len(seen) or max(known) > min(known) * (1 + _CLOCK)):
            rows.append(Condition(what, tuple(units.hertz(clock) if clock else _UNSAID for clock in seen)))
    return rows


def _held(fits: Sequence[Fit]) -> set[str]:
    """What the driver said held the clocks back while a roof was measured."""
    found = set()
    for fit in fits:
        for fitted in (*fit.roofs.values(), *(fit.sustained.roofs.values() if fit.sustained else ())):
            found |= {cause.split(" for ")[0] for cause in fitted.winner.causes if cause.startswith("clocks held")}
    return found


def stated(found: Sequence[Condition]) -> list[str]:
    """Each in a few words: "budget (quick and standard)"; what is said elsewhere or only names a Run is left out."""
    said = ("host", "commit", "complete", "kind", "validity", "devices")
    return [_stated(row) for row in found if row.what not in said and row.what != "probes" and _known(row) > 1]


def _stated(row: Condition) -> str:
    # many values or long ones are for the table
    brief = len(row.values) == 2 and all(len(value) <= 24 for value in row.values)
    return f"{row.what} ({listed(row.values)})" if brief else row.what
