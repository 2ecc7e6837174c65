"""From devices to a Run file: what the workers tell is written down as it comes, and how it ended is said last."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench import store, workers
from bench.environment import environment
from bench.measure import Budget
from bench.probes import Probe
from bench.schema import End, Environment
from bench.workers import Event, Failed, Measured, Opened


class NothingToRun(Exception):
    """No device could be opened; the message says why for each."""


@dataclass(frozen=True)
class Recorded:
    """A Run on disk and how it ended: "complete", "failed" (a whole device gave up) or "interrupted"."""

    path: Path
    status: str
    failures: tuple[str, ...]


def record(
    devices: Sequence[str],
    probes: Sequence[Probe],
    budget: Budget,
    seed: int,
    folder: Path,
    command: Sequence[str],
    redact: bool = False,
    listen: Callable[[Event | Environment], None] = lambda event: None,
) -> Recorded:
    """Measures and writes a Run. Ctrl-C keeps what was measured. Raises NothingToRun, and RunError for the file."""
    begun = time.monotonic()
    with closing(workers.run(devices, probes, budget, seed)) as events:
        opened, failures, event = [], [], None
        for event in events:
            if isinstance(event, Opened):
                opened.append(event.info)
            elif isinstance(event, Failed):
                failures.append(f"{event.device}: {event.reason}")
            else:
                break
        if not opened:
            raise NothingToRun("; ".join(failures) or "no device answered")
        about = environment(opened, command, budget.name, seed)
        about = store.redacted(about) if redact else about
        writer = store.Writer(store.run_path(folder, about), about)
        listen(about)
        status = "complete"
        try:
            while event is not None:
                if isinstance(event, Measured):
                    writer.append(event.measurement)
                elif isinstance(event, Failed):
                    failures.append(f"{event.device}: {event.reason}")
                listen(event)
                event = next(events, None)
        except KeyboardInterrupt:
            status = "interrupted"
        if failures and status == "complete":
            status = "failed"
        code = {"complete": 0, "failed": 4, "interrupted": 130}[status]
        writer.end(End(status, code, store.utc_now(), time.monotonic() - begun, tuple(failures)))
        return Recorded(writer.path, status, tuple(failures))
