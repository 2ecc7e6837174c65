"""What differs around several Runs, first what may explain numbers: budget, versions, clocks, driver."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench import units
from bench.analysis.fit import Fit
from bench.analysis.quality import Quality, quality
from bench.schema import Run

# Clocks nearer than this are one clock.
_CLOCK = 0.01
# Facts that say the same thing elsewhere, or nothing of the numbers.
_IDLE_FACTS = {"unknown", "numa_node", "options", "simulated"}
# What names a Run, or is said of it elsewhere: no explanation of a number.
_NO_CAUSE = {"kind", "devices", "validity", "complete", "probes", "commit", "host"}


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
class RunFacts:
    """What a Run is, for whoever compares several."""

    source: str
    run_id: str
    started: str
    machine: str
    product: str
    devices: tuple[str, ...]
    simulated: bool
    complete: bool
    validity: str
    budget: str
    host: str
    measurements: int


def run_facts(run: Run, quality: Quality) -> RunFacts:
    about = run.environment
    kinds = Counter(device.name for device in about.devices)
    machine = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in kinds.items())
    return RunFacts(
        source=run.source,
        run_id=about.run_id,
        started=about.started,
        machine=machine or about.product,
        product=about.product,
        devices=tuple(device.id for device in about.devices),
        simulated=about.simulated,
        complete=run.complete,
        validity=quality.status,
        budget=about.budget,
        host=about.host,
        measurements=len(run.measurements),
    )


_Both = tuple[Run, Sequence[Fit]]


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
        *(each for each in _each("probe version ", both, _versions) if each.stated > 1),
        row("probes", lambda run, _: _joined(sorted(_versions(run)))),
        *_clocks(both),
        row("clocks", lambda _, these: _joined(sorted(_limits(these))) or "not limited"),
        *_each("", both, _facts),
        *_each("", both, lambda run: run.environment.libraries),
        *_each("", both, lambda run: run.environment.system),
        row("suite", lambda run, _: run.environment.suite),
        row("commit", lambda run, _: run.environment.commit[:10]),
        row("simulator options", lambda run, _: _joined(d.facts.get("options", "") for d in run.environment.devices)),
        row("host", lambda run, _: run.environment.host),
    ]
    return tuple(each for each in rows if len(set(each.values)) > 1)


def _each(what: str, both: Sequence[_Both], values: Callable[[Run], Mapping[str, str]]) -> list[Condition]:
    """A row per key of a mapping that each Run has."""
    found = [values(run) for run, _ in both]
    keys = dict.fromkeys(key for each in found for key in each)
    return [
        Condition(f"{what}{key}".replace("_", " "), tuple(str(each.get(key, "")) for each in found)) for key in keys
    ]


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
    return {
        key.removesuffix("_hz"): _joined(_fact(key, d.facts[key]) for d in devices if key in d.facts) for key in keys
    }


def _fact(key: str, text: str) -> str:
    """A clock in GHz; one that was measured at the start differs by a hair every time."""
    is_clock = key.endswith("_hz") and text.replace(".", "", 1).isdecimal()
    return units.hertz(float(text), 2 if key == "clock_hz" else 4) if is_clock else text


def _clocks(both: Sequence[_Both]) -> list[Condition]:
    """The clock that was seen at the headline roof, in a burst and under sustained load, where it is not the same."""
    rows = []
    for what, roofs in (
        ("clock at the headline roof", lambda fit: fit.roofs),
        ("clock under sustained load", lambda fit: fit.sustained.roofs if fit.sustained else {}),
    ):
        seen = []
        for _, these in both:
            clocks = [roofs(fit)[fit.info.headline].winner.clock_hz for fit in these if fit.info.headline in roofs(fit)]
            known = [clock for clock in clocks if clock]
            seen.append(sum(known) / len(known) if known else 0.0)
        known = [clock for clock in seen if clock]
        if known and (len(known) < len(seen) or max(known) > min(known) * (1 + _CLOCK)):
            rows.append(Condition(what, tuple(units.hertz(clock) if clock else "" for clock in seen)))
    return rows


def _limits(fits: Sequence[Fit]) -> set[str]:
    """What the driver said limited the clocks while a roof was measured."""
    lasting = [fitted for fit in fits if fit.sustained for fitted in fit.sustained.roofs.values()]
    every = [*(fitted for fit in fits for fitted in fit.roofs.values()), *lasting]
    return {
        cause.split(" for ")[0].removeprefix("clocks ")
        for fitted in every
        for cause in fitted.winner.causes
        if cause.startswith("clocks held")
    }
