"""Trials in a process of their own: pinned as a Run is, and a crash or a hang costs one check, not the others."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from bench.measure.device import cpu
from bench.measure.device.host import inherited
from bench.measure.device.open import open_device
from bench.measure.device.protocol import DeviceError
from bench.measure.verify import assumptions, tried
from bench.schema import FAIL, Check

# Seconds without a word after which a trial is taken for hung; opening loads torch, a driver and maybe compiles.
PATIENCE, OPENING = 120.0, 300.0
MOST_CRASHES = 4
# torch's profiler writes about itself on stderr unless it is told not to.
QUIET = {"KINETO_LOG_LEVEL": "99"}


def checks(name: str, deep: bool = False) -> Iterator[Check]:
    """Every assumption tried on "cpu" or "cuda:N", as it comes. Raises DeviceError where it cannot
    be opened."""
    done: set[str] = set()
    for _ in range(MOST_CRASHES):
        with _child(name, deep, done) as (process, pipe):
            running = ""
            while True:
                kind, value = _said(process, pipe, OPENING if not running else PATIENCE + _seconds(running))
                if kind == "trying":
                    running = value
                elif kind == "check":
                    done.add(value.name)
                    yield value
                elif kind == "unopened":
                    raise DeviceError(value)
                else:
                    break
        if kind == "done":
            return
        if not running or running in done:
            raise DeviceError(f"its process ended early: {value}")
        done.add(running)
        yield _broken(name, running, value)


def _seconds(name: str) -> float:
    return 10 * assumptions()[name].seconds


def _broken(device: str, name: str, reason: str) -> Check:
    each = assumptions()[name]
    return Check(
        name=name, device=device, proves=each.proves, expected=each.expected, state=FAIL, reason=reason, fix=each.fix
    )


def _said(process: Any, pipe: Connection, patience: float) -> tuple[str, Any]:
    """What the child says next, or ("gone", why it says no more)."""
    if not pipe.poll(patience):
        return "gone", f"no sign of life for {patience:.0f} s: taken for hung and ended"
    try:
        return pipe.recv()
    except (EOFError, OSError):
        process.join(5)
        return "gone", f"its process ended with code {process.exitcode}"


@contextmanager
def _child(name: str, deep: bool, without: set[str]) -> Iterator[tuple[Any, Connection]]:
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=_live, args=(theirs, name, deep, frozenset(without)), daemon=True)
    with inherited((cpu.pinned_environment() if name == "cpu" else {}) | QUIET):
        process.start()
    theirs.close()
    try:
        yield process, mine
    finally:
        mine.close()
        process.join(2)
        if process.is_alive():
            process.kill()
            process.join(10)


def _live(pipe: Connection, name: str, deep: bool, without: frozenset[str]) -> None:
    """The child's life. Ctrl-C is the parent's to handle."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # a fresh seed each time, or "fresh input" would be the same numbers for ever
    with suppress(BrokenPipeError, EOFError):
        try:
            device = open_device(name, seed=time.time_ns() % 2**31)
        except DeviceError as error:
            pipe.send(("unopened", str(error)))
            return
        for each in assumptions().values():
            if each.name not in without and (deep or not each.deep):
                pipe.send(("trying", each.name))
                pipe.send(("check", tried(device, each)))
        pipe.send(("done", ""))
    # a device whose context was broken may hang in its own clean-up
    os._exit(0)
