"""Trials in a process of their own: pinned as a Run is, and a crash or a hang costs one check, not the others."""

import multiprocessing
import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import Any

from bench.measure.device import cpu
from bench.measure.device.host import inherited
from bench.measure.device.open import open_device
from bench.measure.device.protocol import DeviceError
from bench.measure.device.sim import open_simulated
from bench.measure.verify import assumptions, failed, tried, wanted
from bench.schema import Check

# Seconds without a word after which a trial is taken for hung, beside this many times what it should take; opening
# loads torch, a driver and maybe compiles.
PATIENCE, SLOWER, OPENING = 120.0, 10, 300.0
MOST_CRASHES = 4
# torch's profiler writes about itself on stderr unless it is told not to.
QUIET = {"KINETO_LOG_LEVEL": "99"}


def checks(name: str, deep: bool = False) -> Iterator[Check]:
    """Every assumption tried on a device, as it comes. Raises DeviceError where it cannot be opened."""
    if name.startswith("sim:"):  # where nothing can break
        yield from (tried(device, each) for device in open_simulated(name) for each in wanted(deep))
        return
    done: set[str] = set()
    for _ in range(MOST_CRASHES):
        running = ""
        with closing(_messages(name, deep, done)) as messages:
            for kind, value in messages:
                if kind == "trying":
                    running = value
                elif kind == "check":
                    running = ""
                    done.add(value.name)
                    yield value
                elif kind == "unopened":
                    raise DeviceError(value)
                elif kind == "done":
                    return
        if not running:
            raise DeviceError(f"its process ended early: {value}")
        done.add(running)
        yield assumptions()[running].check(name, failed("", value))


def _messages(name: str, deep: bool, done: Collection[str]) -> Iterator[tuple[str, Any]]:
    """What a child says that tries all but what is done, and at last ("gone", why it says no more)."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_live, args=(theirs, name, deep, frozenset(done)), daemon=True)
    with inherited((cpu.pinned_environment() if name == "cpu" else {}) | QUIET):
        process.start()
    theirs.close()
    patience = OPENING
    try:
        while mine.poll(patience):
            kind, value = mine.recv()
            yield kind, value
            if kind == "trying":
                patience = PATIENCE + SLOWER * assumptions()[value].seconds
        yield "gone", f"no sign of life for {patience:.0f} s: taken for hung and ended"
    except (EOFError, OSError):
        process.join(5)
        yield "gone", f"its process ended with code {process.exitcode}"
    finally:
        mine.close()
        process.join(2)
        process.kill()
        process.join(10)


def _live(pipe: Connection, name: str, deep: bool, done: Collection[str]) -> None:
    """The child's life. Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(BrokenPipeError, EOFError):
        try:
            # a fresh seed each time, or "fresh input" would be the same numbers for ever
            device = open_device(name, seed=time.time_ns() % 2**31)
        except DeviceError as error:
            pipe.send(("unopened", str(error)))
            return
        for each in wanted(deep):
            if each.name not in done:
                pipe.send(("trying", each.name))
                pipe.send(("check", tried(device, each)))
        pipe.send(("done", ""))
    # a device whose context was broken may hang in its own clean-up
    os._exit(0)
