"""One supervised process per device: a crash or a hang costs one case, never the Run.

Children measure and send what they have; this process watches them and is the only one that writes. Children that die
are started again with the history of what was done, and go on behind the case that killed them.
"""

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from typing import Any

from bench import units
from bench.measure.budget import BUDGETS, LEAST_MEETING, Budget, portions
from bench.measure.device.protocol import DeviceError
from bench.measure.probes import Probe, describe
from bench.measure.processes import FIRST, OPENING, Group, askable, ended, link_turns, rank_groups, single
from bench.measure.session import NOTHING_SELECTED, CaseSelection, Told, session
from bench.measure.worker import Ask, Compiled, Started
from bench.schema import FAIL, Check, DeviceInfo, Measurement, Unreached

_MAX_CRASHES = 8
# What connecting its ranks takes NCCL beside opening the devices.
_NCCL = 3.0
# Seconds after its time was over that a group is waited for: beyond, a budget would be no promise.
_OVERTIME = 8.0
# Messages with which a child ends: (when, why).
_ENDS = ("failed", "broken", "uncapturable")


@dataclass(frozen=True)
class Opened:
    """A device answered. costs: seconds that this took, by what took them."""

    info: DeviceInfo
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    measurement: Measurement


@dataclass(frozen=True)
class Checked:
    """What came of trying the instrument on a device, before it measured."""

    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Failed:
    """A whole device cannot go on."""

    device: str
    reason: str


Event = Opened | Checked | Started | Measured | Unreached | Failed


# Which cases to follow, once it is known what the devices are.
Choose = Callable[[Sequence[DeviceInfo]], CaseSelection]


def run(
    devices: Sequence[str],
    chosen: Sequence[Probe],
    budget: Budget,
    seed: int,
    choose: Choose = lambda infos: NOTHING_SELECTED,
    left: Callable[[], float] = lambda: math.inf,
    verify: bool = False,
) -> Iterator[Event]:
    """Events of a whole Run, every device's Opened first. Closing the iterator ends every child.

    left: seconds that measuring may take, asked when the devices are open. verify: try the instrument first, in short.
    """
    if not budget.levels:  # headline roofs only: no link and no collective is one
        chosen = [probe for probe in chosen if not (probe.alone or probe.together)]
    if devices[0].startswith("sim:"):
        yield from _simulated(devices[0], chosen, budget, seed, choose, left)
        return
    # GPUs run at once: they share nothing but the host. The host's own cores are measured when nothing else runs.
    gpus = [name for name in devices if name != "cpu"]
    meet = multiprocessing.get_context("spawn").Barrier(len(gpus)) if len(gpus) > 1 else None
    groups = [single(name, len(gpus), budget, seed, meet) for name in gpus]
    host = [single("cpu", 1, budget, seed)] if "cpu" in devices else []
    with ended(groups + host):
        yield from _opened(groups + host)
        pinned = choose([group.info for group in groups + host if group.info])
        for group in groups + host:
            group.pinned, group.trying = pinned, verify and bool(budget.levels)
        ready = [group.info for group in groups + host if group.info]
        together = [p for p in chosen if p.together]
        collectives = list(rank_groups(ready, budget, seed)) if together else []
        turns = [*link_turns(groups), *([host] if host else [])] if any(p.alone for p in chosen) else []
        shared = len(groups) > 1 and bool(turns)
        start = max((group.opening for group in groups + host if group.info), default=0.0)
        start += _NCCL * (len(groups) > 1)
        begun, seconds = time.monotonic(), left()
        parts = portions(seconds, len(turns), shared, len(collectives), start)
        # a collective on a device without peers is one skip, which the device says itself
        sides = [members for members in (groups, host) if members]
        for at, members in enumerate(sides, 1):
            until = begun + parts.main * at / len(sides)
            yield from _watch(members, lambda info: _names(chosen, info, alone=False), until)
        for members in turns:
            yield from _watch(members, lambda info: _names(chosen, info, alone=True), time.monotonic() + parts.turn)
        if shared and all(group.info for group in groups):
            for group in groups:
                group.company = "all"
            # a few cases, and no clock decides over them: a device that stopped alone would leave the others waiting
            yield from _watch(groups, lambda info: _names(chosen, info, alone=True))
    for at, group in enumerate(collectives, 1):
        group.pinned = pinned
        until = begun + seconds - max(parts.groups - at, 0) * parts.group
        if at > parts.groups or until - time.monotonic() < start + LEAST_MEETING:
            info = next(info for info in ready if info.id == group.device)
            yield from _unbegun(group, info, together, budget)
            continue
        with ended([group]):
            # the parent knows these devices already; a second Opened would only repeat it
            yield from (e for e in _opened([group], until + _OVERTIME) if isinstance(e, Failed))
            yield from _watch([group], lambda info: [p.name for p in together], until)


