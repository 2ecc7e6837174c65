"""What a person sees while a Run is made: what is done now, how many cases, how long it will take; probes at the end.

On a terminal one live line, from the first second on; elsewhere plain lines, ever rarer.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.text import Text

from bench import units
from bench.measure.budget import Budget
from bench.measure.session import CaseSelection
from bench.measure.supervisor import Checked, Event, Failed, Measured, Opened
from bench.measure.worker import Started
from bench.schema import CONFIRM, FIRST_ROUND, SUSTAINED, DeviceInfo, Environment, Measurement, Unreached

# Seconds between plain lines, at least, and the share of a budget that is one at least.
_EVERY, _SHARE = 15.0, 1 / 12
# A case that takes longer than this is named while it runs: it compiles, or it hangs.
_LONG = 1.0
# Measurements before a time is taken from their pace.
_PACED = 5


class Listener:
    """Turns a Run's events into a live line on a terminal, or into plain lines elsewhere."""

    def __init__(
        self,
        console: Console,
        budget: Budget,
        devices: Sequence[str],
        *,
        begun: float | None = None,
        verify: bool = False,
        gate: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ):
        """begun: when the command began whose wall time the budget promises. verify: the instrument is tried first.
        gate: a Run of what is followed only, in rounds from the start, however long that takes.
        """
        self._console, self._budget, self._gate, self._verify, self._clock = console, budget, gate, verify, clock
        self._begun = clock() if begun is None else begun
        self._devices, self._opened, self._timed = tuple(devices), [], False
        self._stage, self._value = "opening", ""
        self._running: dict[str, tuple[float, str]] = {}
        self._made, self._expected, self._first = 0, 0, 0.0
        self._said = clock()
        self._measured: dict[str, dict[tuple, Measurement]] = {}
        self._unreached: Counter[str] = Counter()
        self._bar = Progress(
            _Live(lambda: f"{self._stage:<10}"),
            BarColumn(bar_width=16),
            _Live(self._count),
            _Live(self._left),
            _Live(self._latest, "dim"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "Listener":
        self._value = f"importing torch, opening {_some(self._devices)}"
        self._bar.start()
        if self._bar.disable:
            self._console.print(f"opening {_some(self._devices)}", markup=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        for probe in self._measured:
            self._report(probe)

    def expect(self, pinned: CaseSelection) -> CaseSelection:
        """The same, as what is measured from now on and nothing beside it."""
        cases = [lasting for pins in pinned.cases.values() for _, lasting in pins]
        # a lasting load warms itself up; before the other repetitions comes one that counts for nothing
        self._expected = sum(len(pinned.repetitions) + (not lasting) for lasting in cases)
        self._made = 0
        if self._expected:
            self._bar.update(self._task, total=self._expected, completed=0)
        return pinned

    def __call__(self, event: Event | Environment) -> None:
        if isinstance(event, Opened):
            self._answered(event.info)
        elif isinstance(event, Environment):
            self._start(event)
        elif isinstance(event, Checked):
            self._stage, self._value = "measuring", ""
        elif isinstance(event, Started):
            self._stage = _label(event.record)
            self._running[event.record.device] = (self._clock(), _words(event.record))
        elif isinstance(event, Measured):
            self._note(event.measurement)
        elif isinstance(event, Failed):
            self._running.pop(event.device, None)
            self._console.print(f"{event.device} failed: {event.reason}", style="red", markup=False)
        elif isinstance(event, Unreached):
            self._unreached[event.probe] = max(self._unreached[event.probe], event.cases)

    def _answered(self, info: DeviceInfo) -> None:
        self._opened.append(self._clock())
        if len(self._opened) < len(self._devices):
            self._value = f"{len(self._opened)} of {len(self._devices)} devices"
        elif self._verify and self._budget.levels and not info.simulated:
            self._stage, self._value = "checking", "does the instrument read true here"
        else:
            self._stage, self._value = "measuring", ""

    def _start(self, about: Environment) -> None:
        devices, took = about.devices, max(self._opened, default=0.0) - self._begun
        for text, count in Counter(f"{d.name}, {units.size(d.memory_bytes)} of memory" for d in devices).items():
            who = devices[0].id if len(devices) == 1 else f"{count} devices"
            opened = "" if about.simulated or took < 1 else f", opened in {units.seconds(took, 2)}"
            self._console.print(f"{who}: {text}{opened}", markup=False)
        for caution in dict.fromkeys(d.facts.get("caution", "") for d in devices):
            if caution:
                self._console.print(f"warning: {caution}", style="yellow", markup=False)
        # a simulated device has a clock of its own, and a gate measures what it follows, however long that takes
        self._timed = not self._gate and not about.simulated
        if self._timed:
            self._bar.update(self._task, total=self._budget.seconds)

    def _note(self, m: Measurement) -> None:
        # a search's winner is measured twice in the first pass, and is one case
        if m.repetition < FIRST_ROUND or self._gate:
            self._measured.setdefault(m.probe, {})[m.device, m.key] = m
        now = self._clock()
        self._first = self._first if self._made else now
        self._made += 1
        self._stage, self._value = _label(m), _value(m)
        self._running.pop(m.device, None)
        self._bar.update(self._task, completed=self._made if self._expected else now - self._begun)
        if self._bar.disable and now - self._said >= max(_EVERY, _SHARE * self._budget.seconds):
            self._said = now
            words = [units.seconds(now - self._begun, 2), self._stage, self._count(), self._left()]
            self._console.print(", ".join(word for word in words if word), markup=False)

    def _count(self) -> str:
        if self._expected:
            return f"{min(self._made, self._expected)} of {self._expected} measured"
        cases = sum(map(len, self._measured.values()))
        return f"{cases} case{'s' * (cases != 1)}" if cases else ""

    def _left(self) -> str:
        """The time that is left as far as it is known, else the time that has passed."""
        now = self._clock()
        if self._expected:
            pace = (now - self._first) / (self._made - 1) if self._made > _PACED else 0.0
            left = pace * max(self._expected - self._made, 0)
            return f"about {_rounded(left)} left" if left else _rounded(now - self._begun)
        if not self._timed:
            return _rounded(now - self._begun)
        left = self._begun + self._budget.seconds - now
        return f"at most {_rounded(left)} left" if left > 0 else f"{_rounded(-left)} over its time"

    def _latest(self) -> str:
        """What was measured last, or what has been running for long."""
        since, words = min(self._running.values(), default=(self._clock(), ""))
        running = self._clock() - since
        return f"{words}: {_rounded(running)} so far" if running > _LONG else self._value

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


class _Live(ProgressColumn):
    """A text that is asked for whenever the line is drawn, so that its clock goes on while nothing happens."""

    def __init__(self, text: Callable[[], str], style: str = ""):
        super().__init__()
        self._text, self._style = text, style

    def render(self, task: Task) -> Text:
        return Text(self._text(), self._style, no_wrap=True, overflow="ellipsis")


def _some(devices: Sequence[str]) -> str:
    return ", ".join(devices) if len(devices) < 4 else f"{devices[0]} to {devices[-1]}"


def _rounded(seconds: float) -> str:
    """Whole seconds, and whole minutes from ten on: what changes faster than it is read says nothing."""
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    return units.seconds(round(seconds)) if seconds >= 120 else f"{seconds:.0f} s"


def _label(m: Measurement) -> str:
    if m.repetition >= CONFIRM:
        return "again"
    if m.regime == SUSTAINED:
        return "sustained"
    return m.probe if m.repetition < FIRST_ROUND else f"round {m.repetition - FIRST_ROUND + 1}"


def _words(m: Measurement) -> str:
    return " ".join(str(value) for value in m.params.values())[:60].strip() or m.probe


def _value(m: Measurement) -> str:
    if m.skip or not m.seconds:
        return f"{_words(m)}: skipped"
    if m.work.flops and m.work.intensity > 4:
        return f"{_words(m)}: {units.flops(m.work.flops / m.median)}"
    # what moves nothing is measured for its time
    return f"{_words(m)}: {units.bandwidth(m.work.bytes / m.median) if m.work.bytes else units.seconds(m.median)}"
