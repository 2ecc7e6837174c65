"""Baselines, histories and a machine's noise as tables for the terminal."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench import units
from bench.analysis.gate.baselines import Baseline, Blessed
from bench.analysis.gate.calibration import Noise
from bench.analysis.gate.metrics import Metric
from bench.analysis.gate.past import Past
from bench.schema import DeviceInfo


def baseline_table(found: Sequence[Baseline]) -> Group:
    """Each baseline with the cases that it pins and what it expects of them."""
    return Group(*(_baseline(each) for each in found))


def _baseline(each: Baseline) -> Group:
    run, whose = each.run.environment, "this product" if not each.own else each.info.id
    flag = "SIMULATED, " if run.simulated else ""
    head = Text(f"{each.info.name}, {whose}: {flag}Run of {run.started[:16]}Z ({each.path})", style="bold")
    table = _table("metric", "expected", "case")
    for name, pin in each.pins.items():
        metric, speed = each.metrics[name], each.speed(name)
        if speed:
            table.add_row(name + ("" if metric.gates else " (warns)"), metric.text(speed), case(pin[0][2]))
    return Group(head, table)


def case(params: Sequence[tuple[str, object]]) -> str:
    """A case in short: what names it, without what follows from that."""
    known = dict(params)
    if "shape" in known:
        return str(known["shape"])
    return ", ".join(f"{name} {value}" for name, value in known.items() if name not in ("cache", "kind", "dtype"))


def blessed_table(blessed: Sequence[Blessed]) -> Group:
    """What was blessed, and what that changes."""
    parts = []
    for each in blessed:
        parts.append(
            Text(f"{each.baseline.path} is the baseline of {each.baseline.info.name} ({each.baseline.info.id})")
        )
        if once := each.baseline.once:
            parts.append(Text(f"  measured only once, a Run of `gate` knows better: {', '.join(once)}", style="yellow"))
        if each.kept:
            parts.append(Text(f"  the one before is kept: {each.kept}"))
        if each.before:
            metrics = {**each.before.metrics, **each.baseline.metrics}
            parts += [Text(f"  {line}") for line in _changes(each, metrics)]
    return Group(*parts)


def _changes(each: Blessed, metrics: Mapping[str, Metric]) -> list[str]:
    found = []
    for name, (before, after) in each.changes.items():
        if before is None or after is None:
            found.append(f"{name}: {'new' if before is None else 'no longer followed'}")
        elif each.before.pins[name] != each.baseline.pins[name]:
            found.append(
                f"{name}: another case, {case(each.before.pins[name][0][2])} → {case(each.baseline.pins[name][0][2])}"
            )
        elif abs(after / before - 1) >= metrics[name].tolerance.warn:
            change = f"{units.percent(abs(after / before - 1), 2)} {'faster' if after > before else 'slower'}"
            found.append(f"{name}: {metrics[name].text(before)} → {metrics[name].text(after)}, {change}")
    return found or ["no metric moved by more than its warning threshold"]


def history_table(found: Past) -> Group:
    """The Runs of a product as a gate sees them: newest last, what cannot count said."""
    table = _table("file", "budget", "devices", "valid", "counts")
    for file, run in found.runs.items():
        cases = sum(len(device.values) for device in run.devices)
        valid = sum(value.valid for device in run.devices for value in device.values.values())
        why = "incomplete" if not run.complete else "" if all(d.who for d in run.devices) else "redacted"
        table.add_row(file, run.budget, str(len(run.devices)), f"{valid} of {cases}", why or "yes")
    lines = [Text(f"left out: {file}: {why}", style="yellow") for file, why in found.left_out.items()]
    counting = sum(run.complete and all(d.who for d in run.devices) for run in found.runs.values())
    lines.append(Text(f"{len(found.runs)} Runs, {counting} of them count; {len(found.left_out)} files left out"))
    return Group(table, *lines)


def noise_table(info: DeviceInfo, noise: Mapping[str, Noise]) -> Group:
    """How far each metric scattered, and the floor that this makes."""
    table = _table("metric", "n", "deviation", "worst", "floor", "")
    for name, each in noise.items():
        word = "too noisy to gate" if each.useless else "" if each.metric.gates else "warns"
        floor = "" if each.useless else units.percent(each.floor, 2)
        table.add_row(name, str(each.n), units.percent(each.deviation, 2), units.percent(each.worst, 2), floor, word)
    return Group(Text(f"{info.name} ({info.id})", style="bold"), table)


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
