"""One Run as an index of many knows it: which device it is of, in which environment, and what is known of that.

One identity, one environment and one form for whoever looks at many Runs (trend, gate); an EntryKind says what each of
them remembers beside these.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Generic, TypeVar

from bench.schema import MAJOR, MINOR, DeviceInfo, Environment, Run
from bench.store import RunError

# Raised when an entry says something else of the same Run, or the file of the cache has another form.
VERSION = 2
# What an entry says as the Run's environment does.
_OF_ENVIRONMENT = ("run_id", "started", "host", "product", "budget", "simulated", "redacted")
Values = TypeVar("Values")


@dataclass(frozen=True)
class EntryKind(Generic[Values]):
    """What is remembered of each Run: the values of its devices, in their order; version is of what they say."""

    name: str
    version: tuple[int, ...]
    type: type[Values]
    values: Callable[[Run], Iterable[Values]]

    @property
    def made_by(self) -> list[str | int]:
        return [f"ridgepoint.{self.name}", VERSION, *self.version, MAJOR, MINOR]


@dataclass(frozen=True)
class Change:
    """Something of the environment that is not what it was before; "unknown" where a Run did not say."""

    factor: str
    before: str
    after: str


@dataclass(frozen=True)
class DeviceEntry(Generic[Values]):
    """One device in one Run. who: which one it is over many Runs, "" where the Run hides that.

    factors: what of its environment may move its numbers, by name.
    """

    id: str
    name: str
    uuid: str
    who: str
    factors: Mapping[str, str]
    values: Values

    @property
    def key(self) -> str:
        """What its values are joined by; where the Run hides that, its place in it."""
        return self.who or f"redacted {self.id}"

    @cached_property
    def surroundings(self) -> Mapping[str, str]:
        """What makes its numbers incomparable when it changes: what a probe measures has a version of its own."""
        return {name: text for name, text in self.factors.items() if name != "suite"}


@dataclass(frozen=True)
class RunEntry(Generic[Values]):
    """One Run. at: its start, in seconds since 1970. status: as its end line says, or "cut short".

    counts: its measurements by validity, skips left out.
    """

    run_id: str
    started: str
    at: float
    host: str
    product: str
    budget: str
    status: str
    simulated: bool
    redacted: bool
    counts: Mapping[str, int]
    warnings: tuple[str, ...]
    devices: tuple[DeviceEntry[Values], ...]

    @property
    def complete(self) -> bool:
        return self.status == "complete"

    @property
    def excluded(self) -> str:
        """Why it says nothing of what is usual of a device; "" where it does."""
        return "incomplete" if not self.complete else "" if all(device.who for device in self.devices) else "redacted"


def identity(about: Environment, info: DeviceInfo) -> str:
    """Which device it is over many Runs, hashed: its UUID, else its place on its host; "" where a Run hides that."""
    if about.redacted:
        return ""
    return hashlib.sha256((info.uuid or f"{about.host} {info.id}").encode()).hexdigest()[:16]


def factors(run: Run, info: DeviceInfo) -> dict[str, str]:
    """What of a device's environment may move its numbers, by name, in the order in which a reader would suspect them;
    what is not known is left out.
    """
    facts, libraries = info.facts, run.environment.libraries
    limit = facts.get("power_limit_w", "")
    found = {
        "driver": facts.get("driver"),
        "power limit": f"{limit} W" if limit else None,
        "torch": libraries.get("torch"),
        "CuPy": libraries.get("cupy-cuda13x") or libraries.get("cupy-cuda12x"),
        "NVRTC": facts.get("nvrtc") or libraries.get("nvidia-cuda-nvrtc"),
        "cuBLAS": facts.get("cublas"),
        "NCCL": libraries.get("nvidia-nccl-cu13") or libraries.get("nvidia-nccl-cu12"),
        "cuDNN": libraries.get("nvidia-cudnn-cu13") or libraries.get("nvidia-cudnn-cu12"),
        "compiler": facts.get("compiler"),
        "ECC": facts.get("ecc"),
        "MIG": facts.get("mig"),
        "suite": run.environment.suite,
    }
    return {name: text for name, text in found.items() if text}


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """What of two environments, each as factors, is not the same."""
    if before == after:
        return ()
    names = [name for name in dict.fromkeys((*after, *before)) if before.get(name) != after.get(name)]
    return tuple(Change(name, before.get(name, "unknown"), after.get(name, "unknown")) for name in names)


def moment(run: Run) -> float:
    """When it started, in seconds since 1970. Raises RunError for one that has no place in time."""
    try:
        started = datetime.fromisoformat(run.environment.started)
        return (started if started.tzinfo else started.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise RunError(f"it started at {run.environment.started!r}, which is no time") from None


def device_entry(run: Run, info: DeviceInfo, values: Values) -> DeviceEntry[Values]:
    return DeviceEntry(info.id, info.name, info.uuid, identity(run.environment, info), factors(run, info), values)


def run_entry(run: Run, kind: EntryKind[Values]) -> RunEntry[Values]:
    """A Run as the index knows it. Raises RunError for one that has no place in time."""
    about, at, status = run.environment, moment(run), run.end.status if run.end else "cut short"
    counts = dict(Counter(m.validity for m in run.measurements if not m.skip))
    warnings = tuple(warning for warning in run.warnings if not warning.startswith("no end line"))
    devices = tuple(device_entry(run, *each) for each in zip(about.devices, kind.values(run), strict=True))
    told = {name: getattr(about, name) for name in _OF_ENVIRONMENT}
    return RunEntry(**told, at=at, status=status, counts=counts, warnings=warnings, devices=devices)