def _unbegun(group: Group, info: DeviceInfo, together: Sequence[Probe], budget: Budget) -> Iterator[Unreached]:
    """What ranks are not even started for, because the time would be over when they have met."""
    info = replace(info, algorithms=group.algorithms or info.algorithms)
    for probe in together:
        cases = describe(info, probe, budget.at(budget.levels[-1]))
        yield Unreached(group.device, probe.name, len(cases), len(cases))


def _names(chosen: Sequence[Probe], info: DeviceInfo, alone: bool) -> list[str]:
    return [p.name for p in chosen if p.alone == alone and (not p.together or info.ranks < 2)]


def opened(devices: Sequence[str]) -> list[Opened]:
    """What a Run on these devices would see, without measuring. Raises DeviceError where one does not answer."""
    found = []
    for event in run(devices, [], BUDGETS["quick"], 0):
        if isinstance(event, Failed):
            raise DeviceError(f"{event.device}: {event.reason}")
        if isinstance(event, Opened):
            found.append(event)
    return found


def compiled(device: str, chosen: Sequence[Probe], budget: Budget) -> Compiled | None:
    """Compiles what a Run on a device would need, and keeps it; None where nothing is compiled or none can be."""
    if device.startswith("sim:"):
        return None
    group = single(device, 1, budget, 0)
    with ended([group]):
        if any(isinstance(event, Failed) for event in _opened([group])):
            return None
        with suppress(OSError, EOFError):
            group.pipe.send(Ask([p.name for p in chosen if not p.together], compile=True))
            kind, value = group.pipe.recv() if group.pipe.poll(OPENING) else ("", None)
            return value if kind == "compiled" else None
    return None


def _simulated(
    text: str, chosen: Sequence[Probe], budget: Budget, seed: int, choose: Choose, left: Callable[[], float]
) -> Iterator[Event]:
    """As on real devices, one device after the other, each by its own virtual clock."""
    from bench.measure.device.sim import open_simulated

    devices = open_simulated(text)
    yield from (Opened(device.info) for device in devices)
    pinned = choose([device.info for device in devices])
    peers = tuple(device.info.id for device in devices)
    several = len(devices) > 1
    algorithms, start = (devices[0].info.algorithms or ("",)), devices[0].now()
    parts = portions(left() - start, 1, several, len(algorithms) if several else 0, start)

    def told(device: Any, chosen: Sequence[Probe], company: str, seconds: float, names: tuple = ()) -> Iterator[Event]:
        device.info = replace(device.info, company=company)
        asked = askable(pinned, device.info.algorithms if names else (), company)
        steps = Told(session(device, chosen, budget, seed, pinned=asked, seconds=seconds))
        yield from (Measured(replace(measurement, devices=names)) for measurement in steps)
        yield from steps.unreached

    for device in devices:
        yield from told(device, [p for p in chosen if not (p.together or p.alone)], "", parts.main)
        yield from told(device, [p for p in chosen if p.alone], "", parts.turn)
        if several:
            yield from told(device, [p for p in chosen if p.alone], "all", parts.company)
    first, together = devices[0], [p for p in chosen if p.together]
    for algorithm in algorithms if together else ():
        first.info = replace(first.info, algorithms=(algorithm,) if algorithm else ())
        first.rest(start if several else 0.0)
        yield from told(first, together, "", parts.group - start, peers if several else ())


