"""What a person sees while a Run is made: a bar of its time with the current value; one line per probe at the end."""

import time
from collections import Counter

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bench import units
from bench.budget import Budget
from bench.child import Started
from bench.schema import CONFIRM, FIRST_ROUND, Environment, Measurement, Unreached
from bench.workers import Checked, Event, Failed, Measured, Opened


class Listener:
    """Turns a Run's events into a live bar on a terminal, or into plain lines elsewhere."""

    def __init__(self, console: Console, budget: Budget, gate: bool = False):
        """gate: a Run of what is followed only, in rounds from the start."""
        self._console, self._budget, self._gate = console, budget, gate
        self._bar = Progress(
            TextColumn("{task.fields[probe]:<10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[eta]:>12}"),
            TextColumn("{task.fields[value]}", style="dim"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, probe="starting", eta="", value="")
        self._begun = time.monotonic()
        self._measured: dict[str, dict[tuple, Measurement]] = {}
        self._unreached: Counter[str] = Counter()

    def __enter__(self) -> "Listener":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        for probe in self._measured:
            self._report(probe)

    def __call__(self, event: Event | Environment) -> None:
        if isinstance(event, Environment):
            self._opened(event)
        elif isinstance(event, Measured):
            self._note(event.measurement)
        elif isinstance(event, Failed):
            self._console.print(f"{event.device} failed: {event.reason}", style="red", markup=False)
        elif isinstance(event, Started):
            self._bar.update(self._task, probe=_label(event.record))
        elif isinstance(event, Unreached):
            self._unreached[event.probe] = max(self._unreached[event.probe], event.cases)
        elif isinstance(event, Opened | Checked):
            pass  # told by the environment, with all devices at once; and at the end, with the Run

    def _opened(self, about: Environment) -> None:
        devices = about.devices
        for text, count in Counter(f"{d.name}, {units.size(d.memory_bytes)} of memory" for d in devices).items():
            who = devices[0].id if len(devices) == 1 else f"{count} devices"
            self._console.print(f"{who}: {text}", markup=False)
        for caution in dict.fromkeys(d.facts.get("caution", "") for d in devices):
            if caution:
                self._console.print(f"warning: {caution}", style="yellow", markup=False)
        # a simulated device has a clock of its own, and a gate measures what it follows, however long that takes
        if not self._gate and not about.simulated:
            self._bar.update(self._task, total=self._budget.seconds)

    def _note(self, m: Measurement) -> None:
        # a search's winner is measured twice in the first pass, and is one case
        if m.repetition < FIRST_ROUND or self._gate:
            self._measured.setdefault(m.probe, {})[m.device, m.key] = m
        spent = time.monotonic() - self._begun
        left = f"{units.seconds(max(self._budget.seconds - spent, 1.0), 2)} left"
        eta = "" if self._bar.tasks[0].total is None else left
        self._bar.update(self._task, completed=spent, probe=_label(m), eta=eta, value=_value(m))

    def _report(self, probe: str) -> None:
        """One line per probe: what was measured of it on all devices, and what was not."""
        found = list(self._measured[probe].values())
        skipped = sum(bool(m.skip) for m in found)
        bad = sum(not m.skip and m.validity == "invalid" for m in found)
        doubtful = sum(m.validity == "suspect" for m in found)
        words = [f"{len(found) - skipped} measured"]
        words += [f"{n} {what}" for n, what in ((skipped, "skipped"), (doubtful, "suspect"), (bad, "invalid")) if n]
        words += [f"{n} not reached in {units.seconds(self._budget.seconds)}" for n in [self._unreached[probe]] if n]
        self._console.print(f"{probe:<10} {', '.join(words)}", markup=False)


def _label(m: Measurement) -> str:
    if m.repetition >= CONFIRM:
        return "again"
    return m.probe if m.repetition < FIRST_ROUND else f"round {m.repetition - FIRST_ROUND + 1}"


def _words(m: Measurement) -> str:
    return " ".join(str(value) for value in m.params.values())[:60]


def _value(m: Measurement) -> str:
    if m.skip or not m.seconds:
        return f"{_words(m)}: skipped"
    rate = units.flops(m.work.flops / m.median) if m.work.intensity > 4 else units.bandwidth(m.work.bytes / m.median)
    return f"{_words(m)}: {rate}"
