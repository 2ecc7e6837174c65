"""From devices to a Run file: what the workers tell is written down as it comes, and how it ended is said last."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bench import store, units
from bench.measure import supervisor
from bench.measure.budget import Budget
from bench.measure.environment import environment
from bench.measure.probes import Probe
from bench.measure.session import NOTHING_SELECTED, CaseSelection
from bench.measure.supervisor import Checked, Choose, Event, Failed, Measured, Opened
from bench.schema import DeviceInfo, End, Environment, Run, Unreached

# Seconds of measuring below which not even the headline roofs are reached.
LEAST = 2.0
# The next attempt may find the machine a little slower than this one.
_MARGIN = 1.2


class NothingToRun(Exception):
    """No device could be opened; the message says why for each."""


class TooShort(Exception):
    """A budget is over before a roof could be measured; the message says the least that would do."""


@dataclass(frozen=True)
class Recorded:
    """A Run on disk and how it ended: "complete", "failed" (a whole device gave up) or "interrupted"."""

    path: Path
    status: str
    failures: tuple[str, ...]


class _Account:
    """What is written of a Run as its events come."""

    def __init__(self, writer: store.Writer, listen: Callable[[Event | Environment], None], failures: list[str]):
        self.writer, self._listen, self.failures = writer, listen, failures
        self.measured, self.checks, self.unreached = [], [], []

    def hear(self, event: Event) -> None:
        if isinstance(event, Measured):
            self.writer.append(event.measurement)
            self.measured.append(event.measurement)
        elif isinstance(event, Failed):
            self.failures.append(f"{event.device}: {event.reason}")
        elif isinstance(event, Checked):
            for check in event.checks:
                self.writer.check(check)
            self.checks.extend(event.checks)
        elif isinstance(event, Unreached):
            self.unreached.append(event)
        self._listen(event)

    def doubtful(
        self, about: Environment, again: Callable[[Run], CaseSelection]
    ) -> tuple[CaseSelection, Exception | None]:
        """(what is to be measured again, judged as if the Run had ended here, None), or (nothing, why that failed).

        That is raised once the Run has its end line: it was measured, and nothing may lose it.
        """
        try:
            so_far = End("complete", 0, store.utc_now())
            return again(Run(about, tuple(self.measured), so_far, checks=tuple(self.checks))), None
        except Exception as error:
            return NOTHING_SELECTED, error

    def end(self, status: str, elapsed: float) -> Recorded:
        code = {"complete": 0, "failed": 4, "interrupted": 130}[status]
        failures = tuple(self.failures)
        self.writer.end(End(status, code, store.utc_now(), elapsed, failures, tuple(self.unreached)))
        return Recorded(self.writer.path, status, failures)


def record(
    devices: Sequence[str],
    probes: Sequence[Probe],
    budget: Budget,
    seed: int,
    folder: Path,
    command: Sequence[str],
    redact: bool = False,
    listen: Callable[[Event | Environment], None] = lambda event: None,
    choose: Choose = lambda infos: NOTHING_SELECTED,
    again: Callable[[Run], CaseSelection] = lambda run: NOTHING_SELECTED,
    verify: bool = False,
    asked: float = math.inf,
    afterwards: Callable[[int], float] = lambda devices: 0.0,
) -> Recorded:
    """Measures and writes a Run. Ctrl-C keeps what was measured. Raises NothingToRun, TooShort and RunError.

    verify: try the instrument first, in short. asked: when the command began whose wall time the budget promises, on
    time.monotonic's clock; infinite for none. afterwards: seconds that must be left for what follows (the report), by
    the number of devices, once these are open.
    listen: hears every event as it comes, and the environment once all devices have answered.
    choose: the cases to follow on these devices. again: what of a Run so far is to be measured again, by fresh
    processes: what a warm one shares over its repetitions is the disturbance that a second look should be free of.
    """
    begun = time.monotonic()
    opened: list[DeviceInfo] = []

    def left() -> float:
        # a simulated device has a clock of its own, which has not moved meanwhile
        spent = 0.0 if devices[0].startswith("sim:") and math.isfinite(asked) else time.monotonic() - asked
        return budget.seconds - afterwards(len(opened)) - spent

    with closing(supervisor.run(devices, probes, budget, seed, choose, left, verify)) as events:
        first, failures = _opened(events, opened, listen)
        if (lacking := LEAST - left()) > 0:
            took, needs = units.seconds(time.monotonic() - begun, 2), units.seconds(afterwards(len(opened)), 2)
            raise TooShort(
                f"a budget of {budget.name} is over before a roof could be measured: opening the device took {took} and"
                f" the report needs {needs}; about {math.ceil(_MARGIN * (budget.seconds + lacking))}s would do"
            )
        about = environment(opened, command, budget.name, seed, probes)
        about = store.redacted(about) if redact else about
        account = _Account(store.Writer(store.run_path(folder, about), about), listen, failures)
        listen(about)
        status, trouble = "complete", None
        try:
            for event in chain(filter(None, [first]), events):
                account.hear(event)
            # a Run without a device that failed is worth a second look
            doubtful, trouble = (NOTHING_SELECTED, None) if failures else account.doubtful(about, again)
            if doubtful.cases:
                with closing(_second_look(devices, probes, budget, seed, doubtful)) as more:
                    for event in more:
                        account.hear(event)
        except KeyboardInterrupt:
            status = "interrupted"
        recorded = account.end("failed" if failures and status == "complete" else status, time.monotonic() - begun)
        if trouble:
            raise trouble
        return recorded


def _opened(
    events: Iterator[Event], opened: list[DeviceInfo], listen: Callable[[Event], None]
) -> tuple[Event | None, list[str]]:
    """(the first event after all devices have answered, who cannot: why). Raises NothingToRun where none answers."""
    unopened, first = [], None
    for event in events:
        if isinstance(event, Opened):
            opened.append(event.info)
            listen(event)
        elif isinstance(event, Failed):
            unopened.append(event)
        else:
            first = event
            break
    failures = [f"{failed.device}: {failed.reason}" for failed in unopened]
    if not opened:
        raise NothingToRun("; ".join(failures) or "no device answered")
    for failed in unopened:
        listen(failed)
    return first, failures


def _second_look(
    devices: Sequence[str], probes: Sequence[Probe], budget: Budget, seed: int, pinned: CaseSelection
) -> Iterator[Event]:
    """Events of the suspects only; that their devices opened again is no news."""
    wanted = {key[0] for pins in pinned.cases.values() for key, _ in pins}
    chosen = [probe for probe in probes if probe.name in wanted]
    for event in supervisor.run(devices, chosen, budget, seed + 1, lambda infos: pinned):
        if not isinstance(event, Opened):
            yield event
