"""How finely each metric is gated on this machine: the registry's judgement, its own noise, what a user says.

    version = 1

    [metrics."memory.dram.read"]
    floor = 0.03      # shares of the reference: a smaller drop from own history is none
    warn = 0.02
    siblings = 0.05
    gates = true      # whether it may fail the gate

Every key is optional; unknown ones are refused, because a misspelt floor would silently not hold.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bench.analysis.gate.metrics import Metric, Tolerance, names
from bench.store import RunError, whole_file

VERSION = 1
_SHARES = ("floor", "warn", "siblings")


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
            _check_share(own.get(key, 0.5), f"{where}: {key}")
        if not isinstance(own.get("gates", True), bool):
            raise RunError(f"{where}: gates must be true or false, not {own['gates']!r}")
    return Settings(metrics)


def write(path: Path, settings: Settings, about: str) -> Path:
    """Settings as a file that `read` reads; about: what a person should know of them."""
    lines = [*(f"# {line}" for line in about.splitlines()), f"version = {VERSION}"]
    for name, own in settings.metrics.items():
        lines += ["", f'[metrics."{name}"]']
        lines += [
            f"{key} = {str(value).lower() if isinstance(value, bool) else f'{value:.4f}'}" for key, value in own.items()
        ]
    return whole_file(("\n".join(lines) + "\n").encode(), path, "file of tolerances")


def _only(found: Mapping[str, Any], known: Any, where: str) -> None:
    for key in found:
        if key not in known:
            near = get_close_matches(key, list(known), 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(list(known)[:12])}"
            if any(name.startswith(f"{key}.") for name in names()):
                hint = (
                    f'quote the whole name, as in [metrics."{next(n for n in sorted(names()) if n.startswith(key))}"]'
                )
            raise RunError(f"{where}: unknown key {key!r}: {hint}")


def _check_share(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise RunError(f"{where} must be a share between 0 and 1, such as 0.03, not {value!r}")
