"""What a check is made of: an assumption of the instrument, how it is tried, and what came of that."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.schema import FAIL, NOT_AVAILABLE, PASS


@dataclass(frozen=True)
class Outcome:
    """state: PASS, FAIL or NOT_AVAILABLE. value: what was seen, for people. reason: why it is not a pass."""

    state: str
    value: str = ""
    reason: str = ""

    @property
    def noisy(self) -> bool:
        """Whether it was tried, and the spread of what was seen allows no answer."""
        return self.state == NOT_AVAILABLE and self.reason.startswith("too noisy")


@dataclass(frozen=True)
class Assumption:
    """Something that must hold on a machine for its numbers to be true. name: its group and its own ("time.linear").

    trial(device, rounds) -> Outcome tries it: `rounds` repetitions of what is timed; its docstring says what it proves.
    expected: what the trial should see. fix: what to do where it does not. timed: whether a disturbed machine may be
    what failed it, so that it is tried again and never blamed while others work there. seconds: about how long it
    takes. brief: it is in the short subset that runs inside every `all`. deep: only `--deep` tries it.
    """

    name: str
    trial: Callable[[Any, int], Outcome]
    expected: str
    fix: str
    timed: bool
    seconds: float
    brief: bool
    deep: bool

    @property
    def proves(self) -> str:
        return " ".join((inspect.getdoc(self.trial) or "").split("\n\n")[0].split())


def assumption(
    expected: str, fix: str, *, timed: bool = True, seconds: float = 1.0, brief: bool = False, deep: bool = False
) -> Callable[[Callable[[Any, int], Outcome]], Assumption]:
    """Registers a trial under its module's and its own name."""

    def register(trial: Callable[[Any, int], Outcome]) -> Assumption:
        name = f"{trial.__module__.rpartition('.')[2]}.{trial.__name__}"
        return Assumption(name, trial, expected, fix, timed, seconds, brief, deep)

    return register


def passed(value: str) -> Outcome:
    return Outcome(PASS, value)


def failed(value: str, reason: str) -> Outcome:
    return Outcome(FAIL, value, reason)


def absent(reason: str, value: str = "") -> Outcome:
    return Outcome(NOT_AVAILABLE, value, reason)


NO_GPU = "no GPU here"
NO_COMPILER = "no C compiler (cc, gcc or clang), so that torch stands in for our kernels"


def compiled(device: Any) -> bool:
    """Whether the suite's own kernels run here. Without a host compiler torch twins stand in for them."""
    return bool(device.info.sms) or "compiler" in device.info.facts
