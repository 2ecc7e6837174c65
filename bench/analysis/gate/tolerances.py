"""How finely each metric is gated on this machine: the registry's judgement, its own noise, what a user says.

    version = 1

    [metrics."memory.dram.read"]
    floor = 0.03      # shares of the reference: a smaller drop from own history is none
    warn = 0.02
    siblings = 0.05
    gates = true      # whether it may fail the gate

Every key is optional; unknown ones are refused, because a misspelt floor would silently not hold.

A machine's own noise is known from Runs in which nothing changed: how far apart they are is what a gate must forgive. A
floor is never set below the registry's: Runs in a row share a day, a room and a neighbour, and the next month's do not.
What scatters so much that its floor would be half of the value cannot gate here, and says so.
"""

import math
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from statistics import median
from typing import Any

from bench.analysis.gate.metrics import Metric, Tolerance, metrics, names
from bench.analysis.gate.samples import pins, samples
from bench.schema import DeviceInfo, Run
from bench.store import RunError, whole_file

VERSION = 1
_SHARES = ("floor", "warn", "siblings")
# Fewer Runs say next to nothing of how far apart they may be.
FEWEST = 5
# A floor forgives so many deviations, and so much more than the worst of the Runs.
DEVIATIONS, MARGIN = 3.5, 1.25
# A floor beyond this gates nothing.
USELESS = 0.5


@dataclass(frozen=True)
class Settings:
    """Metric -> what differs from the registry."""

    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, metric: Metric) -> tuple[Tolerance, bool]:
        """(how finely a metric is gated, whether it may fail the gate)."""
        own = self.metrics.get(metric.name, {})
        shares = {name: own[name] for name in _SHARES if name in own}
        return replace(metric.tolerance, **shares), own.get("gates", metric.gates)

    def over(self, other: "Settings") -> "Settings":
        """These, and the other's where these say nothing."""
        names = dict.fromkeys([*other.metrics, *self.metrics])
        return Settings({name: {**other.metrics.get(name, {}), **self.metrics.get(name, {})} for name in names})


def read(path: Path) -> Settings:
    """The settings in a file. Raises RunError that names the file, the key and what is wrong with it."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"no such file of tolerances: {path}") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # among them what tomllib and UTF-8 call by names of their own
        raise RunError(f"{path} is not TOML: {error}") from None
    _only(data, ("version", "metrics"), str(path))
    if type(data.get("version")) is not int or data["version"] != VERSION:
        raise RunError(f"{path}: version is {data.get('version')!r}, and this ridgepoint reads version = {VERSION}")
    metrics = data.get("metrics", {})
    if not isinstance(metrics, dict):
        raise RunError(f"{path}: metrics must be a table for each metric")
    _only(metrics, sorted(names()), f"{path}: metrics")
    for name, own in metrics.items():
        where = f"{path}: {name}"
        if not isinstance(own, dict):
            raise RunError(f"{where} must be a table")
        _only(own, (*_SHARES, "gates"), where)
        for key in _SHARES:
            share = own.get(key, 0.5)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
                raise RunError(f"{where}: {key} must be a share between 0 and 1, such as 0.03, not {share!r}")
        if not isinstance(own.get("gates", True), bool):
            raise RunError(f"{where}: gates must be true or false, not {own['gates']!r}")
    return Settings(metrics)


def _only(found: Iterable[str], known: Collection[str], where: str) -> None:
    """Raises RunError for a key that is not known, with what was probably meant."""
    for key in found:
        if key not in known:
            near = get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(list(known)[:12])}"
            if unquoted := next((name for name in sorted(names()) if name.startswith(f"{key}.")), ""):
                hint = f'quote the whole name, as in [metrics."{unquoted}"]'
            raise RunError(f"{where}: unknown key {key!r}: {hint}")


def write(path: Path, settings: Settings, about: str) -> Path:
    """Settings as a file that `read` reads; about: what a person should know of them."""
    lines = [*(f"# {line}" for line in about.splitlines()), f"version = {VERSION}"]
    for name, own in settings.metrics.items():
        lines += ["", f'[metrics."{name}"]']
        for key, value in own.items():
            lines.append(f"{key} = {str(value).lower() if isinstance(value, bool) else f'{value:.4f}'}")
    return whole_file(("\n".join(lines) + "\n").encode(), path, "file of tolerances")


# --- a machine's own noise


@dataclass(frozen=True)
class Noise:
    """How one metric scattered over n Runs, as shares of its median: the slow Runs' root mean square distance from it,
    and the slowest's.
    """

    metric: Metric
    n: int
    deviation: float
    worst: float

    @property
    def floor(self) -> float:
        return max(self.metric.tolerance.floor, DEVIATIONS * self.deviation, MARGIN * self.worst)

    @property
    def useless(self) -> bool:
        return self.floor > USELESS

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from the registry."""
        if self.useless:
            return {"floor": USELESS, "gates": False} if self.metric.gates else {"floor": USELESS}
        own = self.metric.tolerance
        # half a unit of the last digit that is written must not take from it
        found = {"floor": round(self.floor + 5e-5, 4)} if self.floor > own.floor else {}
        return found | ({"warn": round(self.deviation + 5e-5, 4)} if self.deviation > own.warn else {})


def noise(runs: Sequence[Run], info: DeviceInfo) -> dict[str, Noise]:
    """Each followed metric's scatter over Runs of one device, of valid values only: a gate does not believe the others
    either. Raises RunError where too few are.
    """
    chosen, known = pins(runs[0], info), metrics(info)
    speeds: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        for name, measured in samples(run, info.id, chosen, known).items():
            if measured.believed:
                speeds[name].append(measured.speed)
    enough = {name: _noise(known[name], found) for name, found in speeds.items() if len(found) >= FEWEST}
    if not enough:
        raise RunError(
            f"{info.id}: no metric was valid in {FEWEST} of {len(runs)} Runs, and with fewer nobody knows its noise;"
            " calibrate again on a quiet machine"
        )
    return enough


def _noise(metric: Metric, speeds: Sequence[float]) -> Noise:
    """Of the slow side: a Run that was lucky is nothing that a gate must forgive."""
    values = [metric.value(speed) for speed in speeds]
    centre = median(values)
    off = [(centre - value if metric.better == "higher" else value - centre) / centre for value in values]
    slow = [share for share in off if share > 0]
    deviation = math.sqrt(sum(share**2 for share in slow) / len(slow)) if slow else 0.0
    return Noise(metric, len(values), deviation, max(off))


def calibrated(found: Mapping[str, Noise]) -> Settings:
    """What a gate should forgive beyond the registry's tolerances."""
    return Settings({name: each.settings for name, each in found.items() if each.settings})
