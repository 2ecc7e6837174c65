"""Does the instrument read true on this machine? Every assumption that it rests on, tried here.

One file per group of assumptions, found by being here, as probes are. A trial that fails is tried again with three
times the rounds; one that times and fails twice on a machine where others work is not available (too noisy), not a
failure. What cannot be tried here says why, and the others go on.
"""

import importlib
import pkgutil
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from time import perf_counter  # the name `time` is a group of ours here
from typing import Any

from bench.measure.device.protocol import CaptureBroken, DeviceError, OutOfMemory, Unsupported
from bench.measure.verify.assumption import Assumption, Outcome, absent, failed
from bench.schema import FAIL, Check

__all__ = ["Assumption", "assumptions", "brief", "checks", "tried"]

GROUPS = ("kernels", "time", "cache", "work", "clock", "energy", "libraries", "witness")
# Repetitions of what is timed; how many times more where a trial failed; those of the short subset.
ROUNDS, MORE, FEW = 16, 3, 8
# Seconds that the short subset may take of every Run.
BRIEF = 3.0
SIMULATED = "a datasheet plays this device: there is no instrument to try"


@lru_cache
def assumptions() -> dict[str, Assumption]:
    """Every assumption by name, in the order of GROUPS and then as its file has them."""
    found: dict[str, list[Assumption]] = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name != "__main__":
            values = vars(importlib.import_module(f"{__name__}.{module.name}")).values()
            mine = [value for value in values if isinstance(value, Assumption)]
            found |= {module.name: mine} if mine else {}
    order = [*GROUPS, *sorted(found.keys() - set(GROUPS))]
    return {each.name: each for group in order for each in found.get(group, ())}


def checks(device: Any, deep: bool = False, without: Collection[str] = ()) -> Iterator[Check]:
    """Every assumption tried on an opened device, one after the other. without: names that are left out."""
    for each in assumptions().values():
        if each.name not in without and (deep or not each.deep):
            yield tried(device, each)


def brief(device: Any) -> list[Check]:
    """The short subset, within 3 s: what is wrong most often and costs least to see. Nothing on a simulated device."""
    if device.info.simulated:
        return []
    begun, found = perf_counter(), []
    # what a busy neighbour cannot spoil first: it also makes the others take longer. On a GPU all kernels would have to
    # be compiled for their twins, and each case checks its own anyway: `verify` tries them.
    for each in sorted(assumptions().values(), key=lambda each: each.timed):
        if each.brief and not (device.info.sms and each.name == "kernels.twins"):
            left = BRIEF - (perf_counter() - begun)
            found.append(
                tried(device, each, FEW)
                if left > each.seconds
                else _record(device, each, absent("no time left in 3 s"), 0)
            )
    return found


def tried(device: Any, each: Assumption, rounds: int = ROUNDS) -> Check:
    """One assumption tried, again with more rounds where it failed and only timing may be to blame."""
    begun = perf_counter()
    if device.info.simulated:
        return _record(device, each, absent(SIMULATED), 0.0)
    before = device.telemetry()
    outcome = _outcome(device, each, rounds)
    if each.timed and (outcome.state == FAIL or (outcome.noisy and not _disturbed(device, before, begun))):
        outcome = _outcome(device, each, MORE * rounds)
        if outcome.state == FAIL and (reasons := _disturbed(device, before, begun)):
            outcome = absent(f"too noisy: {reasons} (would have failed: {outcome.reason})", outcome.value)
    return _record(device, each, outcome, perf_counter() - begun)


def _disturbed(device: Any, before: Mapping[str, Any], begun: float) -> str:
    """Who else was at work since then, or what slowed the device; "" where nobody and nothing was."""
    elapsed = perf_counter() - begun
    word, reasons = device.judge({"before": before, "after": device.telemetry(), "during": {}}, elapsed)
    return "" if word == "valid" else "; ".join(reasons)


def _outcome(device: Any, each: Assumption, rounds: int) -> Outcome:
    try:
        return each.trial(device, rounds)
    except (Unsupported, OutOfMemory) as error:
        return absent(str(error))
    except CaptureBroken:
        raise  # nothing that this process captures can be trusted any more
    except (
        Exception
    ) as error:  # a library that refuses, a tool that hangs, a mistake of ours: the other checks still run
        device.synchronize()  # a device that is broken raises, and ends the process
        text = (str(error).strip() or "no message").splitlines()[0]
        kind = "" if isinstance(error, DeviceError) else f"{type(error).__name__}: "
        return failed("", f"it broke: {kind}{text}")


def _record(device: Any, each: Assumption, outcome: Outcome, elapsed: float) -> Check:
    return Check(
        name=each.name,
        device=device.info.id,
        proves=each.proves,
        expected=each.expected,
        state=outcome.state,
        value=outcome.value,
        reason=outcome.reason,
        fix=each.fix if outcome.state == FAIL else "",
        elapsed=elapsed,
    )