def _opened(groups: Sequence[Group], until: float = math.inf) -> Iterator[Event]:
    """Starts the groups and waits for each to answer, until then at most."""
    begun = time.monotonic()
    for group in groups:
        group.start()
    for group in groups:
        kind, value = group.answer(until)
        if kind == "opened":
            group.info, costs = value
            group.opening = time.monotonic() - begun
            started = time.monotonic() - begun - sum(costs.values())
            yield Opened(group.info, {"starting its process": max(started, 0.0)} | costs)
        else:
            group.end()
            yield Failed(group.device, value)


def _watch(
    groups: Sequence[Group], choose: Callable[[DeviceInfo], list[str]], until: float = math.inf
) -> Iterator[Event]:
    """Runs the chosen probes on opened groups at once, until each is done or given up.

    until: when each is to be done, on time.monotonic's clock.
    """
    active = [group for group in groups if group.info and choose(group.info)]
    for group in [group for group in active if not group.pipes]:  # ended in the part before, when its time was over
        yield from _reopened(group, active)
    for group in active:
        group.since, group.until = time.monotonic(), until
        group.begin(choose(group.info))
    while active:
        speaking = {group.pipe: group for group in active}
        for pipe in wait([*speaking, *(sign for group in active for sign in group.signs())], timeout=1.0):
            if pipe not in speaking:
                continue
            group = speaking[pipe]
            try:
                kind, value = pipe.recv()
            except (EOFError, OSError):
                yield from _crashed(group, *group.cause(), choose, active)
                continue
            group.heard = time.monotonic()
            if kind == "started":
                group.task = value
                yield value
            elif kind == "measured":
                group.task = None
                value = replace(value, devices=group.peers)
                group.history[value.repetition_key] = value.median if value.seconds else None
                yield Measured(value)
            elif kind == "checked":
                group.trying = False
                yield Checked(value)
            elif kind in _ENDS:
                group.ends[0] = (kind, value)
                yield from _crashed(group, *group.cause(), choose, active)
            else:  # done
                active.remove(group)
                yield from value
        for group in list(active):
            silent = time.monotonic() - group.heard
            if silent > group.patience() or time.monotonic() > group.until + _OVERTIME:
                waited = f"no sign of life for {units.seconds(silent, 2)}: taken for hung and ended"
                yield from _crashed(group, "broken", waited, choose, active)
            elif group.broken() and not group.pipe.poll(FIRST):
                # rank 0 may have been about to say which case it is that its peer left
                yield from _crashed(group, *group.cause(), choose, active)


def _crashed(group: Group, kind: str, cause: str, choose: Callable, active: list[Group]) -> Iterator[Event]:
    """Starts a group again behind the case that ended it, or gives it up."""
    task = group.task
    group.end()
    if group.trying:
        # the instrument could not even be tried, which is a finding; whether it measures will show
        group.trying = False
        yield Checked((_untried(group.device, cause),))
    elif kind == "uncapturable" and task and task.kind not in group.queued:
        # the case is not to blame and comes again, this time queued
        group.queued.add(task.kind)
    else:
        group.crashes += 1
        if task:
            record = replace(task.record, reasons=(cause,), devices=group.peers)
            group.history[record.repetition_key] = None
            yield Measured(record)
        if kind == "failed" or group.crashes >= _MAX_CRASHES or not task:
            active.remove(group)
            group.fail()
            many = f"; given up after {group.crashes} crashes" if group.crashes >= _MAX_CRASHES else ""
            yield Failed(group.device, cause + many)
            return
    if group.until - time.monotonic() < group.opening:
        active.remove(group)  # open again its time would be over; whoever needs it next opens it
        return
    yield from _reopened(group, active)
    if group in active:
        group.begin(choose(group.info))


def _reopened(group: Group, active: list[Group]) -> Iterator[Event]:
    """Opens a group that was ended."""
    for event in _opened([group]):
        if isinstance(event, Failed):
            active.remove(group)
            group.fail()
            yield event


def _untried(device: str, cause: str) -> Check:
    return Check(
        name="verify",
        device=device,
        proves="the instrument can be tried before it measures",
        expected="every check ends",
        state=FAIL,
        reason=cause,
        fix="`python -m bench verify` says which check ends its process",
    )
