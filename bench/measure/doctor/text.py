"""A diagnosis for people, in sections that end with what to do first; and for programs, as plain values."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bench import units
from bench.measure.doctor.finding import DOUBTFUL, FINE, Diagnosis, Finding, Skipped

# Each state has a mark and a word of its own: colour only repeats them.
_MARKS = {"ok": ("✓ ok", "green"), "note": ("· note", "cyan"), "warn": ("! warn", "yellow"), "bad": ("✗ bad", "red")}
_MACHINE = "this machine"


def text(diagnosis: Diagnosis) -> Group:
    """What was found, what will be measured and skipped, and what to mend first."""
    parts: list[Any] = []
    if diagnosis.simulated:
        parts.append(Text("SIMULATED: a datasheet plays the device; nothing here is a measurement", "bold magenta"))
    parts += [_heading("found"), *_found(diagnosis)]
    parts += [_heading("will be measured"), *_measured(diagnosis)]
    if diagnosis.skipped:
        parts += [_heading("will be skipped"), _skipped(diagnosis)]
    if diagnosis.first:
        parts += [_heading("fix first"), _first(diagnosis)]
    return Group(*parts, Text(), _verdict(diagnosis))


def facts(diagnosis: Diagnosis) -> dict[str, Any]:
    """The same as plain values in SI base units, in the order of the text."""
    return {
        "code": diagnosis.code,
        "simulated": diagnosis.simulated,
        "devices": [
            {"id": i.id, "name": i.name, "product": i.product, "sku": i.sku, "memory_bytes": i.memory_bytes}
            for i in diagnosis.devices
        ],
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "measured": [
            {"device": row.device, "probe": row.probe, "cases": row.cases, "estimate_s": row.seconds}
            for row in diagnosis.measured
        ],
        "estimate_s": diagnosis.seconds,
        "budget_s": diagnosis.budget,
        "skipped": [asdict(row) for row in diagnosis.skipped],
        "fix_first": [asdict(finding) for finding in diagnosis.first],
        "readings": {device: dict(told) for device, told in diagnosis.readings.items()},
        "stack": dict(diagnosis.stack),
    }


def _heading(words: str) -> Padding:
    return Padding(Text(words, "bold"), (1, 0, 0, 0))


def _found(diagnosis: Diagnosis) -> Iterable[Any]:
    """Findings under the devices that they hold for; what several devices share is said once."""
    shared: dict[Finding, list[str]] = {}
    for finding in diagnosis.findings:
        shared.setdefault(Finding(finding.topic, finding.text, finding.state, finding.fix), []).append(finding.device)
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding, devices in shared.items():
        groups.setdefault(tuple(devices), []).append(finding)
    width = max((len(finding.topic) for finding in shared), default=0)
    for devices, findings in groups.items():
        yield Text(f"  {_names(devices)}", "underline")
        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        table.add_column(width=6, no_wrap=True)
        table.add_column(width=width, no_wrap=True)
        table.add_column(overflow="fold")
        for finding in findings:
            mark, style = _MARKS[finding.state]
            told = finding.text
            if finding.state == "note" and finding.fix:
                told += f" ({finding.fix})"
            table.add_row("", Text(mark, style), Text(finding.topic), Text(told))
        yield table


def _measured(diagnosis: Diagnosis) -> Iterable[Any]:
    if not diagnosis.measured:
        yield Text("  nothing")
        return
    rows: dict[tuple[tuple[str, int, float], ...], list[str]] = {}
    for info in diagnosis.devices:
        plan = tuple((r.probe, r.cases, r.seconds) for r in diagnosis.measured if r.device == info.id)
        rows.setdefault(plan, []).append(info.id)
    names = {info.id: info.name for info in diagnosis.devices}
    for plan, devices in rows.items():
        yield Text(f"  {_names(devices)}: {', '.join(dict.fromkeys(names[d] for d in devices))}", "underline")
        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True)
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
    table = Table.grid(padding=(0, 1))
    table.add_column(width=2)
    table.add_column(overflow="fold")
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
    shared: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in diagnosis.first:
        # the same trouble on several devices has a command for each
        shared.setdefault((finding.state, finding.topic, finding.text), []).append(finding)
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", width=4, no_wrap=True)
    table.add_column(width=6, no_wrap=True)
    table.add_column(overflow="fold")
    for number, ((state, topic, told), findings) in enumerate(shared.items(), 1):
        mark, style = _MARKS[state]
        where = _names([finding.device for finding in findings])
        table.add_row(f"{number}.", Text(mark, style), Text(f"{where}, {topic}: {told}"))
        for fix in dict.fromkeys(finding.fix for finding in findings if finding.fix):
            table.add_row("", "", Text(f"→ {fix}", "bold"))
    return table


def _verdict(diagnosis: Diagnosis) -> Text:
    if diagnosis.code == FINE:
        return Text("nothing stands in the way (exit code 0)", "green")
    if diagnosis.code == DOUBTFUL:
        return Text("it can be measured, but not all of it would count (exit code 3)", "yellow")
    return Text("nothing can be measured (exit code 5)", "red")


def _names(devices: Sequence[str]) -> str:
    """Devices by name where they are few, else the first to the last and how many."""
    names = [name or _MACHINE for name in dict.fromkeys(devices)]
    return f"{names[0]} to {names[-1]} ({len(names)})" if len(names) > 3 else ", ".join(names)
