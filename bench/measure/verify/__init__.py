"""Does the instrument read true on this machine? Every assumption that it rests on, tried here.

assumptions.toml says what they are and which function of this folder tries each. A trial that fails is tried again with
three times the rounds; one that times and fails twice on a machine where others work is not available (too noisy), not
a failure. What cannot be tried here says why, and the others go on.
"""

import importlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from shutil import which
from time import perf_counter
from typing import Any

from bench.measure.device.protocol import CaptureBroken, DeviceError, OutOfMemory, Unsupported
from bench.schema import FAIL, NOT_AVAILABLE, PASS, Check

# Repetitions of what is timed; how many times more where a trial failed; those of the short subset.
ROUNDS, MORE, FEW = 16, 3, 8
# Seconds that the short subset may take of every Run.
BRIEF = 3.0
TEXTS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("assumptions.toml").read_text("utf-8"))


@dataclass(frozen=True)
class Outcome:
    """state: PASS, FAIL or NOT_AVAILABLE. value: what was seen, for people. reason: why it is not a pass."""

    state: str
    value: str = ""
    reason: str = ""


def passed(value: str) -> Outcome:
    return Outcome(PASS, value)


def failed(value: str, reason: str) -> Outcome:
    return Outcome(FAIL, value, reason)


def absent(reason: str, value: str = "") -> Outcome:
    return Outcome(NOT_AVAILABLE, value, reason)


def unless(wrong: Sequence[str], value: str) -> Outcome:
    """A pass unless something is wrong."""
    return failed(value, "; ".join(wrong)) if wrong else passed(value)


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """Something that must hold on a machine for its numbers to be true, as assumptions.toml describes it."""

    name: str
    trial: Callable[[Any, int], Outcome]  # of a device, with so many repetitions of what is timed
    proves: str
    expected: str
    fix: str = ""
    timed: bool = True
    seconds: float = 1.0
    brief: bool = False
    deep: bool = False
    needs: str = ""
    not_on_gpu: str = ""
    tool: str = ""
    tool_source: str = ""

    def outcome(self, device: Any, rounds: int) -> Outcome:
        """What comes of the trial, or why it cannot be tried here."""
        gpu = bool(device.info.sms)
        if self.needs == "gpu" and not gpu:
            return absent("no GPU here")
        if self.not_on_gpu and gpu:
            return absent(self.not_on_gpu)
        if self.tool and not which(self.tool):
            return absent(f"{self.tool} is not on the PATH ({self.tool_source})")
        if self.needs == "compiler" and not gpu and "compiler" not in device.info.facts:
            return absent("no C compiler (cc, gcc or clang), so that torch stands in for our kernels")
        return self.trial(device, rounds)

    def check(self, device: str, outcome: Outcome, elapsed: float = 0.0) -> Check:
        """An outcome as a Run records it."""
        told = {"name": self.name, "proves": self.proves, "expected": self.expected} | vars(outcome)
        return Check(device=device, fix=self.fix if outcome.state == FAIL else "", elapsed=elapsed, **told)


@lru_cache
def assumptions() -> dict[str, Assumption]:
    """Every assumption by name, in the order of assumptions.toml."""
    described, known = TEXTS["assumptions"], {}
    for name, own in described.items():
        about = described[own["like"]] | own if "like" in own else dict(own)
        file, function = about.pop("trial").split(".")
        arguments = about.pop("arguments", {})
        trial = partial(getattr(importlib.import_module(f"{__name__}.{file}"), function), **arguments)
        expected = about.pop("expected").format(**arguments)
        about.pop("like", "")
        known[name] = Assumption(name=name, trial=trial, expected=expected, **about)
    return known


def wanted(deep: bool) -> list[Assumption]:
    """Those that are tried. deep: with what needs minutes or tools."""
    return [each for each in assumptions().values() if deep or not each.deep]


def brief(device: Any) -> list[Check]:
    """The short subset, within 3 s: what is wrong most often and costs least to see. Nothing on a simulated device."""
    if device.info.simulated:
        return []
    begun, seen = perf_counter(), []
    # what a busy neighbour cannot spoil first: it also makes the others take longer. On a GPU all kernels would have to
    # be compiled for their twins, and each case checks its own anyway: `verify` tries them.
    for each in sorted(assumptions().values(), key=lambda each: each.timed):
        if each.brief and not (device.info.sms and each.name == "kernels.twins"):
            in_time = BRIEF - (perf_counter() - begun) > each.seconds
            late = absent("no time left in 3 s")
            seen.append(tried(device, each, FEW) if in_time else each.check(device.info.id, late))
    return seen


def tried(device: Any, each: Assumption, rounds: int = ROUNDS) -> Check:
    """One assumption tried, again with more rounds where it failed and only timing may be to blame."""
    if device.info.simulated:
        return each.check(device.info.id, absent("a datasheet plays this device: there is no instrument to try"))
    begun, before = perf_counter(), device.telemetry()
    outcome = _outcome(device, each, rounds)
    noisy = outcome.state == NOT_AVAILABLE and outcome.reason.startswith("too noisy")
    if each.timed and (outcome.state == FAIL or (noisy and not disturbed(device, before, begun))):
        outcome = _outcome(device, each, MORE * rounds)
        if outcome.state == FAIL and (reasons := disturbed(device, before, begun)):
            outcome = absent(f"too noisy: {reasons} (would have failed: {outcome.reason})", outcome.value)
    return each.check(device.info.id, outcome, perf_counter() - begun)


def _outcome(device: Any, each: Assumption, rounds: int) -> Outcome:
    try:
        return each.outcome(device, rounds)
    except (Unsupported, OutOfMemory) as error:
        return absent(str(error))
    except CaptureBroken:
        raise  # nothing that this process captures can be trusted any more
    except Exception as error:  # a library that refuses, a tool that hangs, our mistake: the other checks still run
        device.synchronize()  # a device that is broken raises, and ends the process
        text = (str(error).strip() or "no message").splitlines()[0]
        kind = "" if isinstance(error, DeviceError) else f"{type(error).__name__}: "
        return failed("", f"it broke: {kind}{text}")


def disturbed(device: Any, before: Mapping[str, Any], begun: float) -> str:
    """Who else was at work since `begun`, or what slowed the device; "" where nobody and nothing was."""
    elapsed = perf_counter() - begun
    word, reasons = device.judge({"before": before, "after": device.telemetry(), "during": {}}, elapsed)
    return "" if word == "valid" else "; ".join(reasons)
