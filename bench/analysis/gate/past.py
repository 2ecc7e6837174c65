"""The Runs before this one: for each followed case its speed, when, in which environment. Remembered beside the Runs.

Only complete, valid, measured Runs of the same device in the same environment make a history: another driver, library
or power limit is another machine to a gate. Another version of the suite alone is not: what a probe measures has a
version of its own, which is part of the case.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from bench.analysis.cache import Kind, readings
from bench.analysis.entries import factors, moment
from bench.analysis.gate.metrics import Pin
from bench.analysis.gate.samples import repeated
from bench.schema import DeviceInfo, Environment, Run


@dataclass(frozen=True)
class Value:
    """The speed of one case in one Run (work or launches per second), of n repetitions."""

    speed: float
    n: int
    valid: bool
    clock_hz: float | None


@dataclass(frozen=True)
class PastDevice:
    """One device in one Run. who: which device that is over many Runs, "" where the Run does not say."""

    id: str
    who: str
    factors: Mapping[str, str]
    values: Mapping[str, Value]


@dataclass(frozen=True)
class PastRun:
    run_id: str
    started: str
    at: float
    product: str
    budget: str
    simulated: bool
    complete: bool
    devices: tuple[PastDevice, ...]

    @property
    def counts(self) -> str:
        """ "yes" where it is part of a history, else why not."""
        return "incomplete" if not self.complete else "yes" if all(d.who for d in self.devices) else "redacted"

    @property
    def valid(self) -> tuple[int, int]:
        """How many values are valid, of how many."""
        values = [value.valid for device in self.devices for value in device.values.values()]
        return sum(values), len(values)


@dataclass(frozen=True)
class Past:
    """A folder's Runs by file, in order of time; left_out: file -> why; read: how many were read anew."""

    runs: Mapping[str, PastRun]
    left_out: Mapping[str, str]
    warnings: tuple[str, ...]
    read: int

    def of(
        self, who: str, same: Mapping[str, str], simulated: bool, before: float
    ) -> "list[tuple[PastRun, PastDevice]]":
        """A device's complete Runs before a moment in an environment like this one."""
        return [
            (run, device)
            for run in self.runs.values()
            if run.complete and run.simulated == simulated and run.at < before
            for device in run.devices
            if who and device.who == who and device.factors == same
        ]


def past(folder: Path, listen: Callable[[int, int], None] = lambda done, total: None) -> Past:
    """The Runs of results/PRODUCT; none for a folder that does not exist yet. Raises RunError."""
    if not folder.exists():
        return Past({}, {}, (), 0)
    found = readings(folder, REMEMBERED, listen)
    longest: dict[str, str] = {}
    copies = {}
    for file, run in sorted(found.entries.items(), key=lambda each: -sum(len(d.values) for d in each[1].devices)):
        if run.run_id in longest:
            copies[file] = f"it is a copy of {longest[run.run_id]}"
        longest.setdefault(run.run_id, file)
    runs = {file: run for file, run in found.entries.items() if file not in copies}
    ordered = dict(sorted(runs.items(), key=lambda each: (each[1].at, each[0])))
    return Past(ordered, {**found.damaged, **copies}, found.warnings, found.fitted)


def identity(about: Environment, info: DeviceInfo) -> str:
    """Which device it is over many Runs, hashed: its UUID, else its place on its host; "" where a Run hides that."""
    if about.redacted:
        return ""
    return sha256((info.uuid or f"{about.host} {info.id}").encode()).hexdigest()[:16]


def surroundings(run: Run, info: DeviceInfo) -> dict[str, str]:
    """What of a device's environment makes its numbers incomparable when it changes."""
    return {name: text for name, text in factors(run, info).items() if name != "suite"}


@cache
def digest(pin: Pin) -> str:
    """A case in sixteen letters, the version of its probe included."""
    (probe, version, params), sustained = pin
    return sha256(json.dumps([probe, version, params, sustained]).encode()).hexdigest()[:16]


def remembered(run: Run) -> PastRun:
    """What a gate needs of an earlier Run. Raises RunError for one that has no place in time."""
    about = run.environment
    devices = tuple(
        PastDevice(info.id, identity(about, info), surroundings(run, info), _values(run, info))
        for info in about.devices
    )
    return PastRun(
        about.run_id,
        about.started,
        moment(run),
        about.product,
        about.budget,
        about.simulated,
        run.complete,
        devices,
    )


def _values(run: Run, info: DeviceInfo) -> dict[str, Value]:
    return {
        digest(pin): Value(reading.speed, len(reading.first), reading.believed, reading.clock_hz)
        for pin, reading in repeated(run, info).items()
        if reading.speed
    }


# Raised when it says something else of the same Run.
REMEMBERED = Kind("gate", (1,), PastRun, remembered)
