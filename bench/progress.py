"""What a person sees while a Run is made: a bar with ETA and the current value, and one line per finished probe."""

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bench import units
from bench.budget import Budget
from bench.child import Started
from bench.probes import Probe
from bench.schema import CONFIRM, FIRST_ROUND, DeviceInfo, Environment, Measurement
from bench.session import plans
from bench.workers import Event, Failed, Measured, Opened


class Listener:
    """Turns a Run's events into a live bar on a terminal, or into plain lines elsewhere."""

    def __init__(self, console: Console, probes: Sequence[Probe], budget: Budget, gate: bool = False):
        """gate: a Run of what is followed only, in rounds from the start."""
        self._console, self._probes, self._budget, self._gate = console, probes, budget, gate
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
        self._planned, self._done = 0.0, 0.0
        self._first_pass: dict[str, list[Measurement]] = {}
        self._at: dict[str, str] = {}
        self._devices = 1

    def __enter__(self) -> "Listener":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        for probe in list(self._first_pass):
            self._report(probe)
        self._bar.stop()

    def __call__(self, event: Event | Environment) -> None:
        if isinstance(event, Environment):
            self._opened(event.devices)
        elif isinstance(event, Measured):
            self._measured(event.measurement)
        elif isinstance(event, Failed):
            self._console.print(f"{event.device} failed: {event.reason}", style="red", markup=False)
        elif isinstance(event, Started):
            self._bar.update(self._task, probe=_label(event.record))
        elif isinstance(event, Opened):
            pass  # told by the environment, with all devices at once

    def _opened(self, devices: Sequence[DeviceInfo]) -> None:
        for text, count in Counter(f"{d.name}, {units.size(d.memory_bytes)} of memory" for d in devices).items():
            who = devices[0].id if len(devices) == 1 else f"{count} devices"
            self._console.print(f"{who}: {text}", markup=False)
        for caution in dict.fromkeys(d.facts.get("caution", "") for d in devices):
            if caution:
                self._console.print(f"warning: {caution}", style="yellow", markup=False)
        self._devices = len(devices)
        # GPUs run side by side, so one device's plan is everyone's
        if not self._gate:
            self._planned = sum(plan.seconds for plan in plans(devices[0], self._probes, self._budget))
        self._begun = time.monotonic()
        self._bar.update(self._task, total=max(self._planned, 1e-9))

    def _measured(self, m: Measurement) -> None:
        stage = m.probe if m.repetition < FIRST_ROUND and not self._gate else "rounds"
        before, self._at[m.device] = self._at.get(m.device, stage), stage
        if before != stage and before not in self._at.values() and len(self._at) == self._devices:
            self._report(before)
        if stage == m.probe:
            self._first_pass.setdefault(m.probe, []).append(m)
        # devices that run side by side spend the same second together
        self._done += m.elapsed / self._devices
        done = min(self._done, self._planned)
        self._bar.update(self._task, completed=done, probe=_label(m), eta=self._eta(), value=_value(m))

    def _eta(self) -> str:
        if not self._planned:
            return ""
        left = max(self._planned - self._done, 0.0)
        return f"{units.seconds(max(left, 1.0), 2)} left"

    def _report(self, probe: str) -> None:
        """One line per finished probe, once every device has left it."""
        # a search's winner is measured twice in the first pass, and is one case
        measured = list({(m.device, m.key): m for m in self._first_pass.pop(probe, ())}.values())
        if not measured:
            return
        skipped = sum(bool(m.skip) for m in measured)
        bad = sum(not m.skip and m.validity == "invalid" for m in measured)
        doubtful = sum(m.validity == "suspect" for m in measured)
        spent = time.monotonic() - self._begun
        words = [f"{len(measured) - skipped} measured"]
        words += [f"{n} {what}" for n, what in ((skipped, "skipped"), (doubtful, "suspect"), (bad, "invalid")) if n]
        self._console.print(f"{probe:<10} {', '.join(words)}; {units.seconds(spent)} since the start", markup=False)


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
