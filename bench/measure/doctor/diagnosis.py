"""A diagnosis: what was observed with its remedies, what will be measured and skipped; as text and as plain values."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench import units
from bench.schema import DeviceInfo

State = Literal["ok", "note", "warn", "bad"]
# From what must be mended first to what is well. Each has a mark and a word of its own: colour only repeats them.
MARKS = {"bad": ("✗ bad", "red"), "warn": ("! warn", "yellow"), "note": ("· note", "cyan"), "ok": ("✓ ok", "green")}
# Exit code -> what it means.
FINE, DOUBTFUL, NOTHING = 0, 3, 5
_VERDICTS = {
    FINE: ("nothing stands in the way (exit code 0)", "green"),
    DOUBTFUL: ("it can be measured, but not all of it would count (exit code 3)", "yellow"),
    NOTHING: ("nothing can be measured (exit code 5)", "red"),
}
_MACHINE = "this machine"


@dataclass(frozen=True)
class Observation:
    """One thing that was looked at. state: as findings.toml explains them."""

    topic: str
    text: str
    state: State = "ok"
    fix: str = ""  # what to do about it
    device: str = ""  # "" for the machine as a whole


@cache
def _catalogue() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads(Path(__file__).with_name("findings.toml").read_text(encoding="utf-8"))


def observed(topic: str, case: str, **facts: Any) -> Observation:
    """What findings.toml says of a topic in this case, with the facts filled in."""
    state, text, *fix = _catalogue()[topic][case]
    return Observation(topic, text.format(**facts), state, "".join(fix).format(**facts))


@dataclass(frozen=True)
class Planned:
    """A probe on a device: cases that will run, and an upper estimate of their time."""

    device: str
    probe: str
    cases: int
    estimate_s: float


@dataclass(frozen=True)
class Skipped:
    """Cases of a probe that will not run, and why. probe and cases: "" and 0 for a device that did not open."""

    device: str
    probe: str
    cases: int
    reason: str


@dataclass(frozen=True)
class Diagnosis:
    """What a Run started now would meet."""

    devices: tuple[DeviceInfo, ...]  # those that opened
    findings: tuple[Observation, ...]
    measured: tuple[Planned, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    readings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # what the driver told of each GPU
    stack: Mapping[str, Any] = field(default_factory=dict)  # driver, torch, CuPy and NVRTC as they were found
    budget: float = 0.0  # seconds that a Run would take, whatever of the plan is reached

    @property
    def code(self) -> int:
        """0: nothing stands in the way; 3: results would be invalid, suspect or incomplete; 5: nothing can run."""
        if not self.devices:
            return NOTHING
        return DOUBTFUL if any(finding.state == "bad" for finding in self.findings) else FINE

    @property
    def simulated(self) -> bool:
        return any(info.simulated for info in self.devices)

    @property
    def first(self) -> tuple[Observation, ...]:
        """What to mend, the most severe first."""
        return tuple(finding for state in ("bad", "warn") for finding in self.findings if finding.state == state)

    @property
    def seconds(self) -> float:
        """How long a Run takes at most: GPUs are measured side by side, the host when they are done."""
        by_device: Counter[str] = Counter()
        for row in self.measured:
            by_device[row.device] += row.estimate_s
        host = by_device.pop("cpu", 0.0)
        return host + max(by_device.values(), default=0.0)


def facts(diagnosis: Diagnosis) -> dict[str, Any]:
    """Plain values in SI base units, in the order of the text."""
    info_keys = ("id", "name", "product", "sku", "memory_bytes")
    return {
        "code": diagnosis.code,
        "simulated": diagnosis.simulated,
        "devices": [{key: getattr(info, key) for key in info_keys} for info in diagnosis.devices],
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "measured": [asdict(row) for row in diagnosis.measured],
        "estimate_s": diagnosis.seconds,
        "budget_s": diagnosis.budget,
        "skipped": [asdict(row) for row in diagnosis.skipped],
        "fix_first": [asdict(finding) for finding in diagnosis.first],
        "readings": {device: dict(told) for device, told in diagnosis.readings.items()},
        "stack": dict(diagnosis.stack),
    }


def text(diagnosis: Diagnosis) -> Group:
    """What was found, what will be measured and skipped, and what to mend first."""
    parts: list[Any] = []
    if diagnosis.simulated:
        parts.append(Text("SIMULATED: a datasheet plays the device; nothing here is a measurement", "bold magenta"))
    sections = {"found": _found(diagnosis), "will be measured": _measured(diagnosis)}
    sections |= {"will be skipped": [_skipped(diagnosis)]} if diagnosis.skipped else {}
    sections |= {"fix first": [_first(diagnosis)]} if diagnosis.first else {}
    for heading, body in sections.items():
        parts += [Padding(Text(heading, "bold"), (1, 0, 0, 0)), *body]
    return Group(*parts, Text(), Text(*_VERDICTS[diagnosis.code]))


def _grid(*columns: Mapping[str, Any]) -> Table:
    """A table of these columns and a last one whose words fold."""
    table = Table.grid(padding=(0, 1))
    for column in columns:
        table.add_column(no_wrap=True, **column)
    table.add_column(overflow="fold")
    return table


_INDENT = {"width": 2}


def _found(diagnosis: Diagnosis) -> Iterable[Any]:
    """Findings under the devices that they hold for; what several devices share is said once."""
    shared: dict[Observation, list[str]] = {}
    for finding in diagnosis.findings:
        shared.setdefault(replace(finding, device=""), []).append(finding.device)
    groups: dict[tuple[str, ...], list[Observation]] = {}
    for finding, devices in shared.items():
        groups.setdefault(tuple(devices), []).append(finding)
    width = max((len(finding.topic) for finding in shared), default=0)
    for devices, findings in groups.items():
        yield Text(f"  {_names(devices)}", "underline")
        table = _grid(_INDENT, {"width": 6}, {"width": width})
        for finding in findings:
            fix = f" ({finding.fix})" if finding.state == "note" and finding.fix else ""
            table.add_row("", Text(*MARKS[finding.state]), Text(finding.topic), Text(finding.text + fix))
        yield table


def _measured(diagnosis: Diagnosis) -> Iterable[Any]:
    if not diagnosis.measured:
        yield Text("  nothing")
        return
    rows: dict[tuple[tuple[str, int, float], ...], list[DeviceInfo]] = {}
    for info in diagnosis.devices:
        plan = tuple((r.probe, r.cases, r.estimate_s) for r in diagnosis.measured if r.device == info.id)
        rows.setdefault(plan, []).append(info)
    for plan, infos in rows.items():
        names = ", ".join(dict.fromkeys(info.name for info in infos))
        yield Text(f"  {_names([info.id for info in infos])}: {names}", "underline")
        table = _grid(_INDENT, {}, {"justify": "right"})
        for probe, cases, seconds in plan:
            table.add_row("", Text(probe), f"{cases}", f"cases, about {units.seconds(seconds)}")
        yield table
    clock = " of the datasheet's time" if diagnosis.simulated else ""
    yield Text(
        f"  about {units.seconds(diagnosis.seconds)}{clock} for all of it; the budget ends a Run after"
        f" {units.seconds(diagnosis.budget)}, headline roofs and coarse sweeps first"
    )


def _skipped(diagnosis: Diagnosis) -> Table:
    """A line per reason; reasons that differ in their numbers only are one, told by the first."""
    alike: dict[tuple[str, str], list[Skipped]] = {}
    for row in diagnosis.skipped:
        alike.setdefault((row.probe, re.sub(r"\d+(\.\d+)?", "#", row.reason)), []).append(row)
    table = _grid(_INDENT)
    for (probe, _), rows in alike.items():
        cases: Counter[str] = Counter()
        for row in rows:
            cases[row.device] += row.cases
        count = max(cases.values())
        what = f"{probe}, {count} {'case' if count == 1 else 'cases'}" if probe else "everything"
        others = len({row.reason for row in rows}) - 1
        more = f" (and {others} more like it)" if others else ""
        table.add_row("", Text(f"{_names(list(cases))}: {what}: {rows[0].reason}{more}"))
    return table


def _first(diagnosis: Diagnosis) -> Table:
    shared: dict[Observation, list[Observation]] = {}
    for finding in diagnosis.first:
        # the same trouble on several devices has a command for each
        shared.setdefault(replace(finding, fix="", device=""), []).append(finding)
    table = _grid({"justify": "right", "width": 4}, {"width": 6})
    for number, (trouble, findings) in enumerate(shared.items(), 1):
        where = _names([finding.device for finding in findings])
        told = Text(f"{where}, {trouble.topic}: {trouble.text}")
        table.add_row(f"{number}.", Text(*MARKS[trouble.state]), told)
        for fix in dict.fromkeys(finding.fix for finding in findings if finding.fix):
            table.add_row("", "", Text(f"→ {fix}", "bold"))
    return table


def _names(devices: Sequence[str]) -> str:
    """Devices by name where they are few, else the first to the last and how many."""
    names = [name or _MACHINE for name in dict.fromkeys(devices)]
    return f"{names[0]} to {names[-1]} ({len(names)})" if len(names) > 3 else ", ".join(names)
